// The note on a row: kept without leaving the page. Without this script the form posts and comes back.

const form = document.querySelector("form[data-note]");

for (const button of document.querySelectorAll("[data-copy-near]")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.parentElement.querySelector("pre").textContent);
    button.textContent = "copied";
    setTimeout(() => (button.textContent = "copy"), 1200);
  });
}

if (form) {
  const said = form.querySelector("[data-said]");
  const other = form.elements.other;
  const marks = [...form.querySelectorAll("button.mark")];
  let label = form.dataset.label;

  const show = () => {
    for (const mark of marks) mark.setAttribute("aria-pressed", String(mark.value !== "" && mark.value === label));
    if (marks.some((mark) => mark.value === label)) other.value = "";
  };

  const keep = async () => {
    const told = {
      step: form.elements.step.value,
      row: form.elements.row.value,
      label,
      text: form.elements.text.value,
    };
    said.textContent = "…";
    said.className = "quiet small";
    try {
      const answer = await fetch(form.action, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(told),
      });
      const kept = await answer.json();
      if (!answer.ok) throw new Error(kept.error);
      said.textContent = kept.label || kept.text ? "kept" : "no note";
    } catch (error) {
      said.textContent = `not kept: ${error.message}`;
      said.className = "bad small";
    }
  };

  const choose = (value) => {
    label = value;
    show();
    return keep();
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const mark = event.submitter;
    if (mark?.classList.contains("mark")) choose(mark.value);
    else {
      if (other.value.trim()) label = other.value.trim();
      else if (!marks.some((one) => one.value === label)) label = "";
      show();
      keep();
    }
  });
  other.addEventListener("change", () => choose(other.value.trim()));
  form.elements.text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      keep();
    }
  });
  form.elements.text.addEventListener("change", keep);

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.target.closest("input, textarea, select") || document.querySelector("dialog[open]")) return;
    const value = { 1: "good", 2: "bad", 0: "" }[event.key];
    if (value !== undefined) {
      event.preventDefault();
      choose(value);
    } else if (event.key === "e") {
      event.preventDefault();
      form.elements.text.focus();
    }
  });
}

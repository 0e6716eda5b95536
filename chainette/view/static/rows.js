// The table of rows: conditions are added and taken away, an answer that is still looked for is asked for again.

const form = document.querySelector("form[data-filters]");
const lines = form?.querySelector("[data-lines]");

if (form) {
  const blank = lines.lastElementChild.cloneNode(true);
  const wire = (line) => {
    const remove = line.querySelector("[data-remove]");
    remove.hidden = false;
    remove.addEventListener("click", () => {
      line.remove();
      form.requestSubmit();
    });
    const op = line.querySelector("[name=op]");
    const value = line.querySelector("[name=value]");
    const needed = () => (value.disabled = op.value === "is null" || op.value === "is not null");
    op.addEventListener("change", needed);
    needed();
  };
  const add = () => {
    const line = blank.cloneNode(true);
    lines.append(line);
    wire(line);
    line.querySelector("[name=field]").focus();
  };
  for (const line of lines.children) wire(line);
  if (lines.children.length > 1) lines.lastElementChild.remove();
  const button = form.querySelector("[data-add]");
  button.hidden = false;
  button.addEventListener("click", add);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "+" || event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    add();
  });
  const none = form.querySelector("[data-none]");
  if (none) {
    none.hidden = false;
    none.addEventListener("click", () => {
      for (const box of form.querySelectorAll("[name=col]")) box.checked = false;
    });
  }
  // The address holds what was asked for and nothing else, so that it can be read and sent.
  const columns = () => [...form.querySelectorAll("[name=col]:checked")].map((box) => box.value).join("\n");
  const before = columns();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const asked = new URLSearchParams();
    const add = (name) => form.elements[name]?.value && asked.append(name, form.elements[name].value);
    add("q");
    for (const line of lines.children) {
      const [field, op, value] = ["field", "op", "value"].map((name) => line.querySelector(`[name=${name}]`));
      if (!field.value || !(value.value || value.disabled)) continue;
      asked.append("field", field.value);
      asked.append("op", op.value);
      asked.append("value", value.disabled ? "" : value.value);
    }
    add("sort");
    add("desc");
    const chosen = new URLSearchParams(location.search).has("col") || columns() !== before;
    if (chosen) for (const name of columns().split("\n").filter(Boolean)) asked.append("col", name);
    if (form.elements.n.value !== "50") add("n");
    const query = asked.toString();
    location.assign(location.pathname + (query ? `?${query}` : ""));
  });
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));
let asking = false;

/** Asks for the same rows again while the server is still looking for them. */
async function lookOn(counting) {
  if (asking) return;
  asking = true;
  const address = new URL(location.href);
  address.searchParams.set("part", "1");
  if (counting) address.searchParams.set("count", "1");
  try {
    while (true) {
      const now = document.querySelector("[data-result]");
      if (!counting && !("looking" in now.dataset)) break;
      if (document.hidden) {
        await pause(500);
        continue;
      }
      const answer = await fetch(address);
      if (!answer.ok) break;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-result]");
      if (!fresh) break;
      const active = document.activeElement?.getAttribute?.("href");
      now.replaceWith(fresh);
      wireResult();
      if (active) [...fresh.querySelectorAll("a")].find((link) => link.getAttribute("href") === active)?.focus();
      if (!("looking" in fresh.dataset)) break;
      await pause(60);
    }
  } finally {
    asking = false;
  }
}

function wireResult() {
  const count = document.querySelector("[data-count]");
  count?.addEventListener("click", (event) => {
    event.preventDefault();
    lookOn(true);
  });
  const jump = document.querySelector("[data-jump]");
  jump?.addEventListener("submit", () => {
    // People count from one, addresses from nought.
    const field = jump.elements.at;
    if (/^\d+$/.test(field.value) && field.value !== "0") field.value = String(Number(field.value) - 1);
  });
}

wireResult();
lookOn("counting" in (document.querySelector("[data-result]")?.dataset ?? {}));

// The query: Ctrl+Enter runs it, a click on a table's name puts it where the cursor is.

const form = document.querySelector("form[data-sql]");
const query = form.elements.q;

query.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    form.requestSubmit();
  }
});
for (const button of document.querySelectorAll("[data-insert]")) {
  button.addEventListener("click", (event) => {
    event.preventDefault();
    query.setRangeText(button.dataset.insert, query.selectionStart, query.selectionEnd, "end");
    query.focus();
  });
}
const example = document.querySelector("[data-example]");
if (example) {
  example.hidden = false;
  example.addEventListener("click", () => {
    query.value = example.dataset.example;
    form.requestSubmit();
  });
}
if (!query.value) query.focus();

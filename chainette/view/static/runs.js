// The list of runs: filters at once, and lets two be compared.
import { renew } from "/static/live.js";

const form = document.querySelector("[data-filter]");
const part = document.querySelector("#runs");
const compare = document.querySelector("[data-compare]");

const ticked = () => [...document.querySelectorAll("input[name=pick]:checked")];

function count() {
  const chosen = ticked().length;
  compare.disabled = chosen !== 2;
  compare.textContent = chosen ? `Compare ${chosen} of 2` : "Compare two";
}

document.addEventListener("change", (event) => {
  if (event.target.name !== "pick") return;
  const chosen = ticked();
  if (chosen.length > 2) chosen.find((box) => box !== event.target).checked = false;
  count();
});
part.addEventListener("renewed", count);

let timer;
async function filter() {
  const asked = new URLSearchParams(new FormData(form));
  for (const [name, value] of [...asked]) if (!value || (name === "sort" && value === "-started")) asked.delete(name);
  const url = asked.size ? `/?${asked}` : "/";
  try {
    await renew(part, url);
    history.replaceState(null, "", url);
  } catch {
    location.assign(url);
  }
}
form.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(filter, 200);
});
form.addEventListener("submit", (event) => {
  if (event.submitter?.form !== form) return;
  event.preventDefault();
  clearTimeout(timer);
  filter();
});
count();

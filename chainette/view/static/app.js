// What every page has: keys, the choice of dark or light, help, lists to walk through, times that go on.
// Pages work without it. Texts of a run are only ever set with textContent.

const dialog = document.querySelector("dialog.help");
const typing = (target) => target.closest("input, textarea, select, [contenteditable]");

function toggleTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try {
    localStorage.setItem("chainette-theme", root.dataset.theme);
  } catch {
    // A browser that keeps nothing: the choice holds for this page.
  }
}

for (const button of document.querySelectorAll("[data-theme-toggle]")) {
  button.hidden = false;
  button.addEventListener("click", toggleTheme);
}
for (const button of document.querySelectorAll("[data-help]")) {
  button.hidden = false;
  button.addEventListener("click", () => dialog.showModal());
}

/** The links of `[data-item]`s that are shown, in the order of the page. */
function items() {
  return [...document.querySelectorAll("[data-list] [data-item]")]
    .filter((item) => !item.hidden && item.offsetParent !== null)
    .map((item) => (item.matches("a, button") ? item : item.querySelector("a, button")))
    .filter(Boolean);
}

function walk(by) {
  const all = items();
  if (!all.length) return false;
  const at = all.indexOf(document.activeElement);
  const next = at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + by, 0), all.length - 1);
  all[next].focus();
  all[next].scrollIntoView({ block: "nearest" });
  return true;
}

function follow(selector) {
  const link = document.querySelector(selector);
  if (link) link.click();
  return Boolean(link);
}

let before = "";
let beforeAt = 0;

const KEYS = {
  "?": () => (dialog.showModal(), true),
  j: () => walk(1),
  k: () => walk(-1),
  ArrowDown: () => document.activeElement.closest("[data-list]") && walk(1),
  ArrowUp: () => document.activeElement.closest("[data-list]") && walk(-1),
  n: () => follow("[rel=next]"),
  p: () => follow("[rel=prev]"),
  d: () => (toggleTheme(), true),
  "/": () => {
    const search = document.querySelector("[data-search]");
    if (search) {
      search.focus();
      search.select?.();
    }
    return Boolean(search);
  },
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (event.key === "Escape") {
    if (typing(event.target)) event.target.blur();
    return;
  }
  if (typing(event.target) || dialog.open) return;
  const afterG = before === "g" && Date.now() - beforeAt < 1500;
  before = event.key;
  beforeAt = Date.now();
  if (afterG) {
    if (/^[a-z]$/.test(event.key) && follow(`[data-key-g="${event.key}"]`)) event.preventDefault();
    before = "";
    return;
  }
  if (Object.hasOwn(KEYS, event.key) && KEYS[event.key]()) event.preventDefault();
});

for (const button of document.querySelectorAll("[data-copy]")) {
  // A page that came from another machine by http has no clipboard.
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    const told = button.dataset.copy && document.querySelector(button.dataset.copy);
    await navigator.clipboard.writeText(told ? told.textContent : location.href);
    const label = button.textContent;
    button.textContent = "copied";
    setTimeout(() => (button.textContent = label), 1200);
  });
}

// On narrow windows the tabs are scrolled; the one we are in is seen.
document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

// Parts of a page that are made anew while a run goes on: `data-refresh` is the address of a page that has the part,
// found by its id; `data-live` stands on it as long as it may change. What the server sends is text that it has escaped;
// it is parsed, never run, and put in place of what was there.

const SLOWEST_S = 60;
const turns = new WeakMap();

/** Says on the page whether its server answers. */
export function lost(is) {
  document.body.toggleAttribute("data-lost", is);
}

/** What has the focus and what is ticked or open, so that it stays so. */
function remembered(part) {
  const focus = part.contains(document.activeElement) ? document.activeElement : null;
  return {
    href: focus?.getAttribute("href"),
    value: focus?.getAttribute("value"),
    ticked: new Set([...part.querySelectorAll("input:checked")].map((box) => box.value)),
    open: new Set([...part.querySelectorAll("details[open][data-name]")].map((one) => one.dataset.name)),
    scrolled: [...part.querySelectorAll(".scroll")].map((box) => box.scrollLeft),
  };
}

function restore(part, was) {
  for (const box of part.querySelectorAll("input[type=checkbox]")) box.checked = was.ticked.has(box.value);
  for (const one of part.querySelectorAll("details[data-name]")) one.open = one.open || was.open.has(one.dataset.name);
  part.querySelectorAll(".scroll").forEach((box, at) => (box.scrollLeft = was.scrolled[at] ?? 0));
  if (!was.href && !was.value) return;
  const again = [...part.querySelectorAll("a, input, button")].find(
    (one) => one.getAttribute("href") === was.href && one.getAttribute("value") === was.value,
  );
  again?.focus({ preventScroll: true });
}

/** Fetches a page and takes over the part, and what else `data-with` names. */
export async function renew(part, url) {
  const turn = (turns.get(part) ?? 0) + 1;
  turns.set(part, turn);
  const response = await fetch(url, { headers: { Accept: "text/html" } });
  if (!response.ok) throw new Error(String(response.status));
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  if (turns.get(part) !== turn) return; // a later one was asked for meanwhile
  for (const selector of [`#${part.id}`, ...(part.dataset.with ?? "").split(" ").filter(Boolean)]) {
    const [here, there] = [document.querySelector(selector), page.querySelector(selector)];
    if (!here || !there) continue;
    const was = remembered(here);
    here.replaceChildren(...there.childNodes);
    restore(here, was);
    if (here === part) {
      part.toggleAttribute("data-live", there.hasAttribute("data-live"));
      if (there.dataset.refresh) part.dataset.refresh = there.dataset.refresh;
    }
  }
  part.dispatchEvent(new CustomEvent("renewed", { bubbles: true }));
}

async function watch(part) {
  const every = Number(part.dataset.every || 5);
  let wait = every;
  if (part.hasAttribute("data-later")) wait = 0;
  for (;;) {
    await new Promise((done) => setTimeout(done, wait * 1000));
    if (document.hidden || (!part.hasAttribute("data-live") && !part.hasAttribute("data-later"))) {
      wait = every;
      continue;
    }
    const began = performance.now();
    try {
      await renew(part, part.dataset.refresh);
      part.removeAttribute("data-later");
      lost(false);
      // A page that is slow to make is asked for less often.
      wait = Math.min(Math.max(every, ((performance.now() - began) / 1000) * 10), SLOWEST_S);
    } catch (error) {
      lost(error instanceof TypeError);
      wait = Math.min(Math.max(wait, 1) * 2, SLOWEST_S);
    }
  }
}

for (const part of document.querySelectorAll("[data-refresh]")) watch(part);

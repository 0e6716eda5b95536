// The page of a run that is under way: asks for its figures each second and writes them where they stand.

import { lost } from "/static/live.js";

const top_ = document.querySelector("[data-live-run]");
const run = top_.dataset.liveRun;
const SLOWEST_MS = 30_000;

const full = (number) => Math.trunc(number).toLocaleString("en-US");

/** As the server writes it: `950`, `12.3k`, `4.1M`. */
function short(number) {
  for (const unit of ["", "k", "M", "G"]) {
    if (Math.abs(number) < 1000) return (unit || number % 1 ? number.toFixed(1) : String(number)) + unit;
    number /= 1000;
  }
  return `${number.toFixed(1)}T`;
}

function clock(seconds) {
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60), Math.floor(seconds % 60)];
  const two = (n) => String(n).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

const inWords = (seconds) =>
  seconds < 10 ? `${seconds.toFixed(2)} s` : seconds < 60 ? `${seconds.toFixed(1)} s` : clock(seconds);

function write(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

function writeNodes(nodes) {
  for (const place of document.querySelectorAll("[data-node][data-field]")) {
    const value = nodes[place.dataset.node]?.[place.dataset.field];
    if (typeof value !== "number") continue;
    const figure = "full" in place.dataset || (place.ownerSVGElement && value < 10_000) ? full(value) : short(value);
    const word = place.dataset.word;
    write(place, (word || "blank" in place.dataset) && !value ? "" : word ? `${figure} ${word}` : figure);
  }
}

const seen = [];

/** Rows per second over the last half minute. */
function rate(now, done) {
  seen.push([now, done]);
  while (seen.length > 2 && now - seen[0][0] > 30) seen.shift();
  const [[then, before]] = seen;
  return now - then > 1.5 ? (done - before) / (now - then) : null;
}

function show(counts) {
  const total = Math.max(counts.rows_total ?? 0, counts.rows_in);
  const pace = rate(performance.now() / 1000, counts.rows_done);
  const fields = {
    rows_done: full(counts.rows_done),
    total: full(total),
    rows_out: full(counts.rows_out),
    rows_failed: full(counts.rows_failed),
    rows_dropped: full(counts.rows_dropped),
    seconds: inWords(counts.seconds),
    prompt_tokens: short(counts.prompt_tokens),
    completion_tokens: short(counts.completion_tokens),
    cost: counts.cost === null ? null : counts.cost >= 1 ? counts.cost.toFixed(2) : String(Number(counts.cost.toPrecision(2))),
    rate: pace === null ? "…" : pace < 10 ? pace.toFixed(1) : full(pace),
    left: counts.rows_total && pace > 0 ? clock((total - counts.rows_done) / pace) : "…",
  };
  for (const [name, text] of Object.entries(fields)) {
    if (text !== null) write(document.querySelector(`[data-live-field="${name}"]`), text);
  }
  document.querySelector('[data-live-field="rows_failed"]')?.classList.toggle("bad", counts.rows_failed > 0);
  const bar = document.querySelector("[data-live-bar]");
  if (bar && total) {
    bar.max = total;
    bar.value = counts.rows_done;
  }
  document.title = total ? `${Math.floor((100 * counts.rows_done) / total)}% · ${run} · chainette` : document.title;
  writeNodes(counts.nodes);
}

async function follow() {
  let wait = 1000;
  for (;;) {
    if (!document.hidden) {
      const began = performance.now();
      try {
        const response = await fetch(top_.dataset.liveUrl);
        if (!response.ok) throw new Error(String(response.status));
        const counts = await response.json();
        lost(false);
        show(counts);
        if (counts.state !== "running") {
          // Whatever else the page says is of before the end.
          location.reload();
          return;
        }
        wait = Math.min(Math.max(1000, (performance.now() - began) * 5), SLOWEST_MS);
      } catch (error) {
        lost(error instanceof TypeError); // no answer at all, unlike one that says what is wrong
        wait = Math.min(wait * 2, SLOWEST_MS);
      }
    }
    await new Promise((done) => setTimeout(done, wait));
  }
}

if (top_.hasAttribute("data-live")) follow();

/** A link into a closed part opens it. */
function unfold() {
  const target = location.hash ? document.getElementById(location.hash.slice(1)) : null;
  if (target?.matches("details")) target.open = true;
}
addEventListener("hashchange", unfold);
unfold();

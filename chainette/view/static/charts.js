// Reads values off charts: a line under the pointer, and what each curve says there.

const numbers = (text) => text.split(" ").map((one) => (one === "-" ? NaN : Number(one)));

function short(value) {
  if (Number.isNaN(value)) return "?";
  for (const unit of ["", "k", "M", "G"]) {
    if (Math.abs(value) < 1000) return `${Number(value.toPrecision(3))}${unit}`;
    value /= 1000;
  }
  return `${value.toFixed(1)}T`;
}

function clock(seconds) {
  if (seconds < 60) return `${Number(seconds.toPrecision(2))} s`;
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60), Math.floor(seconds % 60)];
  return h ? `${h}:${String(m).padStart(2, "0")} h` : `${m}:${String(s).padStart(2, "0")}`;
}

function readOff(chart, event) {
  const [left, top, right, bottom, whole] = numbers(chart.dataset.frame);
  const xs = numbers(chart.dataset.x);
  const box = chart.getBoundingClientRect();
  const at = ((event.clientX - box.left) / box.width) * chart.viewBox.baseVal.width;
  const seconds = ((Math.min(Math.max(at, left), right) - left) / (right - left)) * whole;
  const nearest = xs.reduce((best, x, i) => (Math.abs(x - seconds) < Math.abs(xs[best] - seconds) ? i : best), 0);
  const x = left + ((right - left) * xs[nearest]) / whole;
  let cross = chart.querySelector(".x-cross");
  if (!cross) {
    cross = document.createElementNS("http://www.w3.org/2000/svg", "line");
    cross.setAttribute("class", "x-cross");
    chart.append(cross);
  }
  for (const [name, value] of Object.entries({ x1: x, x2: x, y1: top, y2: bottom })) cross.setAttribute(name, value);
  const curves = [...chart.querySelectorAll("[data-y]")];
  const said = curves.map((curve) => {
    const value = short(numbers(curve.dataset.y)[nearest]);
    return curves.length > 1 ? `${curve.dataset.name} ${value}` : value;
  });
  const figure = chart.parentElement;
  let label = figure.querySelector(".read-off");
  if (!label) {
    label = document.createElement("div");
    label.className = "read-off";
    figure.append(label);
  }
  label.textContent = `${clock(xs[nearest])}: ${said.join(" · ")}`;
}

function leave(chart) {
  chart.querySelector(".x-cross")?.remove();
  chart.parentElement.querySelector(".read-off")?.remove();
}

document.addEventListener("pointermove", (event) => {
  const chart = event.target.closest?.(".chart[data-frame]");
  for (const other of document.querySelectorAll(".x-cross")) {
    if (other.ownerSVGElement !== chart) leave(other.ownerSVGElement);
  }
  if (chart) readOff(chart, event);
});

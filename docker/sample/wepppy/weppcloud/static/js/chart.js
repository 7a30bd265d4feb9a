// A chart of twelve months: precipitation as bars, temperatures as lines, in plain SVG.

const MONTHS = ["J", "F", "M", "A", "M", "J", "J", "A", "S", "O", "N", "D"];
const NAMES = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const WIDEST = 560;
const NARROWEST = 300;
const HEIGHT = 260;
const EDGE = { left: 56, right: 50, top: 14, bottom: 26 };

/**
 * Draw `series` = `{ppt, tmin, tmax}` (twelve numbers each: mm, degrees Celsius) of the place called `where` into
 * `figure`, with a key above it and a table of the same numbers under it.
 */
export function drawClimate(figure, where, { ppt, tmin, tmax }) {
  // Drawn in the figure's own pixels, so that the text stays readable on a phone.
  const width = Math.min(WIDEST, Math.max(NARROWEST, figure.clientWidth));
  const svg = element("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": "Monthly climate" });
  const inner = { width: width - EDGE.left - EDGE.right, height: HEIGHT - EDGE.top - EDGE.bottom };
  const step = inner.width / 12;
  const wettest = niceCeiling(Math.max(...ppt, 1));
  const coldest = Math.floor(Math.min(...tmin) / 5) * 5;
  const warmest = coldest + 20 * Math.max(1, Math.ceil((Math.max(...tmax) - coldest) / 20)); // four steps of 5, 10, ..
  const rainY = (value) => EDGE.top + inner.height * (1 - value / wettest);
  const warmthY = (value) => EDGE.top + inner.height * (1 - (value - coldest) / (warmest - coldest));

  for (let part = 0; part <= 4; part += 1) {
    const y = EDGE.top + (inner.height * part) / 4;
    svg.append(element("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: y, y2: y }));
    const rain = wettest * (1 - part / 4);
    const warmth = coldest + (warmest - coldest) * (1 - part / 4);
    svg.append(text(EDGE.left - 6, y + 4, short(rain) + (part ? "" : " mm"), "end"));
    svg.append(text(width - EDGE.right + 6, y + 4, short(warmth) + (part ? "" : " °C"), "start"));
  }
  ppt.forEach((value, month) => {
    const x = EDGE.left + step * month + step * 0.15;
    const bar = element("rect", { class: "rain", x, y: rainY(value), width: step * 0.7, height: inner.height + EDGE.top - rainY(value) });
    bar.append(element("title", {}, `${NAMES[month]}: ${value.toFixed(0)} mm`));
    svg.append(bar, text(EDGE.left + step * (month + 0.5), HEIGHT - 8, MONTHS[month], "middle"));
  });
  for (const [kind, values] of [["cold", tmin], ["warm", tmax]]) {
    const points = values.map((value, month) => `${EDGE.left + step * (month + 0.5)},${warmthY(value)}`).join(" ");
    svg.append(element("polyline", { class: kind, points }));
  }
  figure.replaceChildren(caption(where), svg, table({ ppt, tmin, tmax }));
}

function caption(where) {
  const made = document.createElement("figcaption");
  const entries = [["", where], ["key rain", "precipitation"], ["key warm", "mean daily maximum"], ["key cold", "mean daily minimum temperature"]];
  for (const [kind, content] of entries) {
    const part = document.createElement("span");
    part.className = kind;
    part.textContent = content;
    made.append(part);
  }
  return made;
}

function table(series) {
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  summary.textContent = "The numbers";
  const grid = document.createElement("table");
  const head = grid.createTHead().insertRow();
  for (const title of ["Month", "Precipitation, mm", "Mean daily minimum, °C", "Mean daily maximum, °C"]) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = title;
    head.append(cell);
  }
  const body = grid.createTBody();
  NAMES.forEach((name, month) => {
    const row = body.insertRow();
    for (const value of [name, ...[series.ppt, series.tmin, series.tmax].map((values) => values[month].toFixed(1))]) {
      row.insertCell().textContent = value;
    }
  });
  details.append(summary, grid);
  return details;
}

function niceCeiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 10].map((factor) => factor * power).find((limit) => limit >= value);
}

function short(value) {
  return Number.isInteger(value) ? String(value) : value.toFixed(1);
}

function text(x, y, content, anchor) {
  return element("text", { x, y, "text-anchor": anchor }, content);
}

function element(name, attributes, content = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = content;
  return made;
}

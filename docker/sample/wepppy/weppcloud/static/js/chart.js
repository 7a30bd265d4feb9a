// A chart of twelve months: precipitation as bars, temperatures as lines.

import { html, render, svg } from "../vendor/lit-html-3.3.3/lit-html.js";

const NAMES = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const WIDEST = 560;
const NARROWEST = 300;
const HEIGHT = 260;
const EDGE = { left: 56, right: 50, top: 14, bottom: 26 };

/**
 * Draw `{ppt, tmin, tmax}` (twelve numbers each: mm, degrees Celsius) of the place called `where` into `figure`, with a
 * key above it and a table of the same numbers under it.
 */
export function drawClimate(figure, where, { ppt, tmin, tmax }) {
  // Drawn in the figure's own pixels, so that the text stays readable on a phone.
  const width = Math.min(WIDEST, Math.max(NARROWEST, figure.clientWidth));
  const inner = { width: width - EDGE.left - EDGE.right, height: HEIGHT - EDGE.top - EDGE.bottom };
  const step = inner.width / 12;
  const wettest = niceCeiling(Math.max(...ppt, 1));
  const coldest = Math.floor(Math.min(...tmin) / 5) * 5;
  const warmest = coldest + 20 * Math.max(1, Math.ceil((Math.max(...tmax) - coldest) / 20)); // four steps of 5, 10, ..
  const middle = (month) => EDGE.left + step * (month + 0.5);
  const rainY = (value) => EDGE.top + inner.height * (1 - value / wettest);
  const warmthY = (value) => EDGE.top + inner.height * (1 - (value - coldest) / (warmest - coldest));
  const line = (values) => values.map((value, month) => `${middle(month)},${warmthY(value)}`).join(" ");

  const gridLine = (part) => {
    const y = EDGE.top + (inner.height * part) / 4;
    const rain = short(wettest * (1 - part / 4));
    const warmth = short(coldest + (warmest - coldest) * (1 - part / 4));
    return svg`
      <line class="grid" x1=${EDGE.left} x2=${width - EDGE.right} y1=${y} y2=${y}></line>
      <text x=${EDGE.left - 6} y=${y + 4} text-anchor="end">${rain}${part ? "" : " mm"}</text>
      <text x=${width - EDGE.right + 6} y=${y + 4}>${warmth}${part ? "" : " °C"}</text>`;
  };
  const bar = (value, month) => svg`
    <rect class="rain" x=${middle(month) - step * 0.35} y=${rainY(value)} width=${step * 0.7} height=${rainY(0) - rainY(value)}>
      <title>${NAMES[month]}: ${value.toFixed(0)} mm</title>
    </rect>
    <text x=${middle(month)} y=${HEIGHT - 8} text-anchor="middle">${NAMES[month][0]}</text>`;
  const numbers = (name, month) => html`
    <tr><td>${name}</td>${[ppt, tmin, tmax].map((values) => html`<td>${values[month].toFixed(1)}</td>`)}</tr>`;

  render(
    html`
      <figcaption>
        <span>${where}</span>
        <span class="key rain">precipitation</span>
        <span class="key warm">mean daily maximum</span>
        <span class="key cold">mean daily minimum temperature</span>
      </figcaption>
      <svg viewBox="0 0 ${width} ${HEIGHT}" role="img" aria-label="Monthly climate">
        ${[0, 1, 2, 3, 4].map(gridLine)} ${ppt.map(bar)}
        <polyline class="cold" points=${line(tmin)}></polyline>
        <polyline class="warm" points=${line(tmax)}></polyline>
      </svg>
      <details>
        <summary>The numbers</summary>
        <table>
          <thead>
            <tr>
              <th scope="col">Month</th><th scope="col">Precipitation, mm</th>
              <th scope="col">Mean daily minimum, °C</th><th scope="col">Mean daily maximum, °C</th>
            </tr>
          </thead>
          <tbody>${NAMES.map(numbers)}</tbody>
        </table>
      </details>`,
    figure,
  );
}

function niceCeiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 10].map((factor) => factor * power).find((limit) => limit >= value);
}

function short(value) {
  return Number.isInteger(value) ? String(value) : value.toFixed(1);
}

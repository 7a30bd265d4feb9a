// The layers of a run's map: what can be chosen, in which colours, and the legend of the one that is shown.

import { html, nothing, render } from "../vendor/lit-html-3.3.3/lit-html.js";
import { digits } from "./numbers.js";

// Sequential schemes of colorbrewer2.org (Brewer & Harrower): brown for soil, blue for water.
const SOIL = ["#ffffd4", "#fee391", "#fec44f", "#fe9929", "#d95f0e", "#993404"];
const WATER = ["#eff3ff", "#c6dbef", "#9ecae1", "#6baed6", "#3182bd", "#08519c"];
export const RESULTS = [
  { key: "soil_loss_t_ha", title: "Soil loss", unit: "t/(ha yr)", colours: SOIL },
  { key: "runoff_mm", title: "Runoff", unit: "mm/yr", colours: WATER },
  { key: "discharge_m3_s", title: "Discharge", unit: "m³/s, mean of the year at the lower end of each channel", colours: WATER },
];

/** Offer in `choice` what `map` can show of a run: its subcatchments `shapes` and its `pictures` below `base`. */
export function offerLayers(map, choice, legend, shapes, pictures, base) {
  const results = RESULTS.map((result) => {
    const classes = classesOf(shapes.features.map(({ properties }) => properties[result.key]), result.colours);
    const colour = (value) => classes.find(({ to }) => value <= to)?.colour ?? classes.at(-1).colour;
    const text = (properties) =>
      `Subcatchment ${properties.subcatchment}: ${digits(properties[result.key])} ${result.unit.split(",")[0]}`;
    const layer = map.choropleth(shapes, (properties) => colour(properties[result.key]), text);
    const named = classes.map(({ from, to, colour }) => ({ name: `${digits(from)} – ${digits(to)}`, colour }));
    return { ...result, heading: `${result.title}, ${result.unit}`, layer, legend: swatches(named) };
  });
  const images = [
    { key: "landcover", title: "Land cover", legend: swatches(pictures.landcover.classes) },
    { key: "elevation", title: "Elevation", legend: colourBar(pictures.elevation.scale) },
  ].map((image) => {
    const { file, bounds } = pictures[image.key];
    return { ...image, layer: map.picture({ url: base + file, bounds, title: image.title }) };
  });
  const all = [...results, ...images, { key: "relief", title: "Relief alone", layer: null, legend: nothing }];
  const show = ({ layer, title, heading = title, legend: parts }) => {
    map.show(layer);
    render(html`<h3>${heading}</h3>${parts}`, legend);
  };
  render(
    all.map((each) => html`<label><input type="radio" name="layer" value=${each.key} @change=${() => show(each)}> ${each.title}</label>`),
    choice,
  );
  choice.querySelector("input").checked = true;
  choice.hidden = false;
  show(all[0]);
}

/** Return at most as many classes as colours, `{from, to, colour}`, with limits that part the values evenly. */
function classesOf(values, colours) {
  const sorted = [...values].sort((a, b) => a - b);
  const limits = colours.slice(1).map((_, at) => {
    const value = sorted[Math.floor(((at + 1) * sorted.length) / colours.length)] ?? 0;
    return Number(value.toPrecision(2));
  });
  const distinct = [...new Set(limits)].filter((limit) => limit > sorted[0] && limit < sorted.at(-1));
  const ends = [...distinct, sorted.at(-1) ?? 0];
  return ends.map((to, at) => ({
    from: at ? ends[at - 1] : (sorted[0] ?? 0),
    to,
    colour: colours[ends.length > 1 ? Math.round((at * (colours.length - 1)) / (ends.length - 1)) : 0],
  }));
}

// Colours are set as properties: the site's policy forbids style attributes.
function swatches(classes) {
  return html`<ul class="swatches">
    ${classes.map(({ name, colour }) => html`<li><span class="swatch" .style=${`background: ${colour}`}></span>${name}</li>`)}
  </ul>`;
}

function colourBar({ low, high, unit, colours }) {
  return html`<div class="colour-bar" .style=${`background: linear-gradient(to right, ${colours.join(", ")})`}></div>
    <div class="colour-ends">
      ${[low, (low + high) / 2, high].map((value) => html`<span>${Math.round(value)} ${unit}</span>`)}
    </div>`;
}

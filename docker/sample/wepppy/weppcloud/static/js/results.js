// The results of a finished run: the figures of the watershed, the layers of the map, the table of subcatchments.

import { html, nothing, render } from "../vendor/lit-html-3.3.3/lit-html.js";
import { askJson } from "./ask.js";
import { RESULTS, offerLayers } from "./layers.js";
import { digits } from "./numbers.js";

const WATER = [
  ["precipitation_mm", "Precipitation"],
  ["evapotranspiration_mm", "Evapotranspiration"],
  ["direct_runoff_mm", "Direct runoff"],
  ["baseflow_mm", "Baseflow"],
  ["storage_change_mm", "Change of storage (snow, soil, groundwater)"],
];

/**
 * Show what the run whose address is `runUrl` found, in `page`'s cards and on `map` (null without one).
 *
 * Parts that the file service does not give are left as they are: older runs have no map layers.
 */
export async function showResults(page, map, runUrl) {
  const at = (path) => `${runUrl}download/${path}`;
  const [report, channels, watershed, subcatchments, pictures] = await Promise.all(
    ["report.json", "watershed/channels.geojson", "map/watershed.geojson", "map/subcatchments.geojson", "map/layers.json"].map(
      // A run that is computed again has the same address.
      (path) => askJson(at(path), { cache: "no-cache" }).catch(() => null),
    ),
  );
  const part = (name) => page.querySelector(`#${name}`);
  if (report?.results?.water_balance) showFigures(part, report);
  if (map && subcatchments && pictures) {
    offerLayers(map, part("layers"), part("legend"), subcatchments, pictures, at("map/"));
  }
  if (map && channels) map.addChannels(channels);
  if (map && watershed) map.addWatershed(watershed);
  if (subcatchments) showTable(part, map, subcatchments.features);
}

function showFigures(part, { results, methods, note }) {
  const { soil_loss: soil, runoff, water_balance: water, climate, watershed } = results;
  const figures = [
    ["Soil loss", `${digits(soil.mean_t_ha_yr)} t/(ha yr)`, `${digits(soil.total_t)} t from ${digits(watershed.area_ha)} ha`],
    ["Runoff", `${digits(runoff.runoff_mm)} mm/yr`, `${digits(runoff.runoff_coefficient, 2)} of the precipitation`],
    ["Discharge", `${digits(runoff.mean_discharge_m3_s)} m³/s`, "mean of the year at the outlet"],
    ["Peak discharge", `${digits(runoff.peak_discharge_m3_s)} m³/s`, `at the outlet on ${runoff.peak_day}`],
  ];
  render(
    figures.map(([title, value, remark]) => html`<div><dt>${title}</dt><dd>${value}</dd><dd class="hint">${remark}</dd></div>`),
    part("figures"),
  );
  render(
    html`<caption>Water of ${climate.year}, mm over the watershed</caption>
      <tbody>${WATER.map(([key, title]) => html`<tr><th scope="row">${title}</th><td>${water[key].toFixed(0)}</td></tr>`)}</tbody>`,
    part("balance"),
  );
  render(methods.map((method) => html`<li>${method}</li>`), part("methods"));
  part("sample-note").textContent = note;
  part("results").hidden = false;
}

function showTable(part, map, features) {
  const numbers = [
    ["Area, ha", "area_ha"],
    ...RESULTS.map(({ title, key, unit }) => [`${title}, ${unit.split(",")[0]}`, key]),
    ["Peak, m³/s", "peak_m3_s"],
    ["Precipitation, mm/yr", "precipitation_mm"],
    ["Evapotranspiration, mm/yr", "evapotranspiration_mm"],
  ];
  const columns = [
    {
      title: "Subcatchment",
      value: ({ properties }) => properties.subcatchment,
      text: ({ properties }) => properties.subcatchment,
      open: map?.highlight,
    },
    ...numbers.map(([title, key]) => ({
      title,
      value: ({ properties }) => properties[key],
      text: ({ properties }) => digits(properties[key], 3, 3),
    })),
  ];
  sortableTable(part("subcatchments"), columns, features);
  part("subcatchments-card").hidden = false;
}

/**
 * Fill `table` with `rows` under `columns` `[{title, value(row), text(row), open(row)}]`; `open`, where given, makes the
 * cell a button.
 */
function sortableTable(table, columns, rows) {
  show(rows, null, false);

  function sortBy(column, descending) {
    const ordered = [...rows].sort((a, b) => (column.value(a) - column.value(b)) * (descending ? -1 : 1));
    show(ordered, column, descending);
  }

  function show(ordered, sorted, descending) {
    // The largest first: that is what one looks for.
    const heading = (column) => html`
      <th scope="col" aria-sort=${column === sorted ? (descending ? "descending" : "ascending") : nothing}>
        <button type="button" class="sort" @click=${() => sortBy(column, column !== sorted || !descending)}>${column.title}</button>
      </th>`;
    const cell = ({ text, open }, row) => html`
      <td>${open ? html`<button type="button" class="link" @click=${() => open(row)}>${text(row)}</button>` : text(row)}</td>`;
    render(
      html`<thead><tr>${columns.map(heading)}</tr></thead>
        <tbody>${ordered.map((row) => html`<tr>${columns.map((column) => cell(column, row))}</tr>`)}</tbody>`,
      table,
    );
  }
}

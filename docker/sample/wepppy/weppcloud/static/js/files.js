// The files of a run: the first few of them, with their sizes, as the file service lists them.

import { html, render } from "../vendor/lit-html-3.3.3/lit-html.js";
import { askJson } from "./ask.js";
import { digits } from "./numbers.js";

const SHOWN = 20;
const UNITS = ["B", "kB", "MB", "GB"];

/** Fill `list` with links to what lies directly in the run whose address is `runUrl`; resolves to the entries. */
export async function showFiles(runUrl, list) {
  const listing = await askJson(`${runUrl}files/?limit=${SHOWN}&sort=name`).catch(() => null);
  if (listing === null) {
    render(html`<li>The file service is not available.</li>`, list);
    return [];
  }
  const items = listing.entries.map((entry) => {
    const slash = entry.type === "directory" ? "/" : "";
    const path = entry.path.split("/").map(encodeURIComponent).join("/");
    // A file's page shows what is in it, and downloads it.
    return html`<li>
      <a href="${runUrl}browse/${path}${slash}">${entry.name}${slash}</a>
      <span class="hint">${slash ? "" : size(entry.size_bytes)}</span>
    </li>`;
  });
  if (listing.has_more) items.push(html`<li>and ${listing.total - items.length} more</li>`);
  render(items.length ? items : html`<li>No file yet.</li>`, list);
  return listing.entries;
}

function size(bytes) {
  const power = Math.min(UNITS.length - 1, Math.floor(Math.log10(Math.max(bytes, 1)) / 3));
  return `${digits(bytes / 1000 ** power)} ${UNITS[power]}`;
}

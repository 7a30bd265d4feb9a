// Tables that sort: a button in every heading, the order announced to screen readers.

import { html, nothing, render } from "../vendor/lit-html-3.3.3/lit-html.js";

/**
 * Fill `table` with `rows` under `columns` `[{title, value(row), text(row), open(row)}]`; `open`, where given, makes the
 * cell a button.
 */
export function sortableTable(table, columns, rows) {
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

// Tables that sort: a button in every heading, the order announced to screen readers.

/**
 * Fill `table` with `rows` under `columns` `[{title, value(row), text(row), open(row)}]`; `open`, where given, makes the
 * cell a button.
 */
export function sortableTable(table, columns, rows) {
  const body = document.createElement("tbody");
  const head = document.createElement("thead");
  const headings = head.insertRow();
  let sorted = { column: null, descending: false };
  for (const column of columns) {
    const cell = document.createElement("th");
    cell.scope = "col";
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.textContent = column.title;
    button.addEventListener("click", () => sortBy(column));
    cell.append(button);
    headings.append(cell);
  }
  table.replaceChildren(head, body);
  fill(rows);

  function sortBy(column) {
    // The largest first: that is what one looks for.
    const descending = sorted.column === column ? !sorted.descending : true;
    sorted = { column, descending };
    for (const [at, cell] of [...headings.cells].entries()) {
      if (columns[at] === column) cell.setAttribute("aria-sort", descending ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    }
    fill([...rows].sort((a, b) => (column.value(a) - column.value(b)) * (descending ? -1 : 1)));
  }

  function fill(ordered) {
    body.replaceChildren(
      ...ordered.map((row) => {
        const line = document.createElement("tr");
        for (const column of columns) {
          const cell = line.insertCell();
          if (column.open) {
            const button = document.createElement("button");
            button.type = "button";
            button.className = "link";
            button.textContent = column.text(row);
            button.addEventListener("click", () => column.open(row));
            cell.append(button);
          } else cell.textContent = column.text(row);
        }
        return line;
      }),
    );
  }
}

// The files of a run: the first few of them, with their sizes, as the file service lists them.

const SHOWN = 20;

/** Fill `list` with links to what lies directly in the run whose address is `runUrl`; resolves to the entries. */
export async function showFiles(runUrl, list) {
  let listing;
  try {
    const response = await fetch(`${runUrl}files/?limit=${SHOWN}&sort=name`, { headers: { Accept: "application/json" } });
    if (!response.ok) throw new Error(response.statusText);
    listing = await response.json();
  } catch {
    list.replaceChildren(item("The file service is not available."));
    return [];
  }
  const items = listing.entries.map((entry) => {
    const link = document.createElement("a");
    const folder = entry.type === "directory";
    const path = entry.path.split("/").map(encodeURIComponent).join("/");
    link.href = `${runUrl}browse/${path}${folder ? "/" : ""}`; // a file's page shows what is in it, and downloads it
    link.textContent = folder ? `${entry.name}/` : entry.name;
    return item(link, folder ? "" : size(entry.size_bytes));
  });
  if (listing.has_more) items.push(item(`and ${listing.total - listing.entries.length} more`));
  if (!items.length) items.push(item("No file yet."));
  list.replaceChildren(...items);
  return listing.entries;
}

function item(content, note = "") {
  const made = document.createElement("li");
  const aside = document.createElement("span");
  aside.className = "hint";
  aside.textContent = note;
  made.append(content, aside);
  return made;
}

function size(bytes) {
  if (!Number.isFinite(bytes)) return "";
  const units = ["B", "kB", "MB", "GB"];
  let power = 0;
  while (bytes >= 1000 && power < units.length - 1) {
    bytes /= 1000;
    power += 1;
  }
  return `${power && bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)} ${units[power]}`;
}

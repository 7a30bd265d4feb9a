// Numbers and moments as people read them.

/** Return a number with `least` to `count` significant digits and no exponent, thin spaces between thousands. */
export function digits(value, count = 3, least = 1) {
  if (typeof value !== "number" || !Number.isFinite(value)) return "–";
  return new Intl.NumberFormat("en", { maximumSignificantDigits: count, minimumSignificantDigits: least }).format(value).replaceAll(",", "\u202f");
}

/** Write every `<time datetime>` below `root` in the reader's own zone, named; the original stays in its title. */
export function localTimes(root) {
  const format = new Intl.DateTimeFormat("sv-SE", {
    dateStyle: "short",
    timeStyle: "short",
  });
  for (const element of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(element.dateTime);
    if (Number.isNaN(moment.getTime())) continue;
    element.title = element.dateTime;
    element.textContent = `${format.format(moment)} ${zoneAt(moment)}`;
  }
}

/** Return the name of the reader's time zone at a moment, "GMT+1" for one. */
export function zoneAt(moment) {
  const parts = new Intl.DateTimeFormat("en", { timeZoneName: "short" }).formatToParts(moment);
  return parts.find(({ type }) => type === "timeZoneName").value;
}

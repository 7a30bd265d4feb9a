// The live log of a run: what the worker says, as it says it.

import { keepConnected } from "./sockets.js";

const LONGEST = 500; // lines kept on the page
const LOG_FILE = "rq.log";
const LOG_BYTES = 20000; // read from the end of the file
// What the run itself says; RQ's own remarks stand in the same file under RQ's name.
const LOG_LINE = /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d),\d+ \w+ wepppy[\w.]*: (.*)$/;

/**
 * Follow `<runid>:wepp` into the list `element`; `status` shows whether the line is open.
 *
 * Messages are not kept for those who come late, so every (re)connection begins with the end of the log file of the
 * run whose address is `runUrl`. Returns `{catchUp(), silence()}`: to read the file again, because messages may also get
 * lost between the worker and a service whose connection to us stays open; and for how long (ms) nothing was heard.
 */
export function followLog(statusBase, runid, runUrl, element, status) {
  let waiting = null; // what is said while the file is being read
  let requested = false; // to read the file (again)
  let heard = Date.now();

  async function catchUp() {
    requested = true;
    if (waiting) return; // the read under way is followed by another: the file may be newer than what it sees
    while (requested) {
      requested = false;
      await readAgain();
    }
  }

  async function readAgain() {
    heard = Date.now();
    waiting = [];
    const lines = await readLog(runUrl);
    const known = new Set(lines.slice(-50).map((line) => line.text));
    const all = [...lines, ...waiting.filter((line) => !known.has(line.text))].slice(-LONGEST);
    waiting = null;
    const shown = [...element.children].map((line) => line.dataset.text);
    // The scroll position stays where nothing changed, and so do lines while the file service does not answer.
    if (!all.length || (all.length === shown.length && all.every((line, at) => line.text === shown[at]))) return;
    element.replaceChildren();
    for (const line of all) addLine(element, line);
    element.scrollTop = element.scrollHeight;
  }

  keepConnected(`${statusBase}/${encodeURIComponent(runid)}:wepp`, {
    open: catchUp,
    frame: (frame) => {
      if (frame.type !== "status") return;
      heard = Date.now();
      const line = { time: new Date(), text: String(frame.data) };
      if (waiting) waiting.push(line);
      else addLine(element, line);
    },
    state: (state) => (status.textContent = state),
  });
  return { catchUp, silence: () => Date.now() - heard };
}

async function readLog(runUrl) {
  try {
    const response = await fetch(`${runUrl}files/?pattern=${LOG_FILE}`, { headers: { Accept: "application/json" } });
    if (!response.ok || !(await response.json()).entries.length) return [];
    // Not from the browser's cache: for the end of a file that has grown it gives the end that it had before.
    const options = { headers: { Range: `bytes=-${LOG_BYTES}` }, cache: "no-store" };
    const log = await fetch(`${runUrl}download/${LOG_FILE}`, options);
    if (!log.ok) return [];
    const lines = (await log.text()).split("\n").map((line) => LOG_LINE.exec(line)).filter(Boolean);
    return lines.map(([, day, time, text]) => ({ time: new Date(`${day}T${time}Z`), text }));
  } catch {
    return []; // the file service is away; what comes live is still shown
  }
}

/** Call `changed(event)` for every job event of the run, and `changed(null)` after each (re)connection. */
export function followJob(statusBase, runid, changed) {
  keepConnected(`${statusBase}/${encodeURIComponent(runid)}:rq`, {
    open: () => changed(null), // an event may have passed while nobody listened
    frame: (frame) => {
      if (frame.type !== "status") return;
      try {
        changed(JSON.parse(frame.data));
      } catch {
        changed(null);
      }
    },
  });
}

function addLine(element, { time, text }) {
  const atEnd = element.scrollHeight - element.scrollTop - element.clientHeight < 40;
  const line = document.createElement("li");
  const clock = document.createElement("time");
  clock.textContent = time.toLocaleTimeString([], { hour12: false });
  line.append(clock, " ", text);
  line.dataset.text = text;
  element.append(line);
  while (element.children.length > LONGEST) element.firstElementChild.remove();
  if (atEnd) element.scrollTop = element.scrollHeight;
}

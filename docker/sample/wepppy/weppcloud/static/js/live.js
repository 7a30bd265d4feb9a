// What happens to a run while it is computed: its log and its checklist, over connections that come back by themselves.

import { html, render } from "../vendor/lit-html-3.3.3/lit-html.js";
import { askJson } from "./ask.js";

const STATUS = "/weppcloud-microservices/status";
const PREFLIGHT = "/weppcloud-microservices/preflight";
const LONGEST = 500; // lines kept on the page
const LOG_FILE = "rq.log";
const LOG_BYTES = 20000; // read from the end of the file
// What the run itself says; RQ's own remarks stand in the same file under RQ's name.
const LOG_LINE = /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d),\d+ \w+ wepppy[\w.]*: (.*)$/;
const FIRST_DELAY = 500; // ms
const LONGEST_DELAY = 15000; // ms
const SILENCE = 20000; // ms without any frame; the services ping every five seconds

/**
 * Follow `<runid>:wepp` into the list `element`; `status` shows whether the line is open.
 *
 * Messages are not kept for those who come late, so every (re)connection begins with the end of the log file of the
 * run whose address is `runUrl`. `changed()` is called for every message and (re)connection. Returns `{catchUp(),
 * silence()}`: to read the file again, because messages may also get lost between the worker and a service whose
 * connection to us stays open; and for how long (ms) nothing was heard.
 */
export function followLog(runid, runUrl, element, status, changed) {
  let lines = [];
  let meanwhile = null; // what is said while the file is being read
  let requested = false; // to read the file (again)
  let heard = Date.now();

  async function catchUp() {
    requested = true;
    if (meanwhile) return; // the read under way is followed by another: the file may be newer than what it sees
    while (requested) {
      requested = false;
      heard = Date.now();
      meanwhile = [];
      const kept = await readLog(runUrl);
      const known = new Set(kept.slice(-50).map(({ text }) => text));
      // Without an answer of the file service the lines stay.
      if (kept.length) lines = [...kept, ...meanwhile.filter(({ text }) => !known.has(text))];
      meanwhile = null;
      show();
    }
  }

  function show() {
    const atEnd = element.scrollHeight - element.scrollTop - element.clientHeight < 40;
    lines = lines.slice(-LONGEST);
    const clock = (time) => time.toLocaleTimeString([], { hourCycle: "h23" });
    render(lines.map(({ time, text }) => html`<li><time>${clock(time)}</time> ${text}</li>`), element);
    if (atEnd) element.scrollTop = element.scrollHeight;
  }

  keepConnected(`${STATUS}/${encodeURIComponent(runid)}:wepp`, status, {
    open: () => {
      catchUp();
      changed();
    },
    frame: (frame) => {
      if (frame.type !== "status") return;
      heard = Date.now();
      const line = { time: new Date(), text: String(frame.data) };
      lines.push(line);
      meanwhile?.push(line);
      show();
      changed();
    },
  });
  return { catchUp, silence: () => Date.now() - heard };
}

async function readLog(runUrl) {
  try {
    if (!(await askJson(`${runUrl}files/?pattern=${LOG_FILE}`)).entries.length) return [];
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

/** Keep the items of `list` (each with `data-key`) as the preflight service says; `status` shows the connection. */
export function followChecklist(runid, list, status) {
  keepConnected(`${PREFLIGHT}/${encodeURIComponent(runid)}`, status, {
    frame: ({ type, checklist = {} }) => {
      if (type !== "preflight") return;
      for (const item of list.querySelectorAll("[data-key]")) {
        const done = checklist[item.dataset.key] === true;
        item.classList.toggle("done", done);
        item.querySelector(".mark").textContent = done ? "✓" : "○";
        item.querySelector(".said").textContent = done ? "done" : "not done";
      }
    },
  });
}

/**
 * Keep a WebSocket open to `path` on this host for as long as the page is there.
 *
 * `frame(frame)` gets every decoded frame that is not a ping or a hangup; `open()` is called on every (re)connection,
 * and the element `status` says "live" or "reconnecting".
 */
function keepConnected(path, status, { frame, open }) {
  const address = new URL(path, location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  let socket = null;
  let delay = FIRST_DELAY;
  let retry = 0;
  let watch = 0;

  function listen() {
    clearTimeout(watch);
    // A connection that is lost without a close (a laptop that slept) looks open for ever.
    watch = setTimeout(() => lose(socket), SILENCE);
  }

  function connect() {
    clearTimeout(retry);
    const current = new WebSocket(address);
    socket = current;
    listen();
    current.onopen = () => {
      current.send(JSON.stringify({ type: "init" }));
      status.textContent = "live";
      open?.();
    };
    current.onmessage = (event) => {
      if (current !== socket) return;
      listen();
      const received = JSON.parse(event.data);
      delay = FIRST_DELAY; // only a connection that carries frames counts as recovered
      if (received.type === "ping") current.send(JSON.stringify({ type: "pong" }));
      else if (received.type === "hangup") lose(current);
      else frame(received);
    };
    current.onclose = () => lose(current);
  }

  function lose(lost) {
    if (lost !== socket) return;
    socket = null;
    clearTimeout(watch);
    lost?.close();
    status.textContent = "reconnecting";
    retry = setTimeout(connect, delay * (0.5 + Math.random() / 2));
    delay = Math.min(delay * 2, LONGEST_DELAY);
  }

  function hurry() {
    if (socket === null && document.visibilityState === "visible") connect();
  }

  addEventListener("online", hurry);
  document.addEventListener("visibilitychange", hurry);
  connect();
}

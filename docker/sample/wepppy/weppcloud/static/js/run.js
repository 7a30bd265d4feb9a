// The page of one run: puts its parts together.

import { html, render } from "../vendor/lit-html-3.3.3/lit-html.js";
import { askJson } from "./ask.js";
import { drawClimate } from "./chart.js";
import { showFiles } from "./files.js";
import { followChecklist, followLog } from "./live.js";
import { showMap } from "./map.js";
import { localTimes, zoneAt } from "./numbers.js";
import { monthlyClimate, elevationAt } from "./places.js";
import { forgetNotification, offerNotifications } from "./notify.js";
import { showResults } from "./results.js";

const RECHECK = 10000; // ms
const QUIET = 500; // ms of silence in the log
const WAITING = new Set(["created", "queued", "started", "deferred", "scheduled"]);
const ENDED = new Set(["finished", "failed", "stopped", "canceled"]);

const page = document.getElementById("run");
const { runid, state: stateUrl, start: startUrl, files: filesUrl, worker } = page.dataset;
const extent = JSON.parse(page.dataset.extent);
const byId = (id) => document.getElementById(id);
const problem = (text) => (byId("problem").textContent = text);

let shown = byId("state").textContent.trim();

function showState(status) {
  const ended = ENDED.has(status) && status !== shown;
  shown = status;
  byId("state").textContent = status;
  byId("state").className = `state ${status}`;
  const button = byId("start");
  if (button) {
    button.disabled = WAITING.has(status);
    button.textContent = ENDED.has(status) ? "Run again" : "Start";
  }
  byId("notify-offer").hidden = ENDED.has(status); // there is nothing to notify of any more
  if (ENDED.has(status)) forgetNotification(byId("notify"), runid);
  if (ended) {
    refresh();
    log.catchUp();
  }
}

async function refresh() {
  const files = await showFiles(filesUrl, byId("files"));
  if (files.some((file) => file.name === "report.json")) await showResults(page, map, filesUrl);
}

async function readState() {
  const answer = await askJson(stateUrl).catch(() => null); // asked again when the network returns
  if (answer) showState(answer.Content.job?.status ?? "not started");
}

let asked = 0;
/** The state of the job follows the last word of its log. */
function readStateSoon() {
  clearTimeout(asked);
  asked = setTimeout(readState, QUIET);
}

async function startRun() {
  byId("start").disabled = true;
  problem("");
  try {
    const token = document.querySelector('meta[name="csrf-token"]').content;
    await askJson(startUrl, { method: "POST", headers: { "X-CSRFToken": token } });
    showState("queued");
  } catch (error) {
    byId("start").disabled = false;
    problem(`The run was not started: ${error.message}`);
  }
}

async function lookUp(place) {
  const answer = byId("answer");
  answer.textContent = "…";
  try {
    const found = await elevationAt(filesUrl, place);
    const where = `${found.latitude.toFixed(5)}, ${found.longitude.toFixed(5)}`;
    answer.textContent = found.elevation === null ? `${where}: ${found.problem}` : `${found.elevation.toFixed(1)} m at ${where}`;
    typeIn(found.latitude, found.longitude);
    map?.mark(found.latitude, found.longitude);
    await climateAt(found.latitude, found.longitude);
  } catch (error) {
    answer.textContent = error.message;
  }
}

function typeIn(latitude, longitude) {
  byId("latitude").value = latitude.toFixed(5);
  byId("longitude").value = longitude.toFixed(5);
}

async function climateAt(latitude, longitude) {
  try {
    const where = `${latitude.toFixed(2)}, ${longitude.toFixed(2)}`;
    drawClimate(byId("climate"), where, await monthlyClimate(latitude, longitude));
  } catch (error) {
    render(html`<p class="hint">No climate for this place: ${error.message}</p>`, byId("climate"));
  }
}

const map = extent ? showMap(byId("map"), byId("map-note"), byId("coordinates"), extent, lookUp) : null;
localTimes(page);
byId("log-zone").textContent = `times in ${zoneAt(new Date())}`;
byId("start")?.addEventListener("click", startRun);
byId("place").addEventListener("submit", (event) => {
  event.preventDefault();
  lookUp({ latitude: byId("latitude").value, longitude: byId("longitude").value });
});
if (extent) {
  const [left, bottom, right, top] = extent;
  const middle = [(bottom + top) / 2, (left + right) / 2];
  typeIn(...middle);
  climateAt(...middle);
} else byId("map-note").textContent = "this run does not say where it is";
const log = followLog(runid, filesUrl, byId("log"), byId("log-state"), readStateSoon);
showState(shown);
followChecklist(runid, byId("checklist"), byId("checklist-state"));
offerNotifications(byId("notify"), runid, worker, problem);
// Messages may fall into a restart of Redis while the connection to us stays up.
setInterval(() => {
  if (!WAITING.has(shown) || document.visibilityState !== "visible") return;
  readState();
  if (log.silence() > RECHECK) log.catchUp();
}, RECHECK);
refresh();

// "Notify me": subscribes this browser to the end of a run by Web Push.

import { askJson } from "./ask.js";

const WEBPUSH = "/weppcloud-microservices/webpush";
const OFF = "Notify me when it ends";
const ON = "Don't notify me";
const TIMEOUT = 15000; // ms; a browser that can't reach its push service tries for ever and says nothing
// Browsers' own words ("Registration failed") tell nobody what to do.
const REASONS = {
  AbortError: "this browser has no push service, or cannot reach it",
  NotAllowedError: "this browser does not allow them here; a private window never does",
};

/** Show `button` if this browser can receive notifications; `worker` is the service worker's address. */
export async function offerNotifications(button, runid, worker, problem) {
  if (!isSecureContext || !("serviceWorker" in navigator) || !("PushManager" in window)) return;
  const memory = memoryOf(runid);
  const registration = await navigator.serviceWorker.register(worker).catch(() => null);
  if (registration === null) return;
  const known = await registration.pushManager.getSubscription().catch(() => null);
  show(button, known !== null && localStorage.getItem(memory) === known.endpoint);
  button.hidden = false;
  button.addEventListener("click", async () => {
    button.disabled = true;
    problem("");
    try {
      if (button.getAttribute("aria-pressed") === "true") await stop();
      else await begin();
    } catch (error) {
      problem(`Notifications are not available: ${error.message}`);
    }
    button.disabled = false;
  });

  async function begin() {
    if ((await Notification.requestPermission()) !== "granted") throw new Error("this browser does not allow them");
    const { public_key: key } = await call("/vapid-public-key");
    const subscription = await subscribe(await navigator.serviceWorker.ready, key);
    await call(`/subscriptions/${encodeURIComponent(runid)}`, "POST", subscription);
    localStorage.setItem(memory, subscription.endpoint);
    show(button, true);
  }

  async function stop() {
    // The browser's subscription stays: other runs may use it.
    const endpoint = localStorage.getItem(memory);
    if (endpoint) await call(`/subscriptions/${encodeURIComponent(runid)}`, "DELETE", { endpoint });
    localStorage.removeItem(memory);
    show(button, false);
  }
}

/** The run has ended, and with it what was asked for: `button` offers the next end. */
export function forgetNotification(button, runid) {
  localStorage.removeItem(memoryOf(runid));
  show(button, false);
}

// Where this browser keeps the endpoint that the service has for a run.
const memoryOf = (runid) => `notify:${runid}`;

function show(button, on) {
  button.textContent = on ? ON : OFF;
  button.setAttribute("aria-pressed", String(on));
}

async function subscribe(registration, key) {
  const options = { userVisibleOnly: true, applicationServerKey: key };
  try {
    return await withTimeout(registration.pushManager.subscribe(options));
  } catch (error) {
    // A subscription made with an earlier key of the site stands in the way.
    const old = await registration.pushManager.getSubscription();
    if (error.name !== "InvalidStateError" || old === null) throw new Error(REASONS[error.name] ?? error.message);
    await old.unsubscribe();
    return withTimeout(registration.pushManager.subscribe(options));
  }
}

function withTimeout(answer) {
  const silence = new Promise((_, reject) => {
    setTimeout(() => reject(new Error("the push service of this browser does not answer")), TIMEOUT);
  });
  return Promise.race([answer, silence]);
}

function call(path, method = "GET", body = undefined) {
  return askJson(WEBPUSH + path, { method, headers: body && { "Content-Type": "application/json" }, body: body && JSON.stringify(body) });
}

// Connections to the live services: they answer pings, and come back by themselves when a service was away.

const FIRST_DELAY = 500; // ms
const LONGEST_DELAY = 15000; // ms
const SILENCE = 20000; // ms without any frame; the services ping every five seconds

/**
 * Keep a WebSocket open to `path` on this host for as long as the page is there.
 *
 * `frame(frame)` gets every decoded frame that is not a ping or a hangup; `open()` is called on every (re)connection,
 * `state(text)` with "live" or "reconnecting".
 */
export function keepConnected(path, { frame, open, state }) {
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
      state?.("live");
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
    state?.("reconnecting");
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

// Connections to the live services: they answer pings, and come back by themselves when a service was away.

const FIRST_DELAY = 500; // ms
const LONGEST_DELAY = 15000; // ms
const SILENCE = 20000; // ms without any frame; the services ping every five seconds

/**
 * Keep a WebSocket open to `path` on this host.
 *
 * `handlers.frame(frame)` gets every decoded frame that is not a ping or a hangup; `handlers.open()` is called on
 * every (re)connection, `handlers.state(text)` with "live" or "reconnecting". Returns a function that ends it.
 */
export function keepConnected(path, handlers) {
  const address = new URL(path, location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  let socket = null;
  let delay = FIRST_DELAY;
  let retry = 0;
  let watch = 0;
  let ended = false;

  function listen() {
    clearTimeout(watch);
    // A connection that died without a word (a laptop that slept) looks open for ever.
    watch = setTimeout(() => lose(socket), SILENCE);
  }

  function connect() {
    clearTimeout(retry);
    const current = new WebSocket(address);
    socket = current;
    listen();
    current.onopen = () => {
      current.send(JSON.stringify({ type: "init" }));
      handlers.state?.("live");
      handlers.open?.();
    };
    current.onmessage = (event) => {
      if (current !== socket) return;
      listen();
      let frame;
      try {
        frame = JSON.parse(event.data);
      } catch {
        return;
      }
      delay = FIRST_DELAY; // only a connection that carries frames counts as recovered
      if (frame.type === "ping") current.send(JSON.stringify({ type: "pong" }));
      else if (frame.type === "hangup") lose(current);
      else handlers.frame(frame);
    };
    current.onclose = () => lose(current);
  }

  function lose(lost) {
    if (lost !== socket || ended) return;
    socket = null;
    clearTimeout(watch);
    lost?.close();
    handlers.state?.("reconnecting");
    retry = setTimeout(connect, delay * (0.5 + Math.random() / 2));
    delay = Math.min(delay * 2, LONGEST_DELAY);
  }

  function hurry() {
    if (!ended && socket === null && document.visibilityState === "visible") connect();
  }

  addEventListener("online", hurry);
  document.addEventListener("visibilitychange", hurry);
  connect();
  return () => {
    ended = true;
    clearTimeout(retry);
    clearTimeout(watch);
    removeEventListener("online", hurry);
    document.removeEventListener("visibilitychange", hurry);
    socket?.close();
  };
}

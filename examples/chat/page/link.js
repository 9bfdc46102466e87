// The browser's WebSocket, kept open: exponential backoff with full jitter, and at once when the
// browser says that the network is back. It comes back with the cursor of the last event that it had, so
// that the server goes on there.

const FIRST_DELAY_MS = 250;
const LONGEST_DELAY_MS = 5000;
const CLOSE_UNKNOWN_ROOM = 4404;
const CLOSE_REDIS_AWAY = 4413;

/**
 * Open a link to a room, until close() is called.
 *
 * onState({state: "waiting" | "up" | "down", delayMs, redisAway}): "up" when the server has said hello.
 * onEvent(event): what the server sends, in order.
 * onUnknownRoom(): there is no such room; the link is closed for good.
 */
export function openLink(room, { onState, onEvent, onUnknownRoom }) {
  const url = new URL(`/rooms/${encodeURIComponent(room)}`, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  let socket;
  let cursor = null;
  let timer;
  let attempts = 0;
  let ended = false;

  function connect() {
    clearTimeout(timer);
    onState({ state: "waiting" });
    if (cursor !== null) url.searchParams.set("after", cursor);
    socket = new WebSocket(url);
    socket.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      if (event.kind === "hello") {
        attempts = 0;
        onState({ state: "up" });
      }
      onEvent(event);
      cursor = event.cursor ?? cursor;
    };
    socket.onclose = ({ code }) => {
      if (ended) return;
      if (code === CLOSE_UNKNOWN_ROOM) {
        close();
        onUnknownRoom();
        return;
      }
      const ceilingMs = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** attempts);
      const delayMs = FIRST_DELAY_MS / 2 + Math.random() * ceilingMs;
      attempts += 1;
      onState({ state: "down", delayMs, redisAway: code === CLOSE_REDIS_AWAY });
      timer = setTimeout(connect, delayMs);
    };
  }

  function connectNow() {
    if (socket.readyState === WebSocket.CLOSED) connect();
  }

  function close() {
    ended = true;
    clearTimeout(timer);
    removeEventListener("online", connectNow);
    socket.close();
  }

  addEventListener("online", connectNow);
  connect();
  return {
    /** Send a value, or return false if the link is not open. */
    send(value) {
      if (socket.readyState !== WebSocket.OPEN) return false;
      socket.send(JSON.stringify(value));
      return true;
    },
    close,
  };
}

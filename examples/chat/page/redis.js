// The server's connection to Redis: the light in the header, the panel with the button, and a line
// among the messages for each cut.

import { showEvent } from "./messages.js";

// A cut is often over in 20 ms. It is shown for this long, so that one sees it; the time that is
// written down is the real one.
const SHOWN_CUT_MS = 1100;
const HOLD_SECONDS = 3;

const light = document.querySelector("#redis-light");
const lightText = light.querySelector("dd");
const panelIds = {
  subscriber: document.querySelector("#subscriber-id"),
  commands: document.querySelector("#commands-id"),
};
const button = document.querySelector("#cut");
const hold = document.querySelector("#hold");
const holdNote = document.querySelector("#hold-note");
const result = document.querySelector("#cut-result");

let cutShownAt = 0;
let cutEvent = null;
let timer;

const duration = (ms) => (ms < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(1)} s`);

const roles = (before, ids) =>
  Object.keys(before)
    .sort()
    .reverse()
    .map((role) => `${role} #${before[role]} → #${ids[role] ?? "?"}`)
    .join(", ");

function setLight(state, text) {
  light.dataset.state = state;
  lightText.textContent = text;
}

function setIds(ids, { fresh = false } = {}) {
  for (const [role, field] of Object.entries(panelIds)) {
    field.textContent = role in ids ? `#${ids[role]}` : "–";
    field.parentElement.classList.toggle("new", fresh);
  }
}

function setResult(state, text) {
  result.dataset.state = state;
  result.textContent = text;
}

function showCut({ before }) {
  clearTimeout(timer);
  cutShownAt = performance.now();
  setLight("cut", "connection cut");
  for (const field of Object.values(panelIds)) field.textContent = "killed";
  setResult("cut", "Killed. Waiting for it to come back.");
  const killed = Object.values(before).map((id) => `#${id}`);
  cutEvent = showEvent("cut", `Redis connections ${killed.join(" and ")} killed`);
  button.disabled = true;
}

function showBack({ state, ids, before, after_ms: afterMs }) {
  button.disabled = false;
  if (state === "down") {
    setLight("down", "away");
    setIds({});
    setResult("down", "Redis is away. The server keeps trying.");
    if (cutEvent) showEvent("cut", "Redis did not come back", cutEvent);
  } else {
    setLight("up", "connected");
    setIds(ids, { fresh: afterMs !== null });
    if (afterMs !== null) {
      setResult("up", `Back after ${duration(afterMs)}.`);
      showEvent("up", `Redis is back after ${duration(afterMs)}: ${roles(before, ids)}`, cutEvent ?? undefined);
    }
  }
  cutEvent = null;
}

/** Show a "redis" event of the server. */
export function showRedis(event) {
  if (event.state === "cut") {
    showCut(event);
    return;
  }
  const waitMs = cutEvent ? cutShownAt + SHOWN_CUT_MS - performance.now() : 0;
  clearTimeout(timer);
  if (waitMs > 0) timer = setTimeout(showBack, waitMs, event);
  else showBack(event);
}

/** The server can't read what was said, and has sent this window away until it can. */
export function redisIsAway() {
  setLight("down", "away");
  setResult("down", "Redis is away. The server keeps trying.");
}

/** Whether a cut can be held: not where others may use the same Redis. */
export function setHold(possible) {
  hold.disabled = !possible;
  if (!possible) hold.checked = false;
  holdNote.hidden = possible;
}

/** The browser has lost the server: what it knows of Redis is old. */
export function forgetRedis() {
  clearTimeout(timer);
  setLight("waiting", "unknown");
  setIds({});
  setResult("", "");
  button.disabled = true;
  cutEvent = null;
}

button.onclick = async () => {
  button.disabled = true;
  try {
    const response = await fetch("/cut", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ hold_seconds: hold.checked ? HOLD_SECONDS : 0 }),
    });
    if (!response.ok) setResult("down", (await response.json()).detail);
  } catch {
    setResult("down", "The server did not answer.");
  }
};

// The page: rooms, the name of this window, and what is sent and received.

import { setKept } from "./gaps.js";
import { firstName, newMessageId, rememberName } from "./identity.js";
import { openLink } from "./link.js";
import { clearMessages, showEvent, showFailed, showGap, showHistory, showMessage, showMissed, showPending } from "./messages.js";
import { forgetRedis, redisIsAway, setHold, showRedis } from "./redis.js";
import { forgetServer, onRestart, serverBack, serverLost, showChoices } from "./server.js";

const FIRST_ROOM = "lobby";
// Longer than the server waits for Redis before it says that a message was not sent.
const CONFIRMATION_MS = 15_000;
const UNKNOWN_PLACE =
  "Messages may be missing here: the server does not know where this window was. What follows are the newest ones.";

const $ = (selector) => document.querySelector(selector);
const browserLight = $("#browser-light");
const nameField = $("#name");
const textField = $("#text");

let room = "";
let link = null;
let greeted = false;
let drafts = new Map(); // message id -> {draft, timer}: sent by this window, not yet come back

// Rooms

const roomInAddress = () => {
  try {
    return decodeURIComponent(location.hash.slice(1)) || FIRST_ROOM;
  } catch {
    return FIRST_ROOM;
  }
};

function showRooms(rooms) {
  const items = rooms.map(({ name, windows }) => {
    const item = document.createElement("li");
    const anchor = document.createElement("a");
    anchor.href = `#${encodeURIComponent(name)}`;
    if (name === room) anchor.setAttribute("aria-current", "page");
    const hash = document.createElement("span");
    hash.className = "hash";
    hash.textContent = "#";
    hash.setAttribute("aria-hidden", "true");
    const label = document.createElement("span");
    label.className = "room-name";
    label.textContent = name;
    anchor.append(hash, label);
    if (windows > 0) {
      const count = document.createElement("span");
      count.className = "count";
      count.textContent = windows;
      count.title = windows === 1 ? "1 window" : `${windows} windows`;
      anchor.append(count);
    }
    item.append(anchor);
    return item;
  });
  // The list is made anew while somebody may be walking through it with the keyboard.
  const focused = document.activeElement?.closest?.("#rooms a")?.getAttribute("href");
  $("#rooms").replaceChildren(...items);
  if (focused) $("#rooms").querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  const windows = rooms.find(({ name }) => name === room)?.windows ?? 0;
  $("#room-note").textContent = windows === 1 ? "only this window" : windows ? `${windows} windows` : "";
}

function enter(name) {
  if (name === room) return;
  room = name;
  link?.close();
  drafts.forEach(({ timer }) => clearTimeout(timer));
  drafts = new Map();
  greeted = false;
  clearMessages();
  forgetServer();
  showProblem("");
  $("#room-title").textContent = room;
  document.title = `#${room} · gapless chat`;
  $("#another").href = `/#${encodeURIComponent(room)}`;
  link = openLink(room, { onState: showLink, onEvent: receive, onUnknownRoom: leaveUnknownRoom });
}

function leaveUnknownRoom() {
  const missing = room;
  if (missing !== FIRST_ROOM) location.replace(`#${FIRST_ROOM}`);
  enter(FIRST_ROOM);
  showProblem(`There is no room called ${missing}.`);
}

async function createRoom() {
  const field = $("#new-room-name");
  try {
    const response = await fetch("/rooms", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ name: field.value }),
    });
    const answer = await response.json();
    if (!response.ok) {
      showProblem(answer.detail);
      return;
    }
    field.value = "";
    location.hash = encodeURIComponent(answer.name);
  } catch {
    showProblem("The server did not answer.");
  }
}

// Receiving

function showLink({ state, delayMs, redisAway }) {
  browserLight.dataset.state = state;
  const texts = { up: "connected", waiting: "connecting", down: "disconnected" };
  browserLight.querySelector("dd").textContent = texts[state];
  if (state === "down") {
    browserLight.title = `next try in ${(delayMs / 1000).toFixed(1)} s`;
    forgetRedis();
    if (redisAway) redisIsAway();
    else if (greeted) serverLost();
  } else {
    browserLight.title = "";
  }
}

function showProblem(text) {
  $("#problem").textContent = text;
}

function receiveHello({ place, items, rooms, redis, keeps, can_hold: canHold }) {
  setKept(keeps);
  setHold(canHold);
  showChoices(keeps);
  showRooms(rooms);
  serverBack();
  showRedis(redis);
  for (const { message } of items) confirm(message?.id);
  if (!greeted) {
    showHistory(items);
  } else {
    if (place === "unknown") showEvent("gap", UNKNOWN_PLACE);
    showMissed(items);
  }
  greeted = true;
  // Sent before, and not come back: the same id again, so that it can't show twice.
  for (const { draft } of drafts.values()) send(draft);
}

function receive(event) {
  if (event.kind === "hello") {
    receiveHello(event);
  } else if (event.kind === "message") {
    confirm(event.message.id);
    showMessage(event.message);
  } else if (event.kind === "gap") {
    showGap(event);
  } else if (event.kind === "rooms") {
    showRooms(event.rooms);
  } else if (event.kind === "redis") {
    showRedis(event);
  } else if (event.kind === "error") {
    if (drafts.has(event.id)) fail(event.id, event.text);
    else showProblem(event.text);
  }
}

// Sending. A message counts as sent when it has come back through Redis.

function confirm(id) {
  clearTimeout(drafts.get(id)?.timer);
  drafts.delete(id);
}

function fail(id, reason) {
  const { draft, timer } = drafts.get(id);
  clearTimeout(timer);
  drafts.delete(id);
  showFailed(id, reason, () => send(draft));
}

function send(draft) {
  clearTimeout(drafts.get(draft.id)?.timer);
  showPending(draft);
  // Without a connection it waits for the next hello, however long that takes.
  const sent = link.send(draft);
  const timer = sent ? setTimeout(fail, CONFIRMATION_MS, draft.id, "It did not come back.") : undefined;
  drafts.set(draft.id, { draft, timer });
}

function compose() {
  const text = textField.value.trim();
  const author = nameField.value.trim();
  if (!text) return;
  if (!author) {
    showProblem("Choose a name first.");
    nameField.focus();
    return;
  }
  showProblem("");
  textField.value = "";
  send({ id: newMessageId(), author, text });
}

$("#composer").addEventListener("submit", (event) => {
  event.preventDefault();
  compose();
  textField.focus();
});

textField.addEventListener("keydown", (event) => {
  // Not while an input method composes: its Enter picks a character.
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    compose();
  }
});

nameField.value = firstName;
nameField.addEventListener("change", () => {
  nameField.value = nameField.value.trim();
  if (nameField.value) rememberName(nameField.value);
});

$("#new-room").addEventListener("submit", (event) => {
  event.preventDefault();
  createRoom();
});

addEventListener("hashchange", () => enter(roomInAddress()));
onRestart(() => room);
forgetRedis();
enter(roomInAddress());

// The list of messages: history apart from live, each message once, own ones from the moment of sending.
// Everything that people wrote goes in as text, never as HTML.

import { gapText } from "./gaps.js";
import { isMine } from "./identity.js";

const LIVE_LIMIT = 500;
const SAME_BREATH_MS = 2 * 60 * 1000;
const NEAR_END_PX = 90;

const scroll = document.querySelector("#scroll");
const historySection = document.querySelector("#history");
const historyTitle = document.querySelector("#history-title");
const historyList = historySection.querySelector("ol");
const liveList = document.querySelector("#live");
const emptyNote = document.querySelector("#empty");
const toEnd = document.querySelector("#to-end");

const clock = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });

let shown = new Map(); // message id -> its element

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function hue(name) {
  let sum = 7;
  for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)) % 360;
  return sum;
}

function initials(name) {
  const words = name.split(/\s+/);
  const letters = words.length > 1 ? [words[0], words[words.length - 1]] : [name];
  return letters.map((word) => [...word][0].toUpperCase()).join("");
}

function messageElement({ id, author, text, sent_at_ms: sentAtMs }, previous) {
  const item = element("li", "message");
  item.dataset.id = id;
  item.dataset.author = author;
  item.dataset.sentAtMs = sentAtMs;
  item.style.setProperty("--hue", hue(author));
  item.classList.toggle("mine", isMine(id));
  const follows =
    previous?.dataset.author === author &&
    previous.classList.contains("mine") === isMine(id) &&
    sentAtMs - Number(previous.dataset.sentAtMs) < SAME_BREATH_MS;
  item.classList.toggle("follow", follows);

  const avatar = element("span", "avatar", initials(author));
  avatar.setAttribute("aria-hidden", "true");
  const byline = element("p", "byline");
  const time = element("time", "", clock.format(sentAtMs));
  time.dateTime = new Date(sentAtMs).toISOString();
  const name = element("b", "", author);
  name.dir = "auto";
  byline.append(name, time);
  const bubble = element("p", "bubble", text);
  bubble.dir = "auto";
  item.append(avatar, byline, bubble);
  return item;
}

function scrollToEnd() {
  scroll.scrollTop = scroll.scrollHeight;
  toEnd.hidden = true;
}

const nearEnd = () => scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < NEAR_END_PX;

/** Whether a message is not shown yet, or only as a draft. */
const isNew = (id) => shown.get(id)?.matches(".pending, .failed") ?? true;

/** Append to the live list; stay at the end if the reader is there, else say that there is more. */
function append(item, { follow = nearEnd() } = {}) {
  liveList.append(item);
  while (liveList.childElementCount > LIVE_LIMIT) {
    shown.delete(liveList.firstElementChild.dataset.id);
    liveList.firstElementChild.remove();
  }
  showEmptiness();
  if (follow) scrollToEnd();
  else toEnd.hidden = false;
}

function showEmptiness() {
  const nothing = shown.size === 0 && liveList.childElementCount === 0;
  emptyNote.textContent = nothing ? "Nobody has said anything here yet. Be the first." : "";
}

export function clearMessages() {
  shown = new Map();
  historyList.replaceChildren();
  liveList.replaceChildren();
  historySection.hidden = true;
  emptyNote.textContent = "";
  toEnd.hidden = true;
}

/** Show what was said before this window came: messages, and gaps in their place. */
export function showHistory(items) {
  let count = 0;
  for (const item of items) {
    if (item.kind === "gap") {
      historyList.append(lineElement("gap", gapText(item)));
    } else if (!shown.has(item.message.id)) {
      const made = messageElement(item.message, historyList.lastElementChild);
      shown.set(item.message.id, made);
      historyList.append(made);
      count += 1;
    }
  }
  historySection.hidden = historyList.childElementCount === 0;
  historyTitle.textContent = count === 1 ? "1 message before you came" : `${count} messages before you came`;
  showEmptiness();
  scrollToEnd();
}

/** Add what this window missed while its own connection was down: messages, and gaps in their place. */
export function showMissed(items) {
  const missed = items.filter(({ kind, message }) => kind === "message" && isNew(message.id));
  const byOthers = new Set(missed.map(({ message }) => message.id).filter((id) => !isMine(id))).size;
  if (byOthers > 0) showEvent("note", byOthers === 1 ? "1 message while you were away" : `${byOthers} messages while you were away`);
  for (const item of items) {
    if (item.kind === "gap") showGap(item);
    else showMessage(item.message);
  }
}

/** Say that messages are missing here, or may be. */
export function showGap(gap) {
  showEvent("gap", gapText(gap));
}

/** Add a live message, unless it is shown already. */
export function showMessage(message) {
  if (!isNew(message.id)) return;
  const follow = nearEnd();
  shown.get(message.id)?.remove();
  const item = messageElement(message, liveList.lastElementChild);
  shown.set(message.id, item);
  append(item, { follow });
}

/** Show a draft that is on its way. */
export function showPending(draft) {
  shown.get(draft.id)?.remove();
  const item = messageElement({ ...draft, sent_at_ms: Date.now() }, liveList.lastElementChild);
  item.classList.add("pending");
  item.append(element("p", "fate", "sending"));
  shown.set(draft.id, item);
  append(item, { follow: true });
}

/** Say that a draft did not get through; onRetry is called when the person wants another try. */
export function showFailed(id, reason, onRetry) {
  const item = shown.get(id);
  if (!item?.matches(".pending, .failed")) return;
  item.className = item.className.replace("pending", "failed");
  const again = element("button", "", "Try again");
  again.type = "button";
  again.onclick = onRetry;
  const fate = item.querySelector(".fate");
  fate.textContent = `${reason} `;
  fate.append(again);
  if (nearEnd()) scrollToEnd();
}

function lineElement(state, text, item = element("li", "event")) {
  item.dataset.state = state;
  item.replaceChildren(element("p", "", text));
  return item;
}

/** Add a line about the connection, or change the one that showEvent returned before. */
export function showEvent(state, text, item = undefined) {
  item = lineElement(state, text, item);
  if (!item.isConnected) append(item);
  return item;
}

toEnd.onclick = scrollToEnd;

// Who reads the end still does when an on-screen keyboard or an error message takes some of the height.
let atEnd = true;
scroll.addEventListener("scroll", () => {
  atEnd = nearEnd();
  if (atEnd) toEnd.hidden = true;
});
new ResizeObserver(() => {
  if (atEnd) scrollToEnd();
}).observe(scroll);

// Who this window is. sessionStorage belongs to one window: two windows are two people.

const TEMPERS = ["Brisk", "Calm", "Curious", "Gentle", "Lucky", "Mellow", "Nimble", "Patient", "Quiet", "Sunny", "Swift", "Witty"];
const ANIMALS = ["Badger", "Crane", "Dolphin", "Ferret", "Heron", "Ibex", "Lynx", "Marten", "Otter", "Puffin", "Raven", "Seal"];

const pick = (words) => words[Math.floor(Math.random() * words.length)];

/** Random hexadecimal digits. Not crypto.randomUUID: that is missing on plain http to another host. */
function hex(digits) {
  const bytes = crypto.getRandomValues(new Uint8Array(digits / 2));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function remembered(key, make) {
  const value = sessionStorage.getItem(key) ?? make();
  sessionStorage.setItem(key, value);
  return value;
}

const windowId = remembered("window", () => hex(16));

export const firstName = remembered("name", () => `${pick(TEMPERS)} ${pick(ANIMALS)}`);

export function rememberName(name) {
  sessionStorage.setItem("name", name);
}

/** The id of a new message. It begins with the window's, so that a window knows its own after a reload. */
export const newMessageId = () => windowId + hex(16);

export const isMine = (messageId) => messageId.startsWith(windowId);

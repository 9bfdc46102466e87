// The web server: the panel with the button that restarts it, and a line among the messages for each time
// that it was away.

import { showEvent } from "./messages.js";

const button = document.querySelector("#restart");
const choice = document.querySelector("#worker-messages");
const result = document.querySelector("#restart-result");

let ordered = null; // messages that the worker writes, if this window has ordered a restart
let lostAt = null;
let line = null;

function setResult(state, text) {
  result.dataset.state = state;
  result.textContent = text;
}

/** What the worker can write, beside what a room keeps. */
export function showChoices(kept) {
  for (const option of choice.options) {
    const count = Number(option.value);
    option.textContent = count > kept ? `${count} messages, ${kept} are kept` : `${count} messages`;
  }
}

/** The connection to the web server is lost, for the first time or again. */
export function serverLost() {
  button.disabled = true;
  if (lostAt !== null) return;
  lostAt = performance.now();
  line = showEvent("cut", "The web server is away");
  if (ordered !== null) setResult("cut", `Down. A worker writes ${ordered} messages.`);
}

/** The web server is there. */
export function serverBack() {
  button.disabled = false;
  if (lostAt === null) return;
  const away = `${((performance.now() - lostAt) / 1000).toFixed(1)} s`;
  showEvent("up", `The web server is back after ${away}`, line);
  setResult("up", ordered === null ? "" : `Back after ${away}.`);
  forgetServer();
}

/** Another room is entered, where nothing was lost. */
export function forgetServer() {
  ordered = lostAt = line = null;
}

/** Have the button restart the server; room() is the room that the worker writes into. */
export function onRestart(room) {
  button.onclick = async () => {
    button.disabled = true;
    ordered = Number(choice.value);
    setResult("cut", "It stops.");
    try {
      const response = await fetch("/restart", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ room: room(), messages: ordered }),
      });
      if (response.ok) return;
      setResult("down", (await response.json()).detail);
      button.disabled = false;
    } catch {
      setResult("down", "The server did not answer.");
    }
    ordered = null;
  };
}

// What a Gap says to people. Its reasons are in docs/guarantees.md; where the number of missing messages is
// not known, it may also be none.

let kept = null; // messages that a room keeps

export function setKept(count) {
  kept = count;
}

const newest = () => (kept === null ? "the newest ones" : `the newest ${kept}`);

const REASONS = {
  trimmed: () => `the history keeps only ${newest()}.`,
  backlog: () => "they came faster than this window could take them.",
  disconnected: () => "the connection to Redis was lost, and what came meanwhile can't be read.",
  restart: () => "Redis was started again, and may have lost the last ones.",
  rollback: () => "Redis came back with older data.",
  reset: () => "Redis was emptied.",
};

// Then something is missing for certain, though nobody has counted it.
const CERTAIN = new Set(["trimmed", "backlog"]);

/** Return the line that stands where messages are missing. */
export function gapText({ reason, lost }) {
  let missing = CERTAIN.has(reason) ? "Some messages are missing here" : "Messages may be missing here";
  if (lost === 1) missing = "1 message is missing here";
  else if (lost !== null) missing = `${lost} messages are missing here`;
  const because = REASONS[reason];
  return because ? `${missing}: ${because()}` : `${missing}.`;
}

// Changes of the store as they come: at most four calls a second, none in a hidden tab, and word of a lost stream.

const EVERY_MS = 250;
const listeners = new Set();
const watchers = new Set();
let source = null;
let paused = false;
let latest = null;
let timer = null;
let calledAt = -Infinity;
// What the page was made from; then the id of the last event: the server tells only what is new since.
let mark = document.body.dataset.mark ?? "";
let state = { stream: "connecting", why: "" };

/**
 * Call `listener({seq, counts, refetch})` after changes: soon after the first, then four times a second at most. It is
 * called for the newest state only; nothing comes while the tab is hidden or updates are paused, and one call after.
 * Gives an undo.
 */
export function subscribe(listener) {
  listeners.add(listener);
  open();
  return () => listeners.delete(listener);
}

/** Call `watcher({stream, why})` with "live", "connecting", "lost", "gone" or "paused", now and when it changes. */
export function watchStream(watcher) {
  watchers.add(watcher);
  watcher(shown());
  open();
  return () => watchers.delete(watcher);
}

/** Hold updates back, or let them go on. */
export function pause(on) {
  paused = on;
  if (!on) plan();
  for (const watcher of watchers) watcher(shown());
}

/** Whether updates are held back. */
export const isPaused = () => paused;

const shown = () => (paused && state.stream === "live" ? { stream: "paused", why: "" } : state);

function become(stream, why = "") {
  if (state.stream === stream && state.why === why) return;
  state = { stream, why };
  for (const watcher of watchers) watcher(shown());
}

function open() {
  if (source || document.hidden) return;
  source = new EventSource(`/events?last=${encodeURIComponent(mark)}`);
  source.addEventListener("open", () => become("live"));
  source.addEventListener("change", (event) => {
    become("live");
    mark = event.lastEventId || mark;
    const told = JSON.parse(event.data);
    latest = { ...told, refetch: Boolean(told.refetch || latest?.refetch) };
    plan();
  });
  source.addEventListener("gone", (event) => become("gone", JSON.parse(event.data).why));
  source.addEventListener("error", () => {
    become("lost");
    // A server that refuses ends the source for good; one that is away is called again by the browser itself.
    if (source?.readyState === EventSource.CLOSED) {
      close();
      setTimeout(open, 3000);
    }
  });
}

function close() {
  source?.close();
  source = null;
}

function plan() {
  if (!latest || timer || paused || document.hidden) return;
  timer = setTimeout(deliver, Math.max(0, calledAt + EVERY_MS - performance.now()));
}

function deliver() {
  timer = null;
  if (!latest || paused || document.hidden) return;
  const told = latest;
  latest = null;
  calledAt = performance.now();
  for (const listener of listeners) listener(told);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) close();
  else {
    open();
    plan();
  }
});
// A page in the browser's back-forward cache must not hold a connection.
addEventListener("pagehide", close);
addEventListener("pageshow", (event) => {
  if (event.persisted) open();
});

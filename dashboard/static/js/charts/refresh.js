// Fetching again after changes, at a pace that leaves the server nine tenths of its time.

import { isPaused, subscribe } from "../live.js";

const LEAST_MS = 1000;
const SHARE = 10;

/**
 * Call `load(signal)` now and after every change, never twice at once, and with ten times the pause that the last call
 * took. `failed(error)` is told of errors. Gives `again()`, which asks at once.
 */
export function refreshing(load, failed) {
  let busy = false;
  let wanted = false;
  let quietUntil = 0;
  let timer = null;

  async function run() {
    timer = null;
    busy = true;
    wanted = false;
    const began = performance.now();
    try {
      await load();
    } catch (error) {
      failed(error);
    }
    busy = false;
    quietUntil = performance.now() + Math.max(LEAST_MS, SHARE * (performance.now() - began));
    if (wanted) plan();
  }

  function plan() {
    wanted = true;
    if (busy || timer) return;
    timer = setTimeout(() => (isPaused() || document.hidden ? (timer = null) : run()), Math.max(0, quietUntil - performance.now()));
  }

  subscribe(plan);
  run();
  return () => {
    clearTimeout(timer);
    timer = null;
    quietUntil = 0;
    if (busy) wanted = true;
    else run();
  };
}

/** Say in `host` that its content could not be fetched, and what to do. */
export function trouble(host, error) {
  const text = document.createElement("p");
  text.className = "empty bad";
  text.setAttribute("role", "alert");
  text.textContent = `${error.message} ${error.next ?? ""}`.trim();
  host.replaceChildren(text);
}

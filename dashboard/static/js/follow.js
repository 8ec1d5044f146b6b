// Ask again when something that a page shows has grown: not for every event, and never two questions at a time.

import { subscribe } from "./live.js";

/**
 * Call `ask()` (which may give a promise) when one of the counts in `names` has changed, at most once in `everyMs`; what
 * changes meanwhile is asked for once afterwards. Names are those of the store's counts: evaluations, births, events,
 * signed, beliefs, findings, runs. Gives an undo.
 */
export function follow(names, ask, everyMs = 1000) {
  let known = null;
  let waiting = false;
  let busy = false;
  let last = 0;

  async function run() {
    waiting = false;
    busy = true;
    last = performance.now();
    try {
      await ask();
    } finally {
      busy = false;
      if (waiting) later();
    }
  }
  const later = () => setTimeout(run, Math.max(0, last + everyMs - performance.now()));

  return subscribe(({ counts, refetch }) => {
    const now = names.map((name) => counts[name]).join();
    if (now === known && !refetch) return;
    known = now;
    if (waiting) return;
    waiting = true;
    if (!busy) later();
  });
}

// The lab's stream: open while the tab is seen, merged to four calls a second.

const EVERY_MS = 250;
const SLOW_MS = 1000;

/**
 * Watch the lab. `seen(frames)` gets what came since the last call; `ended(why)` is told when it is over, and `lost()` when
 * the server does not answer. `slow()` says whether once a second is enough. Gives `{open, close}`.
 */
export function watching({ seen, ended, lost, slow }) {
  let source = null;
  let waiting = [];
  let timer = null;
  let calledAt = -Infinity;

  function call() {
    timer = null;
    calledAt = performance.now();
    const frames = waiting;
    waiting = [];
    if (frames.length) seen(frames);
  }

  function close() {
    source?.close();
    source = null;
    clearTimeout(timer);
    timer = null;
    waiting = [];
  }

  function open() {
    if (source || document.hidden) return;
    source = new EventSource("/api/lab/stream");
    source.addEventListener("frame", (event) => {
      waiting.push(JSON.parse(event.data));
      timer ??= setTimeout(call, Math.max(0, calledAt + (slow() ? SLOW_MS : EVERY_MS) - performance.now()));
    });
    source.addEventListener("ended", (event) => {
      if (waiting.length) call();
      close();
      ended(JSON.parse(event.data).why);
    });
    source.addEventListener("error", () => {
      // Not open again by itself: the process may have ended with it, and what it trained.
      close();
      lost();
    });
  }

  return { open, close };
}

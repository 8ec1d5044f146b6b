// The frame of every page: rail, themes, keys, search, saved and recent places, the state of stream and node.

import { $, all, fill, h, icon } from "./dom.js";
import { command, getJson } from "./data.js";
import { compared, keepTheme, keysOn, pinned, recent, switchKeys, toggleCompare, togglePin } from "./keep.js";
import { bind, bindings, listen } from "./keys.js";
import { isPaused, pause, subscribe, watchStream } from "./live.js";
import { openPalette } from "./palette.js";
import { setParam, withRun } from "./state.js";

export { bind } from "./keys.js";
export { compared, toggleCompare, visited } from "./keep.js";
export { openPalette } from "./palette.js";

const THEMES = ["dark", "light", "nord", "neon", "contrast"];
const TOAST_MS = 6000;

/** Say something in passing; `kind` is "good", "warn" or "bad". Screen readers read it. */
export function toast(text, kind = "") {
  const shown = h("div", { className: `toast ${kind}` }, text);
  $("#toasts").append(shown);
  while ($("#toasts").children.length > 4) $("#toasts").firstElementChild.remove();
  setTimeout(() => shown.remove(), TOAST_MS);
}

/** Call `listener(name)` after the theme has changed: canvases draw themselves again. */
export function onTheme(listener) {
  addEventListener("eqmesh:theme", (event) => listener(event.detail));
}

/** Change the theme. */
export function setTheme(name) {
  document.documentElement.dataset.theme = name;
  keepTheme(name);
  nameTheme();
  dispatchEvent(new CustomEvent("eqmesh:theme", { detail: name }));
}

/** Take a genome into the comparison or out of it, and say so. */
export function compareAndSay(id) {
  const what = toggleCompare(id);
  const count = compared().length;
  if (what === "full") toast("Eight genomes can be compared. Take one out first.", "warn");
  else toast(`${id.slice(0, 12)} ${what === "added" ? "is compared" : "is no longer compared"}; ${count} chosen.`);
}

/** Give the node an order and say what came of it; whether it did it. */
export async function order(name, body = {}) {
  try {
    const answer = await command(name, body);
    toast(answer.said || `Done: ${name}.`, "good");
    askNode();
    return true;
  } catch (error) {
    toast(error.message, "bad");
    return false;
  }
}

/** The state of the node as `/api/node` gives it; views listen for `eqmesh:node` on the window. */
export let node = { running: false, commands: false, state: null };

const nameTheme = () => {
  $("#theme-name").textContent = document.documentElement.dataset.theme;
};

const nextTheme = () => {
  const at = THEMES.indexOf(document.documentElement.dataset.theme);
  setTheme(THEMES[(at + 1) % THEMES.length]);
};

function go(letter) {
  const link = $(`.rail nav a[data-key="${CSS.escape(letter)}"]`);
  if (link) link.click();
  return Boolean(link);
}

function showKeys() {
  const rows = [{ key: "g", label: "then o p l g c n t r b: go to a view" }, ...bindings()];
  const names = { " ": "space", Escape: "esc" };
  const dialog = h(
    "dialog",
    { className: "keys", "aria-labelledby": "keys-title" },
    h("h2", { id: "keys-title" }, "Keyboard shortcuts"),
    h(
      "table",
      {},
      h("tbody", {}, rows.map(({ key, label }) => h("tr", {}, h("th", { scope: "row" }, h("kbd", {}, names[key] ?? key)), h("td", {}, label)))),
    ),
    h(
      "label",
      { className: "ck" },
      h("input", { type: "checkbox", checked: keysOn(), onchange: (event) => switchKeys(event.target.checked) }),
      "Single keys are on",
    ),
    h("form", { method: "dialog" }, h("button", { className: "btn" }, "Close")),
  );
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  document.body.append(dialog);
  dialog.showModal();
}

function showKept() {
  const items = [...pinned().map((item) => ({ ...item, saved: true })), ...recent().slice(0, 5)];
  $(".kept").hidden = !items.length;
  $("#kept-title").textContent = pinned().length ? "Saved and recent" : "Recent";
  fill(
    $("#kept"),
    items.map((item) => h("li", {}, h("a", { href: item.href }, item.saved ? icon("pin") : null, h("span", {}, item.label)))),
  );
  const ids = compared();
  const link = $('.rail nav a[href^="/compare"]');
  if (link) {
    link.setAttribute("href", withRun("/compare", ids.length ? { ids: ids.join(",") } : {}));
    $(".n", link).textContent = ids.length || "";
  }
  const on = pinned().some((item) => item.href === location.pathname + location.search);
  $("#keep").setAttribute("aria-pressed", String(on));
}

const STREAM = {
  live: "Live",
  connecting: "Connecting",
  lost: "Stream lost",
  gone: "Store gone",
  paused: "Paused",
};

function showStream({ stream, why }) {
  $("#live").dataset.stream = stream;
  $("#live-text").textContent = STREAM[stream];
  const banner = $("#banner");
  banner.hidden = stream !== "lost" && stream !== "gone";
  banner.textContent =
    stream === "gone"
      ? `${why} The page shows what it last saw, and goes on by itself once the store is there.`
      : "The dashboard does not answer: this page shows what it last saw, and goes on by itself. If it was stopped, start it again: eqmesh dashboard serve";
}

const DOING = { running: "Node running", paused: "Node paused", scoring: "Scoring the front", serving: "Serving the mesh" };

async function askNode() {
  try {
    node = await getJson("/api/node");
  } catch {
    node = { running: false, commands: false, state: null };
  }
  const chip = $("#node");
  chip.hidden = false;
  const doing = node.state?.doing;
  const text = node.running ? (DOING[doing] ?? "Node running") : "Node not running";
  chip.dataset.doing = node.running ? (doing ?? "running") : "none";
  const button =
    node.commands && (doing === "running" || doing === "paused")
      ? h(
          "button",
          {
            className: "bare",
            type: "button",
            "aria-label": doing === "paused" ? "Let the search go on" : "Pause the search",
            title: doing === "paused" ? "Let the search go on" : "Pause the search",
            onclick: () => order(doing === "paused" ? "resume" : "pause"),
          },
          icon(doing === "paused" ? "play" : "pause"),
        )
      : null;
  const had = chip.contains(document.activeElement);
  fill(chip, text, button);
  if (had) $("button", chip)?.focus();
  dispatchEvent(new CustomEvent("eqmesh:node", { detail: node }));
}

function menu(open) {
  $("#rail").classList.toggle("open", open);
  $("#menu").setAttribute("aria-expanded", String(open));
}

function furnish() {
  for (const element of all("[data-icon]")) element.prepend(icon(element.dataset.icon));
  nameTheme();
  $("#theme").addEventListener("click", nextTheme);
  $("#keys").addEventListener("click", showKeys);
  $("#search").addEventListener("click", openPalette);
  $("#menu").addEventListener("click", () => menu(!$("#rail").classList.contains("open")));
  $("#m").addEventListener("click", () => menu(false));
  $("#run")?.addEventListener("change", (event) => {
    setParam("run", event.target.value);
    location.reload();
  });
  $("#keep").addEventListener("click", () => {
    const on = togglePin(location.pathname + location.search, document.title.replace(" · eqmesh", ""));
    toast(on ? "This view is saved, with all that is chosen in it." : "This view is no longer saved.");
  });
  showKept();
  addEventListener("eqmesh:kept", showKept);
  addEventListener("storage", showKept);
}

bind("/", "Search genomes, peers, tasks and views", openPalette);
bind("t", "Next theme", nextTheme);
bind(" ", "Hold live updates, or let them go on", () => {
  pause(!isPaused());
  toast(isPaused() ? "Live updates are held." : "Live updates go on.");
});
bind("e", "Export as one HTML file", () => location.assign(withRun("/export")));
bind("?", "This list", showKeys);

furnish();
listen(go);
watchStream(showStream);
askNode();
let askedAt = performance.now();
subscribe(({ counts }) => {
  const genomes = $('[data-count="genomes"]');
  if (genomes) genomes.textContent = counts.births;
  // A page that could not be shown for want of its store tries again once that is there.
  if ($("[data-retry]")) location.reload();
  if (performance.now() - askedAt > 5000) {
    askedAt = performance.now();
    askNode();
  }
});

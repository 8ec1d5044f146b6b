// The lineage view: what is chosen, what is painted when, and the hands on it. Knows neither server nor shell.

import { fill, h } from "../dom.js";
import { colours as themeOf, onTheme } from "../charts/theme.js";
import { copyMenu } from "../charts/copy.js";
import { frame } from "./camera.js";
import { colouring } from "./look.js";
import {
  ancestors, bestChild, better, descendants, extend, kin, lineOf, LIVING, makeModel, operatorName, sibling,
} from "./model.js"; // prettier-ignore
import { choiceOf, chosenPanel, filters } from "./panels.js";
import { makeStage } from "./stage.js";
import { paintTable, standingText } from "./table.js";
import { paintScrub, paintShares, scrubber, sized, strips } from "./time.js";
import { birthText, format, hoverText, lead, summaryText } from "./words.js";

const STREAMS_ABOVE = 300_000; // births above which a tree says less than streams
const VIEWS = [
  ["tree", "Tree"],
  ["streams", "Streams"],
  ["table", "Table"],
];

/**
 * Show a lineage in `root`. `source` gives columns(extinct, begin, version), detail(place), place(id), names(places) and
 * find(text), each a promise; `host` what the page around offers: bind, getParam, setParam, onParams, toast, and perhaps
 * subscribe, visited, compare and link. Gives `{model, stage, choose}` for tests once the first picture is there.
 */
export async function mountLineage(root, source, host) {
  const parts = skeleton(host);
  fill(root, parts.left, parts.middle, parts.right);
  const view = {
    root, source, host, parts, model: null, columns: null, told: null, detail: null, at: -1, mask: null, found: [],
    answer: "", played: null, theme: themeOf(), table: { page: 0, sort: "birth" }, known: new Map(), extinct: host.getParam("extinct", "wedges"),
  }; // prettier-ignore
  view.stage = makeStage(parts.stage, parts.tree, parts.top, {
    choose: (i) => choose(view, i),
    hovered: (hit) => hovered(view, hit),
    choice: () => paintChoiceOf(view),
    state: () => view,
  });
  try {
    await load(view);
    // The tree first: whatever else the page shows can wait for one picture.
    if (chosenNow(view).view === "tree") view.stage.paintNow();
  } catch (error) {
    fill(parts.stage, h("p", { className: "empty", role: "alert" }, `${error.message} ${error.next ?? ""}`));
    return null;
  }
  buttons(view);
  hands(view);
  onTheme(() => {
    view.theme = themeOf();
    recolour(view);
    repaint(view);
  });
  host.onParams(() => followAddress(view));
  host.subscribe?.(() => grow(view));
  new ResizeObserver(() => repaint(view)).observe(parts.stage);
  await followAddress(view);
  return { view, choose: (i) => choose(view, i) };
}

function skeleton() {
  const parts = {
    left: h("aside", { className: "left", "aria-label": "Filters" }),
    right: h("aside", { className: "right", "aria-label": "Chosen genome" }),
    bar: h("div", { className: "bar2" }),
    legend: h("ul", { className: "legend", "aria-label": "Colours" }),
    tree: h("canvas", {
      tabindex: 0,
      role: "img",
      "aria-label":
        "Lineage tree; time runs to the right. Arrows move it, plus and minus zoom, [ and ] go to the parent and the best child, j and k to siblings. The line below reads out the choice; Table shows the same births as rows.",
    }),
    top: h("canvas", { className: "over", "aria-hidden": "true" }),
    stage: h("div", { className: "cv" }),
    table: h("div", { className: "twin", hidden: true }),
    readout: h("p", { className: "readout", role: "status" }),
    hover: h("p", { className: "tip", hidden: true }),
    strips: h("canvas", { className: "strips", role: "img", "aria-label": "Objectives along the chosen line", hidden: true }),
    scrub: h("div", { className: "scrub" }),
  };
  parts.stage.append(parts.tree, parts.top, parts.hover);
  parts.middle = h("section", { className: "stage", "aria-label": "Lineage" }, parts.bar, parts.stage, parts.table, parts.readout, parts.strips, parts.scrub);
  return parts;
}

async function load(view) {
  const told = await view.source.columns(view.extinct);
  performance.mark("lineage.told");
  accept(view, told.columns, told);
}

function accept(view, columns, told) {
  view.columns = columns;
  view.told = told;
  view.model = makeModel(columns, told);
  view.world = view.model.world;
  recolour(view);
}

/** What came since: new rows behind the old ones, or everything where the layout is another. */
async function grow(view) {
  if (view.growing) return;
  view.growing = true;
  try {
    const more = await view.source.columns(view.extinct, view.model.n, view.told.version);
    const same = more.begin === view.model.n && more.version === view.told.version;
    if (same && !more.rows && String(more.living) === String(view.told.living)) return;
    const followed = view.stage.followsAll();
    accept(view, same ? extend(view.columns, more.columns, more) : more.columns, more);
    if (followed) view.stage.fit();
    refilter(view);
    repaint(view);
    buttons(view);
  } catch (error) {
    view.host.toast?.(error.message, "bad");
  } finally {
    view.growing = false;
  }
}

const up = (view) => lead(view)?.direction !== "min";

function chosenNow(view) {
  const { getParam } = view.host;
  return {
    at: view.at,
    view: getParam("view", view.model.n > STREAMS_ABOVE ? "streams" : "tree"),
    colour: getParam("colour", "founder"),
    extinct: view.extinct,
    kin: getParam("kin", ""),
    off: (getParam("off", "") || "").split(",").filter(Boolean),
    crossings: getParam("crossings", "") === "on",
    standing: getParam("standing", ""),
    q: getParam("q", ""),
    from: Number(getParam("from", view.world.birth0)),
    to: view.played ?? Number(getParam("to", view.world.birth1)),
  };
}

// What the painter asks of the filters.
function paintChoiceOf(view) {
  const { extinct, from, to, crossings } = chosenNow(view);
  return { extinct, from, to, crossings, mask: view.mask };
}

function recolour(view) {
  const series = [1, 2, 3, 4, 5, 6, 7].map((k) => view.theme[`c${k}`]);
  view.painted = { ...view.theme, series };
  view.colours = colouring(view.model, view.host.getParam("colour", "founder"), view.painted, (value) => format(view, lead(view)?.name, value));
}

async function followAddress(view) {
  const { getParam } = view.host;
  const extinct = getParam("extinct", "wedges");
  if (extinct !== view.extinct) {
    view.extinct = extinct;
    await load(view);
    view.stage.fit();
  }
  const id = getParam("id", "");
  if (id && !view.detail?.line[0].id.startsWith(id)) await chooseById(view, id);
  else if (!id && view.at >= 0) choose(view, -1);
  if (getParam("q", "") !== view.asked) await search(view, getParam("q", ""));
  recolour(view);
  refilter(view);
  buttons(view);
  repaint(view);
}

async function chooseById(view, id) {
  try {
    await choose(view, (await view.source.place(id)).place, { quiet: true });
  } catch (error) {
    view.host.toast?.(error.message, "bad");
  }
}

/** Choose a birth (-1 for none): its line, its panel, its address. */
async function choose(view, at, { quiet = false } = {}) {
  view.at = at;
  view.detail = at < 0 ? null : await view.source.detail(at);
  if (view.at !== at) return; // another was chosen meanwhile
  const id = view.detail?.line[0].id ?? null;
  if (!quiet) view.host.setParam("id", id ? id.slice(0, 16) : null);
  if (id) view.host.visited?.(`/lineage?id=${id.slice(0, 16)}`, `Line of ${id.slice(0, 8)}`);
  refilter(view);
  sides(view);
  strips(view, format);
  say(view);
  view.stage.paintTop();
  if (view.mask) view.stage.paint();
}

function sides(view) {
  chosenPanel(view.parts.right, view.model, view.detail, {
    format: (name, value) => format(view, name, value),
    links: view.host.link,
    act: {
      compare: view.host.compare,
      choose: (i) => choose(view, i),
      fit: () => fitChoice(view),
      clear: () => choose(view, -1),
    },
  });
}

function say(view) {
  view.parts.readout.textContent = view.at < 0 ? summaryText(view) : birthText(view, view.at, view.detail);
}

function hovered(view, hit) {
  const { hover } = view.parts;
  hover.hidden = !hit;
  if (hit) hover.textContent = hoverText(view, hit);
}

/** Which births stay bright: operators, standing, search and relatives together; null where all do. */
function refilter(view) {
  const { model } = view;
  const chosen = chosenNow(view);
  const tests = [];
  if (chosen.off.length) {
    const off = model.told.operators.map((name) => chosen.off.includes(operatorName(name)));
    tests.push((i) => !off[model.operator[i]]);
  }
  if (chosen.standing === "front") tests.push((i) => model.standing[i] & LIVING);
  else if (chosen.standing) {
    const wanted = model.told.standings.indexOf(chosen.standing);
    tests.push((i) => (model.standing[i] & ~LIVING) === wanted);
  }
  if (chosen.kin && view.at >= 0) {
    const set = { up: ancestors, down: descendants, kin }[chosen.kin]?.(model, view.at);
    if (set) tests.push((i) => set[i]);
  }
  if (view.hits) tests.push((i) => view.hits[i]);
  view.mask = tests.length ? Uint8Array.from({ length: model.n }, (_, i) => (tests.every((test) => test(i)) ? 1 : 0)) : null;
}

async function search(view, text) {
  view.asked = text;
  view.hits = null;
  view.found = [];
  view.answer = "";
  if (/^[0-9a-f]{6,64}$/i.test(text)) {
    await chooseById(view, text);
    if (view.at >= 0) fitChoice(view);
  } else if (text) {
    try {
      const places = await view.source.find(text);
      view.hits = new Uint8Array(view.model.n);
      for (const at of places) view.hits[at] = 1;
      view.found = [...places].filter((at) => view.model.kept[at]).slice(0, 400);
      view.answer = places.length
        ? `${places.length.toLocaleString("en")} of ${view.model.n.toLocaleString("en")} births pass.`
        : `None of ${view.model.n.toLocaleString("en")} births passes. Take a test away, or ask for less.`;
    } catch (error) {
      view.answer = error.message;
    }
  }
}

// Controls are made anew when what they show changes; whoever is on one of them stays there, with what was typed.
function keeping(root, change) {
  const controls = () => [...root.querySelectorAll("button, input, select, summary, a")];
  const place = controls().indexOf(document.activeElement);
  const typed = place >= 0 && document.activeElement.type === "search" ? document.activeElement.value : null;
  change();
  const now = controls()[place];
  now?.focus({ preventScroll: true });
  if (now && typed !== null) now.value = typed;
}

const buttons = (view) => keeping(view.root, () => makeButtons(view));

function makeButtons(view) {
  const chosen = chosenNow(view);
  const { host, parts } = view;
  fill(
    parts.bar,
    choiceOf("Show as", VIEWS, chosen.view, (key) => host.setParam("view", key)),
    h("button", { type: "button", className: "btn sm", onclick: () => view.stage.fit() }, "All"),
    parts.legend,
    h("span", { className: "sp" }),
    copyMenu({ name: "lineage", csv: () => asTable(view), canvas: () => parts.tree }),
  );
  // Streams are founders', however the tree is coloured.
  const colours = chosen.view === "streams" ? colouring(view.model, "founder", view.painted) : view.colours;
  fill(
    parts.legend,
    colours.legend.map(({ label, bucket }) => {
      const paint = colours.paints[bucket];
      return h("li", {}, h("i", { style: { background: paint.colour, opacity: paint.alpha } }), label);
    }),
  );
  fill(
    parts.left,
    filters(view.model, chosen, (name, value) => host.setParam(name, name === "crossings" && value ? "on" : value), {
      search: (text) => host.setParam("q", text),
      answer: view.answer,
    }),
  );
  if (!view.detail) sides(view);
  scrubber(view, chosen, { repaint: () => repaint(view), window: () => chosenNow(view) });
  say(view);
}

function asTable(view) {
  const { model } = view;
  const rows = Array.from({ length: model.n }, (_, i) => [
    model.birth[i], model.p1[i] < 0 ? "" : model.birth[model.p1[i]], model.p2[i] < 0 ? "" : model.birth[model.p2[i]],
    model.told.operators[model.operator[i]], Number.isNaN(model.fitness[i]) ? "" : model.fitness[i], standingText(model, i),
  ]); // prettier-ignore
  return [["birth", "parent", "second parent", "operator", lead(view)?.name ?? "score", "standing"], rows];
}

function repaint(view) {
  const { view: kind } = chosenNow(view);
  const { parts } = view;
  parts.stage.hidden = kind === "table";
  parts.table.hidden = kind !== "table";
  parts.top.hidden = kind !== "tree";
  if (kind === "table") table(view);
  else if (kind === "tree") view.stage.paint();
  else {
    const got = sized(parts.tree);
    if (got) {
      paintShares(view, got, Math.round(got.width / 3), 8);
    }
  }
  paintScrub(view, chosenNow(view));
  strips(view, format);
}

function table(view) {
  const { known } = view;
  const options = {
    chosen: view.at,
    choose: (i) => choose(view, i).then(() => table(view)),
    change: (state) => {
      view.table = state;
      table(view);
    },
    nameOf: (i) => known.get(i),
    names: async (places) => {
      const missing = places.filter((i) => !known.has(i));
      if (!missing.length) return;
      for (const [at, id] of Object.entries(await view.source.names(missing))) known.set(Number(at), id);
    },
    format: (name, value) => format(view, name, value),
  };
  keeping(view.parts.table, () => {
    paintTable(view.parts.table, view.model, view.mask, view.table, options).catch((error) => view.host.toast?.(error.message, "bad"));
  });
}

function fitChoice(view) {
  if (view.at < 0) return view.stage.fit();
  const { model } = view;
  const line = lineOf(model, view.at);
  const ys = line.map((i) => model.y[i]);
  const box = { x0: model.birth[line.at(-1)], x1: model.birth[view.at], y0: Math.min(...ys), y1: Math.max(...ys) };
  return view.stage.look(frame(box, view.world, view.stage.size()));
}

function best(view) {
  let found = -1;
  for (const i of view.model.living) if (found < 0 || better(view.model.fitness[i], view.model.fitness[found], up(view))) found = i;
  return found >= 0 ? found : view.model.n - 1;
}

function hands(view) {
  const { bind } = view.host;
  const go = (i) => (i >= 0 ? void choose(view, i).then(() => view.stage.reveal(i)) : false);
  bind("f", "Fit the chosen line, or everything", () => void fitChoice(view));
  bind("[", "Parent", () => (view.at < 0 ? go(best(view)) : go(view.model.p1[view.at])));
  bind("]", "Best child", () => (view.at < 0 ? go(best(view)) : go(bestChild(view.model, view.at, up(view)))));
  bind("j", "Next sibling", () => view.at >= 0 && go(sibling(view.model, view.at, 1)));
  bind("k", "Previous sibling", () => view.at >= 0 && go(sibling(view.model, view.at, -1)));
  bind("x", "Extinct: wedges, in full, hidden", () => {
    const next = { wedges: "full", full: "hidden", hidden: "wedges" };
    view.host.setParam("extinct", next[view.extinct]);
  });
  bind("c", "Add to compare", () => view.detail && view.host.compare?.(view.detail.line[0].id));
  bind("Escape", "Clear selection", () => view.at >= 0 && void choose(view, -1));
}

// A network's layers as blocks: drawn from the server's answer; added, removed, moved and widened by mouse and keyboard.

import { format } from "../charts/scale.js";
import { fill, h, svg } from "../dom.js";

const [WIDTH, GAP, TOP, MIDDLE] = [96, 34, 46, 96];
const MANY = 24;

/** How tall a block is: by the logarithm of its units, so that 8 and 4096 both fit. */
const tall = (units) => 30 + 8 * Math.log2(Math.max(2, units));

/**
 * Draw `checked` (the server's answer) in `host`. Where the space has a stack of layers, `act(name, layer, by)` is called
 * with "add", "remove", "move" (by -1 or 1, or a place), or "widen" (by levels) for layers from 1. `chosen` is the layer
 * that has the focus. Gives a function that puts the focus on a layer.
 */
export function net(host, checked, { act, chosen = 0 }) {
  const { layers, edges, stack } = checked;
  if (!layers.length) {
    fill(host, h("p", { className: "dim" }, checked.problems.length ? "The network is drawn once its genes are lawful." : "Its task builds and grows this network as it learns: there is nothing to draw beforehand."));
    return () => {};
  }
  const movable = (layer) => stack !== null && layer.gene !== "" && stack.genes.includes(layer.gene);
  const hidden = layers.filter(movable);
  const left = (index) => 8 + index * (WIDTH + GAP);
  const width = left(layers.length) - GAP + 8;
  const most = Math.max(...layers.map((layer) => tall(layer.units)));
  const axis = TOP + Math.max(MIDDLE, most) / 2;
  const height = axis + Math.max(MIDDLE, most) / 2 + 26;
  const dense = edges.length > MANY;

  const path = (edge) => {
    const [from, to] = [left(edge.source) + WIDTH, left(edge.target)];
    const straight = edge.target === edge.source + 1;
    const rise = Math.min(axis - 10, most / 2 + 10 + 6 * (edge.target - edge.source));
    const d = straight ? `M${from} ${axis}L${to} ${axis}` : `M${from - WIDTH / 2} ${axis - tall(layers[edge.source].units) / 2}C${from} ${axis - rise - 16} ${to} ${axis - rise - 16} ${to + WIDTH / 2} ${axis - tall(layers[edge.target].units) / 2}`;
    return svg("path", { d, class: `${edge.kind} ${dense ? "wide" : ""}` });
  };

  const blocks = layers.map((layer) => {
    const size = tall(layer.units);
    const mine = movable(layer);
    const place = hidden.indexOf(layer) + 1;
    const words = `${layer.name}, ${layer.units.toLocaleString()} units${layer.detail ? `, ${layer.detail}` : ""}${layer.settles ? ", settles" : ""}`;
    const group = svg(
      "g",
      {
        class: `block ${layer.settles ? "settles" : ""} ${mine ? "movable" : ""} ${mine && place === chosen ? "chosen" : ""}`,
        transform: `translate(${left(layer.index)} 0)`,
        tabindex: mine ? 0 : null,
        role: mine ? "button" : null,
        "aria-label": mine ? `${words}. Shift with left and right moves it, up and down change its size, plus adds one after it, delete takes it out.` : null,
        "data-layer": mine ? place : null,
      },
      svg("title", {}, words),
      svg("rect", { x: 0, y: axis - size / 2, width: WIDTH, height: size, rx: 8 }),
      svg("text", { x: WIDTH / 2, y: axis + 1 }, format(layer.units)),
      svg("text", { x: WIDTH / 2, y: axis + 16, class: "small" }, layer.detail || "units"),
      svg("text", { x: WIDTH / 2, y: height - 8, class: "small" }, layer.name),
    );
    if (mine) listen(group, place);
    return group;
  });

  const drawing = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `Network of ${layers.length} layers and ${edges.length} connections` }, edges.map(path), blocks);

  function listen(group, place) {
    group.addEventListener("focus", () => {
      chosen = place;
      mark();
    });
    group.addEventListener("keydown", (event) => {
      const { key, shiftKey } = event;
      const keys = {
        ArrowLeft: () => (shiftKey ? act("move", place, -1) : focus(place - 1)),
        ArrowRight: () => (shiftKey ? act("move", place, 1) : focus(place + 1)),
        ArrowUp: () => act("widen", place, 1),
        ArrowDown: () => act("widen", place, -1),
        "+": () => act("add", place),
        Delete: () => act("remove", place),
        Backspace: () => act("remove", place),
      };
      if (!(key in keys)) return;
      event.preventDefault();
      event.stopPropagation();
      keys[key]();
    });
    let from = null;
    group.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      from = event.clientX;
      group.setPointerCapture(event.pointerId);
      group.focus();
    });
    group.addEventListener("pointermove", (event) => {
      if (from === null) return;
      const by = event.clientX - from;
      group.classList.toggle("dragged", Math.abs(by) > 6);
      group.setAttribute("transform", `translate(${left(hidden[place - 1].index) + by} 0)`);
    });
    const drop = (event) => {
      if (from === null) return;
      const by = Math.round((event.clientX - from) / (WIDTH + GAP));
      from = null;
      group.classList.remove("dragged");
      group.setAttribute("transform", `translate(${left(hidden[place - 1].index)} 0)`);
      const to = Math.max(1, Math.min(hidden.length, place + by));
      if (event.type === "pointerup" && to !== place) act("move", place, to - place);
    };
    group.addEventListener("pointerup", drop);
    group.addEventListener("pointercancel", drop);
  }

  function mark() {
    for (const group of drawing.querySelectorAll(".block.movable")) group.classList.toggle("chosen", Number(group.dataset.layer) === chosen);
    for (const button of tools.querySelectorAll("[data-needs]")) button.disabled = !able(button.dataset.needs);
  }

  const able = (name) =>
    ({
      add: hidden.length < stack?.high,
      remove: chosen > 0 && hidden.length > stack?.low,
      earlier: chosen > 1,
      later: chosen > 0 && chosen < hidden.length,
      chosen: chosen > 0,
    })[name];

  const tool = (label, needs, run) => h("button", { className: "btn sm", type: "button", disabled: !able(needs), dataset: { needs }, onclick: run }, label);
  const tools = h(
    "div",
    { className: "row", role: "toolbar", "aria-label": "Layers" },
    stack
      ? [
          tool("Add a layer", "add", () => act("add", chosen || hidden.length)),
          tool("Remove", "remove", () => act("remove", chosen)),
          tool("Move earlier", "earlier", () => act("move", chosen, -1)),
          tool("Move later", "later", () => act("move", chosen, 1)),
          tool("Smaller", "chosen", () => act("widen", chosen, -1)),
          tool("Larger", "chosen", () => act("widen", chosen, 1)),
        ]
      : null,
  );
  const focus = (place) => drawing.querySelector(`[data-layer="${place}"]`)?.focus();
  const kinds = [...new Set(edges.map((edge) => edge.kind))].filter((kind) => kind !== "forward");
  fill(
    host,
    h("div", { className: "net", tabindex: stack ? null : 0, role: stack ? null : "region", "aria-label": stack ? null : "Layers" }, drawing),
    tools,
    h(
      "p",
      { className: "hint" },
      stack ? `${hidden.length} of ${stack.low} to ${stack.high} layers. Drag a block, or give it the focus: shift with ← → moves it, ↑ ↓ change its size, + adds, delete takes out. ` : "The layers of this network follow from its genes alone. ",
      "Filled blocks settle.",
      kinds.includes("skip") ? " Dashed lines skip a layer." : "",
      kinds.includes("shared") ? " Dotted lines share one weight." : "",
    ),
  );
  return focus;
}

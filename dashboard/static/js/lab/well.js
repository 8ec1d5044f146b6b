// The path of one example's states on the plane of its two main directions, over the energy there.

import { surface } from "../charts/surface.js";
import { format, scale } from "../charts/scale.js";
import { fill, h } from "../dom.js";
import { contour, levels } from "./contour.js";

/** The end of a path that is in sight, from where its last line from outside comes in. */
function entering(points, inside, u_range, v_range) {
  let first = points.length;
  while (first > 0 && inside(points[first - 1])) first--;
  if (first === 0 || first === points.length) return first ? [] : points;
  const [[u, v], [a, b]] = [points[first], points[first - 1]];
  const room = (from, to, [low, high]) => (to > high ? (high - from) / (to - from) : to < low ? (low - from) / (to - from) : 1);
  const share = Math.min(room(u, a, u_range), room(v, b, v_range));
  return [[u + share * (a - u), v + share * (b - v)], ...points.slice(first)];
}

const LINES = 14;
const ROOM = { left: 46, right: 12, top: 12, bottom: 28 };

/**
 * The well in `host`. `chosen(name)` says what is drawn: "surface" is "E" or "F", "around" the whole path or "near" the
 * nudged phase; `choose(name, value)` is called with another one. Gives
 * `{show(landscape, why)}`: where there is no landscape, `why` is said instead.
 */
export function well(host, { menu, chosen, choose }) {
  let shown = null;
  // How far somebody went along the path; null shows all of it, also as it grows.
  let place = null;
  const key = h(
    "div",
    { className: "legend well-key" },
    h("span", {}, h("i", { className: "solid" }), "free phase, from the ring to the disc"),
    h("span", {}, h("i", { className: "dotted" }), "nudged phase, to the square"),
    h("span", {}, h("i", { className: "arrow" }), "where the target pulls"),
  );
  const buttons = [];
  const choice = (name, label, options) =>
    h(
      "span",
      { className: "seg", role: "group", "aria-label": label },
      options.map(([value, words]) => {
        const button = h("button", { type: "button", onclick: () => { choose(name, value); mark(); view.draw(); } }, words);
        buttons.push({ button, name, value });
        return button;
      }),
    );
  const slider = h("input", { type: "range", min: 0, step: 1, "aria-label": "Sweep of the last relaxation" });
  const output = h("output", {});
  const stage = h("div", {});
  const which = h(
    "div",
    { className: "row" },
    choice("surface", "Energy that is drawn", [["E", "E, free"], ["F", "F = E + βC, nudged"]]),
    choice("around", "What is in sight", [["path", "Whole path"], ["near", "Nudged phase"]]),
  );
  const none = h("p", { className: "empty", hidden: true });
  fill(host, none, key, which, stage, h("label", { className: "slide" }, h("span", {}, "Sweep"), slider, output));

  const steps = () => [
    ...shown.free.map((at, i) => ({ phase: "free", sweep: i, at, energy: shown.free_energy[i] })),
    ...shown.nudged.map((at, i) => ({ phase: "nudged", sweep: i, at, energy: shown.nudged_energy[i] })),
  ];
  const last = () => shown.free.length + shown.nudged.length - 1;
  const reached = () => (place === null ? last() : Math.min(place, last()));
  const twin = () => [["phase", "sweep", "u", "v", "energy"], shown ? steps().map((one) => [one.phase, one.sweep, format(one.at[0], "", 4), format(one.at[1], "", 4), format(one.energy, "", 6)]) : []];
  const csv = () => [["phase", "sweep", "u", "v", "energy"], shown ? steps().map((one) => [one.phase, one.sweep, ...one.at, one.energy]) : []];

  function paint(pen, { width, height, colour }) {
    if (!shown) return;
    const { u_range, v_range, ...grids } = (chosen("around") === "near" && shown.near) || shown.whole;
    const grid = chosen("surface") === "F" ? grids.nudged_grid : grids.grid;
    const side = grid.length - 1;
    const px = scale(u_range, [ROOM.left, width - ROOM.right]);
    const py = scale(v_range, [height - ROOM.bottom, ROOM.top]);
    const across = (column) => px(u_range[0] + ((u_range[1] - u_range[0]) * column) / side);
    const up = (row) => py(v_range[0] + ((v_range[1] - v_range[0]) * row) / side);
    const heights = levels(grid, LINES);
    const [low, high] = [heights[0], heights.at(-1)];
    for (let row = 0; row < side; row++) {
      for (let column = 0; column < side; column++) {
        const mean = (grid[row][column] + grid[row][column + 1] + grid[row + 1][column] + grid[row + 1][column + 1]) / 4;
        const depth = 1 - Math.sqrt(Math.min(1, Math.max(0, (mean - low) / (high - low || 1))));
        // Whole pixels: cells that overlap, or leave a gap, would draw a net.
        const [left, right, above, below] = [across(column), across(column + 1), up(row + 1), up(row)].map(Math.round);
        pen.rect(left, above, right - left, below - above, { fill: colour.info, alpha: 0.03 + 0.3 * depth });
      }
    }
    heights.forEach((level, i) => {
      for (const [x1, y1, x2, y2] of contour(grid, level)) pen.path([across(x1), up(y1), across(x2), up(y2)], { stroke: colour.info, alpha: i % 2 ? 0.35 : 0.6 });
    });
    for (const tick of px.ticks(5)) pen.text(format(tick), px(tick), height - 12, { fill: colour.faint, align: "middle" });
    for (const tick of py.ticks(4)) pen.text(format(tick), ROOM.left - 6, py(tick) + 4, { fill: colour.faint, align: "right" });
    pen.text("u", width - ROOM.right, height - 1, { fill: colour.dim, align: "right" });
    pen.text("v", 4, ROOM.top + 8, { fill: colour.dim });
    const along = (points) => points.flatMap(([u, v]) => [px(u), py(v)]);
    const until = reached();
    const inside = ([u, v]) => u >= u_range[0] && u <= u_range[1] && v >= v_range[0] && v <= v_range[1];
    const free = shown.free.slice(0, until + 1);
    const nudged = shown.nudged.slice(0, Math.max(0, until - shown.free.length + 1));
    drawPull(pen, px, py, colour);
    pen.path(along(entering(free, inside, u_range, v_range)), { stroke: colour.c1, width: 2.4 });
    for (const [u, v] of free.filter(inside)) pen.circle(px(u), py(v), 2.6, { fill: colour.c1 });
    if (nudged.length) {
      pen.path(along(nudged), { stroke: colour.c3, width: 2.4, dash: [5, 4] });
      for (const [u, v] of nudged) pen.circle(px(u), py(v), 2.6, { fill: colour.c3 });
    }
    if (inside(shown.free[0])) pen.circle(px(shown.free[0][0]), py(shown.free[0][1]), 6, { stroke: colour.c1, width: 2 });
    if (until >= shown.free.length - 1) pen.circle(px(shown.free.at(-1)[0]), py(shown.free.at(-1)[1]), 6, { fill: colour.c1, stroke: colour.panel, width: 1.5 });
    if (nudged.length && until === last()) pen.rect(px(nudged.at(-1)[0]) - 5, py(nudged.at(-1)[1]) - 5, 10, 10, { fill: colour.c3, stroke: colour.panel });
    const [u, v] = until < shown.free.length ? shown.free[until] : shown.nudged[until - shown.free.length];
    if (inside([u, v])) pen.circle(px(u), py(v), 9, { stroke: colour.text, width: 1.5 });
  }

  function drawPull(pen, px, py, colour) {
    const [from, to] = [shown.free.at(-1), shown.pull];
    const [dx, dy] = [px(from[0] + to[0]) - px(from[0]), py(from[1] + to[1]) - py(from[1])];
    const size = Math.hypot(dx, dy);
    if (!(size > 0)) return;
    // Its direction is what it tells; its length is the same whatever the nudge.
    const [ux, uy] = [dx / size, dy / size];
    const [x, y] = [px(from[0]), py(from[1])];
    const [tipX, tipY] = [x + 46 * ux, y + 46 * uy];
    pen.path([x, y, tipX, tipY], { stroke: colour.bad, width: 1.8 });
    pen.path([tipX - 8 * ux - 4 * uy, tipY - 8 * uy + 4 * ux, tipX, tipY, tipX - 8 * ux + 4 * uy, tipY - 8 * uy - 4 * ux], { stroke: colour.bad, width: 1.8 });
  }

  const view = surface(stage, {
    name: "well",
    label: "Path of one example's states into the well of the energy",
    keys: "Left and right go along the path.",
    height: (width) => Math.max(240, Math.min(400, width * 0.52)),
    paint,
    twin,
    csv,
    menu,
  });

  function mark() {
    for (const { button, name, value } of buttons) button.setAttribute("aria-pressed", String(value === chosen(name)));
  }

  function tell(aloud) {
    if (!shown) return;
    const one = steps()[reached()];
    output.textContent = `${one.phase} ${one.sweep}`;
    slider.setAttribute("aria-valuetext", `${one.phase} phase, after sweep ${one.sweep}`);
    // Read out only as somebody moves along: frames come several times a second.
    const words = `${one.phase === "free" ? "Free" : "Nudged"} phase after sweep ${one.sweep}: ${one.phase === "free" ? "E" : "F"} = ${format(one.energy, "", 5)}`;
    if (aloud) view.readout.textContent = words;
    else if (place === null) view.readout.textContent = "";
  }

  function go(to) {
    if (!shown) return;
    const at = Math.max(0, Math.min(last(), to));
    place = at === last() ? null : at;
    slider.value = String(at);
    tell(true);
    view.draw();
  }

  slider.addEventListener("input", () => go(Number(slider.value)));
  view.canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    go(reached() + step);
    event.preventDefault();
  });
  mark();
  return {
    show(landscape, why) {
      shown = landscape;
      for (const each of [key, which, stage, slider.parentElement]) each.hidden = !shown;
      none.hidden = Boolean(shown);
      none.textContent = shown ? "" : why;
      if (!shown) return;
      slider.max = String(last());
      slider.value = String(reached());
      tell(false);
      view.draw();
    },
  };
}

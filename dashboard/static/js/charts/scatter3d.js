// Points in three dimensions: a projection of the cube that objectives span, turned by dragging or arrow keys.

import { mark } from "./pen.js";
import { extent, padded, scale, tickLabels } from "./scale.js";
import { placeOf, surface } from "./surface.js";

const REACH = 14;
const STEP = Math.PI / 24;
const EDGES = [
  [0, 1], [2, 3], [4, 5], [6, 7], [0, 2], [1, 3], [4, 6], [5, 7], [0, 4], [1, 5], [2, 6], [3, 7],
];

/** A view of the cube [-1, 1]^3 from the angles `turn` (about the upright axis) and `tilt`; gives x, y and depth. */
export function projection({ turn, tilt }, width, height, zoom = 1) {
  const [ct, st, cp, sp] = [Math.cos(turn), Math.sin(turn), Math.cos(tilt), Math.sin(tilt)];
  const size = (Math.min(width, height) / 3.6) * zoom;
  return (x, y, z) => {
    const [across, away] = [x * ct - y * st, x * st + y * ct];
    const [up, depth] = [z * cp - away * sp, z * sp + away * cp];
    const near = 4.5 / (4.5 + depth);
    return [width / 2 + across * size * near, height * 0.53 - up * size * near, depth];
  };
}

/** Turn a view by dragging, arrow keys (with shift: zoom) and the wheel with ctrl; `changed` is called after each step. */
export function turnable(canvas, view, changed) {
  let last = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    last = placeOf(event, canvas);
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!last) return;
    const here = placeOf(event, canvas);
    view.turn += (here[0] - last[0]) * 0.008;
    view.tilt = Math.max(-1.5, Math.min(1.5, view.tilt + (here[1] - last[1]) * 0.008));
    last = here;
    changed();
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (last = null));
  canvas.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: ["turn", -STEP], ArrowRight: ["turn", STEP], ArrowUp: ["tilt", STEP], ArrowDown: ["tilt", -STEP] };
    if (!(event.key in steps)) return;
    const [angle, by] = steps[event.key];
    if (event.shiftKey && angle === "tilt") view.zoom = Math.max(0.4, Math.min(4, view.zoom * (by > 0 ? 1.1 : 0.9)));
    else view[angle] += by;
    event.preventDefault();
    changed();
  });
  return () => last !== null;
}

/**
 * `data` as for `scatter`, with `z` beside x and y; `axes` likewise. `view` is `{turn, tilt, zoom}`, changed in place,
 * and `on.turn(view)` is called when it was. Gives the surface with `update` and `select`.
 */
export function scatter3d(host, { name, label, height, data, axes, view, on = {}, words, twin, csv, menu }) {
  let places = [];
  let [hovered, selected] = [-1, -1];
  const place = surface(host, {
    name, label, height, twin, csv, menu, paint, over,
    keys: "Arrow keys turn the cube, shift with up and down zooms.",
  });
  const { canvas, readout, draw, touch } = place;
  let pressed = null;
  const turning = turnable(canvas, view, () => {
    draw();
    on.turn?.(view);
  });

  function paint(pen, { width, height: tall, colour }) {
    const shown = [...data.dominated, ...data.marked.map((one) => one.index)];
    const along = (values, axis) =>
      scale(padded(extent(Float64Array.from(shown, (i) => values[i]), axis), axis), [-1, 1], axis.log, axis.unit);
    const [x, y, z] = [along(data.x, axes.x), along(data.y, axes.y), along(data.z, axes.z)];
    const to = projection(view, width, tall, view.zoom);
    cube(pen, to, colour, { x, y, z });
    places = [];
    const dots = [[], []];
    for (const index of data.dominated) {
      const [px, py, depth] = to(x(data.x[index]), y(data.y[index]), z(data.z[index]));
      if (!Number.isFinite(px + py)) continue;
      if (data.outside?.(index)) continue;
      dots[0].push(px);
      dots[1].push(py);
      places.push([index, px, py, depth]);
    }
    pen.dots(dots[0], dots[1], dots[0].length, { radius: dots[0].length > 4000 ? 1 : 1.9, fill: colour.faint, alpha: 0.5 });
    const marks = data.marked
      .map((one) => ({ ...one, at: to(x(data.x[one.index]), y(data.y[one.index]), z(data.z[one.index])) }))
      .filter((one) => Number.isFinite(one.at[0] + one.at[1]))
      .sort((a, b) => b.at[2] - a.at[2]);
    const floor = to(0, 0, -1)[2];
    for (const one of marks) {
      const [px, py, depth] = one.at;
      if (data.outside?.(one.index)) continue;
      const foot = to(x(data.x[one.index]), y(data.y[one.index]), -1);
      pen.path([px, py, foot[0], foot[1]], { stroke: colour.line2, alpha: 0.5, dash: [2, 3] });
      mark(pen, one.kind, px, py, Math.max(2.5, 4.6 - (depth - floor * 0.2) * 0.9), colour);
      if (one.note) pen.text(one.note, px + 9, py + 14, { fill: colour.text, weight: 600 });
      places.push([one.index, px, py, depth]);
    }
  }

  function over(pen, { colour }) {
    for (const [index, ring] of [[hovered, colour.dim], [selected, colour.text]]) {
      const found = index >= 0 && places.findLast((one) => one[0] === index);
      if (found) pen.circle(found[1], found[2], 8.5, { stroke: ring, width: 1.8 });
    }
  }

  function cube(pen, to, colour, along) {
    const corners = Array.from({ length: 8 }, (_, i) => to(i & 4 ? 1 : -1, i & 2 ? 1 : -1, i & 1 ? 1 : -1));
    const back = corners.reduce((far, corner, i) => (corner[2] > corners[far][2] ? i : far), 0);
    for (const [a, b] of EDGES) {
      if (a === back || b === back) pen.path([...corners[a].slice(0, 2), ...corners[b].slice(0, 2)], { stroke: colour.line2 });
      else pen.path([...corners[a].slice(0, 2), ...corners[b].slice(0, 2)], { stroke: colour.line, dash: [3, 4] });
    }
    const edge = { x: (t) => [t, -1, -1], y: (t) => [1, t, -1], z: (t) => [-1, -1, t] };
    for (const name of ["x", "y", "z"]) {
      const ticks = along[name].ticks(5);
      const labels = tickLabels(ticks, axes[name].unit);
      for (const [i, tick] of ticks.entries()) {
        const [px, py] = to(...edge[name](along[name](tick)));
        pen.circle(px, py, 1.2, { fill: colour.dim });
        pen.text(labels[i], px + 4, py + 12, { fill: colour.faint, size: 10 });
      }
      const [px, py] = to(...edge[name](name === "z" ? 1.08 : 1.16));
      pen.text(`${axes[name].label}${axes[name].log ? " (log)" : ""}`, px, py, { fill: colour.dim, align: "middle", weight: 500 });
    }
  }

  function near([px, py]) {
    let best = -1;
    let least = REACH;
    for (const [index, x, y] of places) {
      const away = Math.hypot(x - px, y - py);
      if (away <= least) [best, least] = [index, away];
    }
    return best;
  }

  function select(index) {
    selected = index;
    readout.textContent = index < 0 ? "" : words(index);
    touch();
  }

  canvas.addEventListener("pointerdown", (event) => (pressed = placeOf(event, canvas)));
  canvas.addEventListener("pointermove", (event) => {
    if (turning()) return;
    const index = near(placeOf(event, canvas));
    if (index === hovered) return;
    hovered = index;
    readout.textContent = index < 0 ? (selected < 0 ? "" : words(selected)) : words(index);
    on.hover?.(index);
    touch();
  });
  canvas.addEventListener("pointerup", (event) => {
    const here = placeOf(event, canvas);
    if (!pressed || Math.hypot(here[0] - pressed[0], here[1] - pressed[1]) > 4) return;
    select(near(here));
    on.select?.(selected);
  });
  canvas.addEventListener("keydown", (event) => event.key === "Enter" && selected >= 0 && on.open?.(selected));
  canvas.addEventListener("dblclick", () => selected >= 0 && on.open?.(selected));

  return {
    ...place,
    select,
    update(next, nextAxes = axes) {
      [data, axes] = [next, nextAxes];
      draw();
    },
  };
}

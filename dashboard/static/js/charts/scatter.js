// Points in two dimensions on a canvas: 50,000 of them, with marks for standing, hover, selection and a brush.

import { mark } from "./pen.js";
import { extent, format, padded, scale, tickLabels } from "./scale.js";
import { placeOf, surface } from "./surface.js";

const MARGIN = { left: 58, right: 16, top: 28, bottom: 40 };
const CELL = 16;
const REACH = 14;
const DRAGGED = 4;

/** Points by cells of the screen, so that the nearest one is found without a look at all of them. */
class Grid {
  constructor(width, height) {
    this.columns = Math.max(1, Math.ceil(width / CELL));
    this.rows = Math.max(1, Math.ceil(height / CELL));
    this.cells = new Map();
  }

  add(index, x, y) {
    const key = Math.floor(y / CELL) * this.columns + Math.floor(x / CELL);
    const cell = this.cells.get(key);
    if (cell) cell.push(index);
    else this.cells.set(key, [index]);
  }

  nearest(x, y, distance) {
    let best = -1;
    let least = REACH;
    const [cx, cy] = [Math.floor(x / CELL), Math.floor(y / CELL)];
    for (let row = cy - 1; row <= cy + 1; row++) {
      for (let column = cx - 1; column <= cx + 1; column++) {
        for (const index of this.cells.get(row * this.columns + column) ?? []) {
          const away = distance(index);
          if (away <= least) [best, least] = [index, away];
        }
      }
    }
    return best;
  }
}

/**
 * A scatter of `data`: `{x, y, dominated, marked, stair}`. `dominated` lists indices drawn as dots, `marked` is
 * `[{index, kind, note}]` drawn above them in that order, `stair` are indices on the front of these two axes;
 * `outside(i)` says whether a brush leaves a point out. `axes` gives `{label, unit, log, direction}` for x and y.
 * `on` has `hover(i)`, `select(i)`, `open(i)` and `brush({x: [a, b], y: [c, d]} | null)`; -1 is no point. `words(i)` is
 * read out. Gives the surface with `update(data, axes)` and `select(i)`.
 */
export function scatter(host, { name, label, height, data, axes, on = {}, words, twin, csv, menu, small = false }) {
  let [grid, x, y] = [null, null, null];
  let [hovered, selected] = [-1, -1];
  let drag = null;
  const place = surface(host, {
    name,
    label,
    height,
    twin,
    csv,
    menu,
    paint,
    over,
    keys: "Arrow keys go from point to point, Enter opens the genome, Escape clears.",
  });
  const { canvas, readout, draw, touch } = place;

  function paint(pen, { width, height: tall, colour }) {
    const margin = small ? { ...MARGIN, left: 50 } : MARGIN;
    const shown = [...data.dominated, ...data.marked.map((one) => one.index)];
    const range = (values, axis) => padded(extent(Float64Array.from(shown, (i) => values[i]), axis), axis);
    x = scale(range(data.x, axes.x), [margin.left, width - margin.right], axes.x.log, axes.x.unit);
    y = scale(range(data.y, axes.y), [tall - margin.bottom, margin.top], axes.y.log, axes.y.unit);
    frame(pen, { width, tall, colour, margin });
    if (data.stair.length) staircase(pen, colour, width, tall, margin);
    const [px, py] = [new Float32Array(data.dominated.length), new Float32Array(data.dominated.length)];
    const next = new Grid(width, tall);
    let [inside, outside] = [0, 0];
    const faded = [[], []];
    for (const index of data.dominated) {
      const [cx, cy] = [x(data.x[index]), y(data.y[index])];
      if (!Number.isFinite(cx) || !Number.isFinite(cy)) continue;
      next.add(index, cx, cy);
      if (data.outside?.(index)) {
        faded[0].push(cx);
        faded[1].push(cy);
        outside++;
      } else {
        px[inside] = cx;
        py[inside++] = cy;
      }
    }
    const many = data.dominated.length > 4000;
    const usual = data.marked.length > 300 ? 3 : 4.5;
    pen.dots(faded[0], faded[1], outside, { radius: many ? 0.8 : 1.6, fill: colour.line2, alpha: 0.35 });
    pen.dots(px, py, inside, { radius: many ? 1.1 : 2.2, fill: colour.faint, alpha: many ? 0.55 : 0.7 });
    for (const one of data.marked) {
      const [cx, cy] = [x(data.x[one.index]), y(data.y[one.index])];
      if (!Number.isFinite(cx) || !Number.isFinite(cy)) continue;
      next.add(one.index, cx, cy);
      const dim = data.outside?.(one.index);
      mark(pen, one.kind, cx, cy, dim ? 2.2 : usual, dim ? { ...colour, accent: colour.line2, warn: colour.line2 } : colour);
      if (one.note && !dim) {
        const right = cx > width - 110;
        pen.circle(cx, cy, usual + 4, { stroke: colour.text, width: 1.2 });
        pen.text(one.note, cx + (right ? -12 : 12), cy + 18, { fill: colour.text, align: right ? "right" : "start", weight: 600 });
      }
    }
    grid = next;
  }

  function over(pen, { colour }) {
    for (const [index, ring] of [[hovered, colour.dim], [selected, colour.text]]) {
      if (index >= 0) pen.circle(x(data.x[index]), y(data.y[index]), 8.5, { stroke: ring, width: 1.8 });
    }
    if (drag?.moved) {
      const [x0, y0, x1, y1] = drag.box;
      pen.rect(Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0), { fill: colour.accent, alpha: 0.14 });
      pen.rect(Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0), { stroke: colour.accent });
    }
  }

  function frame(pen, { width, tall, colour, margin }) {
    const up = y.ticks(small ? 5 : 6);
    const said = tickLabels(up, axes.y.unit);
    up.forEach((tick, i) => {
      pen.path([margin.left, y(tick), width - margin.right, y(tick)], { stroke: colour.line });
      pen.text(said[i], margin.left - 7, y(tick) + 4, { fill: colour.faint, align: "right" });
    });
    const across = x.ticks(Math.max(2, Math.floor((width - margin.left) / 90)));
    const below = tickLabels(across, axes.x.unit);
    across.forEach((tick, i) => {
      pen.path([x(tick), tall - margin.bottom, x(tick), tall - margin.bottom + 4], { stroke: colour.line2 });
      pen.text(below[i], x(tick), tall - margin.bottom + 17, { fill: colour.faint, align: "middle" });
    });
    const title = (axis) => `${axis.label}${axis.log ? " (log)" : ""}${axis.direction ? `, ${axis.direction === "max" ? "more" : "less"} is better` : ""}`;
    pen.text(title(axes.x), width - margin.right, tall - 6, { fill: colour.dim, align: "right" });
    pen.text(title(axes.y), 2, 10, { fill: colour.dim });
  }

  function staircase(pen, colour, width, tall, margin) {
    const ordered = [...data.stair].sort((a, b) => data.x[a] - data.x[b]);
    const points = [];
    // A step runs from a point towards what is worse, which is where it rules.
    for (const index of ordered) {
      const [cx, cy] = [x(data.x[index]), y(data.y[index])];
      if (points.length) {
        const before = points.at(-1);
        const corner = axes.x.direction === "max" ? [points.at(-2), cy] : [cx, before];
        points.push(...corner);
      }
      points.push(cx, cy);
    }
    const bottom = axes.y.direction === "max" ? tall - margin.bottom : margin.top;
    const left = axes.x.direction === "max" ? margin.left : width - margin.right;
    const closed =
      axes.x.direction === "max"
        ? [left, bottom, left, points[1], ...points, points.at(-2), bottom]
        : [points[0], bottom, ...points, left, points.at(-1), left, bottom];
    pen.path(closed, { fill: colour.accent, alpha: 0.07 });
    const line = axes.x.direction === "max" ? [left, points[1], ...points] : [...points, left, points.at(-1)];
    pen.path(line, { stroke: colour.accent, width: 1.4, alpha: 0.8 });
  }

  const near = (px, py) =>
    grid ? grid.nearest(px, py, (i) => Math.hypot(x(data.x[i]) - px, y(data.y[i]) - py)) : -1;

  function hover(index) {
    if (index === hovered) return;
    hovered = index;
    readout.textContent = index < 0 ? (selected < 0 ? "" : words(selected)) : words(index);
    on.hover?.(index);
    touch();
  }

  function select(index) {
    selected = index;
    readout.textContent = index < 0 ? "" : words(index);
    touch();
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    const [px, py] = placeOf(event, canvas);
    drag = { box: [px, py, px, py], moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const [px, py] = placeOf(event, canvas);
    if (!drag) return hover(near(px, py));
    drag.box[2] = px;
    drag.box[3] = py;
    drag.moved ||= on.brush && Math.hypot(px - drag.box[0], py - drag.box[1]) > DRAGGED;
    touch();
  });
  canvas.addEventListener("pointerup", (event) => {
    if (!drag) return;
    const { box, moved } = drag;
    drag = null;
    if (moved) {
      const across = [x.invert(box[0]), x.invert(box[2])].sort((a, b) => a - b);
      const up = [y.invert(box[1]), y.invert(box[3])].sort((a, b) => a - b);
      on.brush({ x: across, y: up });
    } else {
      const index = near(...placeOf(event, canvas));
      select(index);
      on.select?.(index);
    }
    touch();
  });
  canvas.addEventListener("pointercancel", () => {
    drag = null;
    touch();
  });
  canvas.addEventListener("pointerleave", () => hover(-1));
  canvas.addEventListener("dblclick", () => selected >= 0 && on.open?.(selected));
  canvas.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key in steps) {
      const next = beside(steps[event.key]);
      if (next >= 0) {
        select(next);
        on.select?.(next);
      }
    } else if (event.key === "Enter" && selected >= 0) on.open?.(selected);
    else return;
    event.preventDefault();
  });

  /** The marked point nearest in a direction from the selected one; the first one where none is selected. */
  function beside([dx, dy]) {
    const indices = data.marked.map((one) => one.index);
    if (selected < 0 || !indices.length) return indices[0] ?? -1;
    const [sx, sy] = [x(data.x[selected]), y(data.y[selected])];
    let best = -1;
    let least = Infinity;
    for (const index of indices) {
      const [ox, oy] = [x(data.x[index]) - sx, y(data.y[index]) - sy];
      const along = ox * dx + oy * dy;
      const aside = Math.abs(ox * dy) + Math.abs(oy * dx);
      if (along > 0.5 && along + 2 * aside < least) [best, least] = [index, along + 2 * aside];
    }
    return best;
  }

  return {
    ...place,
    select,
    update(next, nextAxes = axes) {
      [data, axes] = [next, nextAxes];
      if (hovered >= data.x.length) hovered = -1;
      if (selected >= data.x.length) selected = -1;
      draw();
    },
  };
}

/** One line on values: "accuracy 95.00 %, speed 4.1k training samples/s". */
export const valuesInWords = (objectives, values) =>
  objectives.map((objective, k) => `${objective.name} ${format(values[k], objective.unit)}`).join(", ");

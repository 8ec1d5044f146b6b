// Every objective on an axis of its own, a line for each genome: drag along an axis to keep what crosses it there.

import { extent, padded, scale, tickLabels } from "./scale.js";
import { placeOf, surface } from "./surface.js";

const MARGIN = { left: 70, right: 70, top: 34, bottom: 26 };
const REACH = 10;
const MOST_FAINT = 6000;

/**
 * `columns` hold the values of each of `objectives`; `dominated`, `marked` and `outside` as for `scatter`. Better is
 * always up. `brushes` is `{name: [low, high]}` and `on.brush(name, [low, high] | null)` asks for a change. Gives the
 * surface with `update({columns, dominated, marked, outside, brushes})` and `select(i)`.
 */
export function parallel(host, { name, label, height, objectives, logs, data, on = {}, words, twin, csv, menu }) {
  let axes = [];
  let [hovered, selected] = [-1, -1];
  let drag = null;
  let across = () => 0;
  const place = surface(host, {
    name, label, height, twin, csv, menu, paint, over,
    keys: "Drag along an axis to brush; click the axis to clear it.",
  });
  const { canvas, readout, draw, touch } = place;

  function paint(pen, { width, height: tall, colour }) {
    const shown = [...data.dominated, ...data.marked.map((one) => one.index)];
    const span = [tall - MARGIN.bottom, MARGIN.top];
    axes = objectives.map((objective, k) => {
      const log = logs[k];
      const range = padded(extent(Float64Array.from(shown, (i) => data.columns[k][i]), { log }), { log });
      return scale(range, objective.direction === "max" ? span : [span[1], span[0]], log, objective.unit);
    });
    across = (k) => MARGIN.left + (k / Math.max(1, objectives.length - 1)) * (width - MARGIN.left - MARGIN.right);
    // Beyond some thousands lines only darken one another: an even sample shows the same, and the note says so.
    const every = Math.max(1, Math.ceil(data.dominated.length / MOST_FAINT));
    for (let i = 0; i < data.dominated.length; i += every) {
      const index = data.dominated[i];
      if (!data.outside(index)) pen.path(through(index), { stroke: colour.faint, alpha: every > 1 ? 0.06 : 0.22 });
    }
    for (const one of data.marked) {
      const out = data.outside(one.index);
      const [stroke, dash] = { provisional: [colour.warn, [6, 4]], refused: [colour.bad, [2, 3]], baseline: [colour.info, [8, 3, 2, 3]] }[one.kind] ?? [colour.accent, null];
      pen.path(through(one.index), { stroke: out ? colour.line2 : stroke, alpha: out ? 0.3 : 0.9, width: out ? 1 : 1.5, dash });
    }
    objectives.forEach((objective, k) => axisAt(pen, objective, k, colour, width, tall));
    if (every > 1) pen.text(`one in ${every} genomes beside the front drawn`, width - 4, tall - 5, { fill: colour.faint, align: "right" });
  }

  const through = (index) => axes.flatMap((axis, k) => [across(k), axis(data.columns[k][index])]);

  function over(pen, { colour }) {
    for (const index of [hovered, selected]) if (index >= 0) pen.path(through(index), { stroke: colour.text, width: 2.4 });
    if (!drag?.range) return;
    const [a, b] = drag.range.map((value) => axes[drag.axis](value)).sort((p, q) => p - q);
    pen.rect(across(drag.axis) - 8, a, 16, Math.max(2, b - a), { fill: colour.accent, alpha: 0.25 });
  }

  function axisAt(pen, objective, k, colour, width, tall) {
    const x = across(k);
    const align = k === 0 ? "start" : k === objectives.length - 1 ? "right" : "middle";
    const edge = k === 0 ? 4 : k === objectives.length - 1 ? width - 4 : x;
    pen.path([x, MARGIN.top, x, tall - MARGIN.bottom], { stroke: colour.line2, width: 1.4 });
    pen.text(`${objective.name}${logs[k] ? " (log)" : ""}`, edge, 14, { fill: colour.text, align, weight: 600 });
    pen.text("better is up", edge, 27, { fill: colour.faint, align, size: 10 });
    const ticks = axes[k].ticks(5);
    const labels = tickLabels(ticks, objective.unit);
    for (const [i, tick] of ticks.entries()) {
      const left = k < objectives.length - 1 || objectives.length === 1;
      pen.path([x - 3, axes[k](tick), x + 3, axes[k](tick)], { stroke: colour.line2 });
      pen.text(labels[i], left ? x - 7 : x + 7, axes[k](tick) + 4, { fill: colour.dim, align: left ? "right" : "start" });
    }
    const brush = data.brushes[objective.name];
    if (brush) {
      const [a, b] = [axes[k](brush[0]), axes[k](brush[1])].sort((p, q) => p - q);
      pen.rect(x - 8, a, 16, Math.max(2, b - a), { fill: colour.accent, alpha: 0.25 });
      pen.rect(x - 8, a, 16, Math.max(2, b - a), { stroke: colour.accent });
    }
  }

  const axisNear = (px) => objectives.findIndex((_, k) => Math.abs(across(k) - px) <= 14);

  function near(px, py) {
    let best = -1;
    let least = REACH;
    const k = Math.max(0, Math.min(objectives.length - 2, objectives.findIndex((_, i) => px < across(i)) - 1));
    const share = (px - across(k)) / (across(k + 1) - across(k) || 1);
    for (const { index } of data.marked) {
      const [a, b] = [axes[k](data.columns[k][index]), axes[k + 1]?.(data.columns[k + 1][index]) ?? 0];
      const away = Math.abs(a + (b - a) * share - py);
      if (away <= least) [best, least] = [index, away];
    }
    return best;
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    const [px, py] = placeOf(event, canvas);
    const axis = axisNear(px);
    if (axis >= 0) {
      drag = { axis, from: py, range: null };
      canvas.setPointerCapture(event.pointerId);
    }
  });
  canvas.addEventListener("pointermove", (event) => {
    const [px, py] = placeOf(event, canvas);
    if (drag) {
      const pair = [axes[drag.axis].invert(drag.from), axes[drag.axis].invert(py)];
      drag.range = pair.sort((a, b) => a - b);
      return touch();
    }
    const index = objectives.length > 1 ? near(px, py) : -1;
    if (index === hovered) return;
    hovered = index;
    readout.textContent = index < 0 ? (selected < 0 ? "" : words(selected)) : words(index);
    on.hover?.(index);
    touch();
  });
  canvas.addEventListener("pointerup", (event) => {
    if (drag) {
      const { axis, from, range } = drag;
      drag = null;
      const moved = range && Math.abs(placeOf(event, canvas)[1] - from) > 4;
      on.brush?.(objectives[axis].name, moved ? range : null);
    } else if (hovered >= 0) {
      select(hovered);
      on.select?.(hovered);
    }
    touch();
  });
  canvas.addEventListener("pointercancel", () => {
    drag = null;
    touch();
  });
  canvas.addEventListener("dblclick", () => selected >= 0 && on.open?.(selected));

  function select(index) {
    selected = index;
    readout.textContent = index < 0 ? "" : words(index);
    touch();
  }

  return {
    ...place,
    select,
    update(next, nextLogs = logs) {
      [data, logs] = [next, nextLogs];
      draw();
    },
  };
}

// Lines over a common axis: uPlot on the screen, the pen for an SVG file; a legend, a read-out and a table beside it.

import uPlot from "../../vendor/uplot/uPlot.esm.min.js";
import { fill, h } from "../dom.js";
import { copyMenu } from "./copy.js";
import { SvgPen } from "./pen.js";
import { extent, format, padded, scale, tickLabels } from "./scale.js";
import { plainTable } from "./surface.js";
import { colours, onTheme, seriesColour } from "./theme.js";

const DASHES = [null, [6, 4], [2, 3], [10, 3, 2, 3]];
const MARGIN = { left: 62, right: 14, top: 14, bottom: 34 };

/** The n-th look: a colour, and a dash once the colours are used up, so that lines differ in more than colour. */
const look = (series, index, colour) => ({
  stroke: series.colour ? colour[series.colour] : seriesColour(colour, index),
  dash: series.dash ?? DASHES[Math.floor(index / 7) % DASHES.length] ?? null,
  width: series.width ?? 2,
});

/** Values of all series at every x that any of them has; null where one has none. */
function aligned(series) {
  const xs = [...new Set(series.flatMap((one) => [...one.x]))].sort((a, b) => a - b);
  const place = new Map(xs.map((x, i) => [x, i]));
  const columns = series.map((one) => {
    const column = new Array(xs.length).fill(null);
    one.x.forEach((x, i) => {
      if (Number.isFinite(one.y[i])) column[place.get(x)] = one.y[i];
    });
    return column;
  });
  return [xs, ...columns];
}

/**
 * Lines in `host`. `series` are `{label, x, y, colour?, dash?, width?, stepped?, points?, low?, high?}` (a band where low
 * and high are given), `x` and `y` are `{label, unit, log, range?}`, `shades` are `{from, to, label}` along x. `words(x)`
 * may replace the read-out. Gives `{element, update(next), cursor(index), cursorAt(x), end}`.
 */
export function line(host, options) {
  let { series, x, y, height = 180, name, label, shades = [], menu = null, words = null, legend = true } = options;
  const readout = h("p", { className: "readout", "aria-live": "polite" });
  const table = h("div", { className: "twin" });
  const details = h(
    "details",
    { className: "as-table", ontoggle: () => details.open && fill(table, plainTable(...twin(true), { caption: label })) },
    h("summary", null, "As a table"),
    table,
  );
  const key = h("div", { className: "legend" });
  const view = h("div", { className: "plot", role: "img", "aria-label": `${label}. Left and right read out the values.`, tabindex: 0 });
  const element = h("div", { className: "chart" }, key, view, readout, details);
  fill(host, element);
  let plot = null;
  let data = aligned(series);
  let at = -1;

  const twin = (spoken) => {
    const header = [x.label, ...series.map((one) => one.label)];
    const say = (value, axis) => (value === null ? "" : spoken ? format(value, axis.unit, 4) : value);
    return [header, data[0].map((value, i) => [say(value, x), ...series.map((_, k) => say(data[k + 1][i], y))])];
  };

  function ranges() {
    const all = series.flatMap((one) => [...one.y, ...(one.low ?? []), ...(one.high ?? [])]);
    const across = x.range ?? extent(data[0], x);
    return [across[0] === across[1] ? padded(across, x) : across, y.range ?? padded(extent(all, y), { log: y.log, share: 0.06 })];
  }

  /** Ticks of the x axis; whole numbers alone where only these mean something. */
  function ticksAcross(low, high, width) {
    if (x.ticks) return x.ticks;
    const found = scale([low, high], [0, 1], x.log, x.unit).ticks(Math.max(2, Math.floor(width / 80)));
    return x.whole ? found.filter(Number.isInteger) : found;
  }

  function build() {
    const colour = colours();
    plot?.destroy();
    const width = view.clientWidth;
    if (!width) {
      plot = null;
      return;
    }
    const [across, up] = ranges();
    const axis = (one, size) => ({
      stroke: colour.faint,
      font: `11px ${colour.font}`,
      grid: { stroke: colour.line, width: 1 },
      ticks: { stroke: colour.line2, width: 1, size: 4 },
      border: { show: false },
      size,
      gap: 4,
      values: (_, ticks) => tickLabels(ticks, one.unit),
      // uPlot drops most ticks of a log axis; those here are chosen already.
      filter: (_, ticks) => ticks,
    });
    plot = new uPlot(
      {
        width,
        height,
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
        scales: {
          x: { time: false, range: across, distr: x.log ? 3 : 1, log: x.log ? (x.base ?? 10) : 10 },
          y: { range: up, distr: y.log ? 3 : 1 },
        },
        axes: [
          { ...axis(x, 28), splits: (_, __, low, high) => ticksAcross(low, high, width) },
          { ...axis(y, 58), splits: (_, __, low, high) => scale([low, high], [0, 1], y.log, y.unit).ticks(Math.max(2, Math.min(5, Math.round(height / 32)))) },
        ],
        series: [
          {},
          ...series.map((one, index) => {
            const { stroke, dash, width: thick } = look(one, index, colour);
            return {
              label: one.label,
              stroke,
              width: thick,
              dash: dash ?? undefined,
              spanGaps: true,
              paths: one.stepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
              points: { show: Boolean(one.points) || one.x.length < 2, size: 5, fill: stroke, stroke },
            };
          }),
        ],
        hooks: { drawClear: [(u) => shade(u, colour)], setCursor: [(u) => tell(u.cursor.idx)] },
      },
      data,
      view,
    );
    fill(
      key,
      legend && series.map((one, index) => {
        const { stroke, dash } = look(one, index, colour);
        return h("span", null, h("i", { className: "ln", style: { background: dash ? `repeating-linear-gradient(90deg, ${stroke} 0 4px, transparent 4px 7px)` : stroke } }), one.label);
      }),
    );
  }

  function shade(u, colour) {
    const context = u.ctx;
    context.save();
    const ratio = window.devicePixelRatio || 1;
    for (const [index, one] of shades.entries()) {
      const [from, to] = [u.valToPos(one.from, "x", true), u.valToPos(one.to, "x", true)];
      context.globalAlpha = index % 2 ? 0.1 : 0;
      context.fillStyle = colour.c3;
      context.fillRect(from, u.bbox.top, to - from, u.bbox.height);
      context.globalAlpha = 1;
      context.fillStyle = colour.dim;
      context.font = `${11 * ratio}px ${colour.font}`;
      context.textAlign = "center";
      context.fillText(one.label, (from + to) / 2, u.bbox.top + 12 * ratio);
    }
    series.forEach((one, index) => {
      if (!one.low || !one.high) return;
      context.globalAlpha = 0.14;
      context.fillStyle = look(one, index, colour).stroke;
      context.beginPath();
      one.x.forEach((value, i) => context[i ? "lineTo" : "moveTo"](u.valToPos(value, "x", true), u.valToPos(one.high[i], "y", true)));
      for (let i = one.x.length - 1; i >= 0; i--) context.lineTo(u.valToPos(one.x[i], "x", true), u.valToPos(one.low[i], "y", true));
      context.fill();
    });
    context.restore();
  }

  function tell(index) {
    if (index === null || index === undefined || index < 0 || index >= data[0].length) return;
    at = index;
    const value = data[0][index];
    readout.textContent = words
      ? words(value, index)
      : [`${x.label} ${format(value, x.unit, 4)}`, ...series.map((one, k) => (data[k + 1][index] === null ? null : `${one.label} ${format(data[k + 1][index], y.unit, 4)}`))]
          .filter(Boolean)
          .join(", ");
  }

  function cursor(index) {
    if (!plot || !data[0].length) return;
    const place = Math.max(0, Math.min(data[0].length - 1, index));
    plot.setCursor({ left: plot.valToPos(data[0][place], "x"), top: plot.over.clientHeight / 2 });
    tell(place);
  }

  /** Put the cursor at a value of the x axis that has one. */
  const cursorAt = (value) => {
    const place = data[0].indexOf(value);
    if (place >= 0) cursor(place);
  };

  function asSvg() {
    const colour = colours();
    const width = view.clientWidth || 640;
    const pen = new SvgPen(width, height, colour.font, colour.panel);
    const [across, up] = ranges();
    const px = scale(across, [MARGIN.left, width - MARGIN.right], x.log);
    const py = scale(up, [height - MARGIN.bottom, MARGIN.top], y.log, y.unit);
    for (const [index, one] of shades.entries()) {
      if (index % 2) pen.rect(px(one.from), MARGIN.top, px(one.to) - px(one.from), height - MARGIN.top - MARGIN.bottom, { fill: colour.c3, alpha: 0.1 });
      pen.text(one.label, (px(one.from) + px(one.to)) / 2, MARGIN.top + 10, { fill: colour.dim, align: "middle" });
    }
    const rows = py.ticks(5);
    const said = tickLabels(rows, y.unit);
    for (const [i, tick] of rows.entries()) {
      pen.path([MARGIN.left, py(tick), width - MARGIN.right, py(tick)], { stroke: colour.line });
      pen.text(said[i], MARGIN.left - 6, py(tick) + 4, { fill: colour.faint, align: "right" });
    }
    const below = ticksAcross(...across, width);
    const named = tickLabels(below, x.unit);
    for (const [i, tick] of below.entries()) pen.text(named[i], px(tick), height - MARGIN.bottom + 16, { fill: colour.faint, align: "middle" });
    pen.text(x.label, width - MARGIN.right, height - 4, { fill: colour.dim, align: "right" });
    series.forEach((one, index) => {
      const { stroke, dash, width: thick } = look(one, index, colour);
      const points = [];
      one.x.forEach((value, i) => {
        if (!Number.isFinite(one.y[i]) || (y.log && one.y[i] <= 0)) return;
        if (one.stepped && points.length) points.push(px(value), points.at(-1));
        points.push(px(value), py(one.y[i]));
      });
      pen.path(points, { stroke, width: thick, dash });
      if (points.length) pen.text(one.label, points.at(-2) - 4, points.at(-1) - 6, { fill: stroke, align: "right" });
    });
    return pen.document();
  }

  const asCanvas = () => {
    const from = view.querySelector("canvas");
    const copy = document.createElement("canvas");
    [copy.width, copy.height] = [from.width, from.height];
    const context = copy.getContext("2d");
    context.fillStyle = colours().panel;
    context.fillRect(0, 0, copy.width, copy.height);
    context.drawImage(from, 0, 0);
    return copy;
  };

  view.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    cursor(at < 0 ? (step > 0 ? 0 : data[0].length - 1) : at + step);
    event.preventDefault();
  });
  menu?.replaceChildren(copyMenu({ name, csv: () => twin(false), svg: asSvg, canvas: asCanvas }));
  let known = 0;
  const resized = new ResizeObserver(() => {
    if (view.clientWidth === known) return;
    known = view.clientWidth;
    if (plot && known) plot.setSize({ width: known, height });
    else build();
  });
  resized.observe(view);
  const undo = onTheme(build);
  build();
  return {
    element,
    cursor,
    cursorAt,
    update(next) {
      ({ series, x = x, y = y, shades = shades } = { x, y, shades, ...next });
      data = aligned(series);
      build();
      if (details.open) fill(table, plainTable(...twin(true), { caption: label }));
    },
    end() {
      undo();
      resized.disconnect();
      plot?.destroy();
      element.remove();
    },
  };
}

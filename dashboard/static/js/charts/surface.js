// A canvas that keeps its size, sharpness and colours, with a read-out, a table twin and the copy menu.

import { fill, h } from "../dom.js";
import { copyMenu } from "./copy.js";
import { CanvasPen, SvgPen } from "./pen.js";
import { colours, onTheme } from "./theme.js";

/** A table of plain cells; numbers stand right. */
export function plainTable(header, rows, { caption = "" } = {}) {
  const number = header.map((_, i) => rows.length > 0 && rows.every((row) => /^[−\d.,\s∞–]|^$/.test(String(row[i] ?? ""))));
  return h(
    "table",
    null,
    caption && h("caption", { className: "sr" }, caption),
    h("thead", null, h("tr", null, header.map((name, i) => h("th", { scope: "col", className: number[i] ? "num" : null }, name)))),
    h("tbody", null, rows.map((row) => h("tr", null, row.map((value, i) => h("td", { className: number[i] ? "num" : null }, String(value ?? "")))))),
  );
}

/**
 * A place to draw in `host`. `paint(pen, {width, height, colour})` draws what lasts and `over`, if given, what follows the
 * pointer; `touch()` draws only the latter again, so that a hundred thousand points are not. `twin()` gives `[header, rows]` in words and
 * `csv()` in numbers. `height` is in CSS pixels, or a function of the width. Gives `{element, canvas, readout, draw, size,
 * touch, end}`; `draw` and `touch` wait for the next frame.
 */
export function surface(host, { name, label, height, paint, over = null, twin, csv = twin, keys = "", menu = null }) {
  const canvas = h("canvas", { tabindex: 0, role: "img", "aria-label": keys ? `${label}. ${keys}` : label });
  const readout = h("p", { className: "readout", "aria-live": "polite" });
  const table = h("div", { className: "twin" });
  const details = h(
    "details",
    { className: "as-table", ontoggle: () => details.open && fill(table, plainTable(...twin(), { caption: label })) },
    h("summary", null, "As a table"),
    table,
  );
  const view = h("div", { className: "canvas" }, canvas);
  const element = h("div", { className: "chart" }, view, readout, details);
  fill(host, element);
  let size = { width: 0, height: 0 };
  let frame = 0;
  let stale = true;
  const base = document.createElement("canvas");

  function drawNow() {
    frame = 0;
    const width = view.clientWidth;
    if (!width) return;
    const whole = stale || width !== size.width;
    stale = false;
    size = { width, height: typeof height === "function" ? height(width) : height };
    const ratio = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(size.height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(size.height * ratio);
      canvas.style.height = `${size.height}px`;
    }
    const colour = colours();
    const pen = (target) => {
      const context = target.getContext("2d");
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      return new CanvasPen(context, colour.font);
    };
    if (whole) {
      [base.width, base.height] = [canvas.width, canvas.height];
      paint(pen(base), { ...size, colour });
    }
    const context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.drawImage(base, 0, 0);
    over?.(pen(canvas), { ...size, colour });
    if (whole && details.open) fill(table, plainTable(...twin(), { caption: label }));
  }

  const touch = () => {
    frame ||= requestAnimationFrame(drawNow);
  };
  const draw = () => {
    stale = true;
    touch();
  };
  const asSvg = () => {
    const colour = colours();
    const pen = new SvgPen(size.width, size.height, colour.font, colour.panel);
    paint(pen, { ...size, colour });
    over?.(pen, { ...size, colour });
    return pen.document();
  };
  const onPanel = () => {
    const copy = document.createElement("canvas");
    [copy.width, copy.height] = [canvas.width, canvas.height];
    const context = copy.getContext("2d");
    context.fillStyle = colours().panel;
    context.fillRect(0, 0, copy.width, copy.height);
    context.drawImage(canvas, 0, 0);
    return copy;
  };
  menu?.replaceChildren(copyMenu({ name, csv, svg: asSvg, canvas: onPanel }));
  const resized = new ResizeObserver(draw);
  resized.observe(view);
  const undo = onTheme(draw);
  const end = () => {
    undo();
    resized.disconnect();
    cancelAnimationFrame(frame);
    element.remove();
  };
  draw();
  return { element, canvas, readout, draw, touch, end, size: () => size };
}

/** Where a pointer is within an element, in CSS pixels. */
export function placeOf(event, element) {
  const box = element.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

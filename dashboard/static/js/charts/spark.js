// A line the size of a word, for the eye alone: the number stands beside it.

import { svg } from "../dom.js";

const [WIDTH, HEIGHT] = [84, 30];

/** A sparkline of values in order, in a colour of the theme by its variable ("--accent"); nothing below two values. */
export function spark(values, variable) {
  const known = values.filter(Number.isFinite);
  const empty = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true", class: "spark" });
  if (known.length < 2) return empty;
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const points = known.map((value, i) => [1 + (i / (known.length - 1)) * (WIDTH - 2), 27 - ((value - low) / (high - low || 1)) * 24]);
  const path = points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
  const area = svg("path", { d: `${path}L${WIDTH - 1} ${HEIGHT}L1 ${HEIGHT}Z`, opacity: 0.12 });
  const stroke = svg("path", { d: path, fill: "none", "stroke-width": 1.6, "stroke-linejoin": "round" });
  area.style.fill = `var(${variable})`;
  stroke.style.stroke = `var(${variable})`;
  empty.append(area, stroke);
  return empty;
}

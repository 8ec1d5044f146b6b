// Founder shares as stacked streams over time (a Muller plot), and the steps of objectives along one line.

import { founderNumbers, founderOrder } from "./model.js";

/** Share of each founder among the births of each of `bins` spans of time: `{order, shares: [Float32Array], bins}`. */
export function founderShares(model, bins, most = 6) {
  const order = founderOrder(model, most);
  const number = founderNumbers(model, order, order.length);
  const shares = Array.from({ length: order.length + 1 }, () => new Float32Array(bins));
  const total = new Float32Array(bins);
  const { birth0, birth1 } = model.world;
  for (let i = 0; i < model.n; i++) {
    const bin = Math.min(bins - 1, Math.floor(((model.birth[i] - birth0) / Math.max(1, birth1 - birth0)) * bins));
    shares[number[i]][bin]++;
    total[bin]++;
  }
  for (const share of shares) for (let b = 0; b < bins; b++) share[b] = total[b] ? share[b] / total[b] : 0;
  return { order, shares, bins };
}

/** Paint shares into a box of a context; `paints` has a colour for each founder of the order and one for the others. */
export function paintStreams(context, box, { shares, bins }, paints) {
  const base = new Float32Array(bins);
  const x = (b) => box.x + (b / Math.max(1, bins - 1)) * box.w;
  shares.forEach((share, k) => {
    context.fillStyle = paints[k];
    context.globalAlpha = 0.8;
    context.beginPath();
    for (let b = 0; b < bins; b++) context.lineTo(x(b), box.y + box.h * (1 - base[b]));
    for (let b = bins - 1; b >= 0; b--) {
      base[b] += share[b];
      context.lineTo(x(b), box.y + box.h * (1 - base[b]));
    }
    context.fill();
  });
  context.globalAlpha = 1;
}

/** Paint one objective along a line: `steps` [{x, value}] from the oldest on, in a box, on its own scale. */
export function paintStrip(context, box, steps, { log, colour, theme, label, text }) {
  const known = steps.filter(({ value }) => Number.isFinite(value) && (!log || value > 0));
  context.font = `11px ${theme.font}`;
  context.textAlign = "left";
  context.fillStyle = theme.dim;
  context.fillText(label, box.x, box.y + 10);
  if (!known.length) return;
  const scale = log ? Math.log : (value) => value;
  const values = known.map(({ value }) => scale(value));
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const y = (value) => box.y + 16 + (box.h - 20) * (1 - (scale(value) - least) / (most - least || 1));
  context.strokeStyle = colour;
  context.lineWidth = 1.6;
  context.beginPath();
  known.forEach(({ x, value }, k) => {
    if (k) context.lineTo(x, y(known[k - 1].value));
    context.lineTo(x, y(value));
  });
  context.lineTo(box.x + box.w, y(known.at(-1).value));
  context.stroke();
  for (const { x, value } of known.length <= 60 ? known : []) {
    context.fillStyle = colour;
    context.fillRect(x - 1.5, y(value) - 1.5, 3, 3);
  }
  context.textAlign = "right";
  context.fillStyle = theme.text;
  context.fillText(text(known.at(-1).value), box.x + box.w, box.y + 10);
}

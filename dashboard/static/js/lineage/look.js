// Colours of a lineage: of the theme, by fitness, operator or founder, with the legend that says so.

import { founderNumbers, founderOrder, operatorName } from "./model.js";

const SERIES = 7;
const SHADES = 6;

/**
 * How births are coloured: `bucket` has a number for each birth, `paints` a colour and an opacity for each number,
 * `legend` what each number means. `by` is "fitness", "operator" or "founder".
 */
export function colouring(model, by, theme, text) {
  if (by === "operator") return byOperator(model, theme);
  if (by === "founder") return byFounder(model, theme);
  return byFitness(model, theme, text);
}

function byFitness(model, theme, text) {
  const { n, fitness, least, most } = model;
  const bucket = new Uint8Array(n);
  const up = model.told.objectives[0]?.direction !== "min";
  const log = model.told.objectives[0]?.scale === "log" && least > 0;
  const scale = log ? Math.log : (value) => value;
  const from = scale(least);
  const span = scale(most) - from || 1;
  for (let i = 0; i < n; i++) {
    if (Number.isNaN(fitness[i])) continue;
    const part = (scale(fitness[i]) - from) / span;
    bucket[i] = 1 + Math.min(SHADES - 1, Math.floor((up ? part : 1 - part) * SHADES));
  }
  const paints = [{ colour: theme.faint, alpha: 0.6 }];
  const legend = [{ label: "no score", bucket: 0 }];
  const name = model.told.objectives[0]?.name ?? "fitness";
  for (let i = 0; i < SHADES; i++) {
    paints.push({ colour: theme.series[i < 2 ? 1 : i < 4 ? 6 : 2], alpha: [0.55, 1, 0.75, 1, 0.8, 1][i] });
    const part = up ? i / SHADES : 1 - (i + 1) / SHADES;
    const [low, high] = [part, part + 1 / SHADES].map((p) => (log ? Math.exp(from + p * span) : from + p * span));
    if (Number.isFinite(low)) legend.push({ label: `${text(low)} to ${text(high)}`, bucket: i + 1, title: name });
  }
  return { bucket, paints, legend };
}

function byOperator(model, theme) {
  const names = [];
  const numbers = model.told.operators.map((operator) => {
    const name = operatorName(operator);
    if (!names.includes(name)) names.push(name);
    return Math.min(names.indexOf(name), SERIES - 1);
  });
  const bucket = new Uint8Array(model.n);
  for (let i = 0; i < model.n; i++) bucket[i] = numbers[model.operator[i]];
  return {
    bucket,
    paints: theme.series.map((colour) => ({ colour, alpha: 0.95 })),
    legend: names.slice(0, SERIES).map((label, i) => ({ label: i === SERIES - 1 ? "others" : label, bucket: i })),
  };
}

function byFounder(model, theme, most = SERIES - 1) {
  const order = founderOrder(model, most);
  const bucket = founderNumbers(model, order, most);
  const paints = theme.series.slice(0, most).map((colour) => ({ colour, alpha: 0.95 }));
  paints.push({ colour: theme.faint, alpha: 0.75 });
  const legend = order.map((founder, i) => ({ label: `birth ${model.birth[founder]}`, bucket: i, founder }));
  return { bucket, paints, legend: [...legend, { label: "other founders", bucket: most }] };
}

// Positions, ticks and words for numbers. Pure.

const SI = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
const BYTES = [[2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]];
const MINUS = "−";

const trimmed = (value, digits = 3) => String(Number(value.toPrecision(digits)));

/** A number in a few digits: shares as percent, bytes in powers of 1024, others with a letter for thousands. */
export function format(value, unit = "", digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : `${MINUS}∞`;
  const size = Math.abs(value);
  const sign = value < 0 ? MINUS : "";
  if (unit.startsWith("share")) return `${sign}${(100 * size).toFixed(Math.max(0, digits - 1))} %`;
  const steps = unit === "bytes" ? BYTES : SI;
  for (const [step, letter] of steps) {
    if (size >= step * 0.9995) return `${sign}${trimmed(size / step, digits)}${unit === "bytes" ? " " : ""}${letter}`;
  }
  if (unit === "bytes") return `${sign}${Math.round(size)} B`;
  if (size !== 0 && size < 1e-3) return sign + size.toExponential(Math.max(0, digits - 1)).replace(/\.?0+e/, "e").replace("-", MINUS);
  return sign + trimmed(size, digits);
}

const tickText = (value, unit, digits) =>
  unit.startsWith("share") ? `${String(Number((100 * value).toPrecision(digits + 1))).replace("-", MINUS)} %` : format(value, unit, digits);

/** Labels of ticks: as `format`, with as many digits as it takes to tell them apart and none that say nothing. */
export function tickLabels(ticks, unit) {
  for (let digits = 3; digits < 9; digits++) {
    const labels = ticks.map((tick) => tickText(tick, unit, digits));
    if (new Set(labels).size === labels.length) return labels;
  }
  return ticks.map((tick) => tickText(tick, unit, 9));
}

/** Smallest and largest finite value (positive ones alone on a log scale); `[0, 1]` where there is none. */
export function extent(values, { log = false, keep = null } = {}) {
  let low = Infinity;
  let high = -Infinity;
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if ((keep && !keep(i)) || !Number.isFinite(value) || (log && value <= 0)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low > high ? (log ? [1, 10] : [0, 1]) : [low, high];
}

/** The extent with room around it, so that no mark sits on the edge. */
export function padded([low, high], { log = false, share = 0.05 } = {}) {
  if (log) {
    const factor = high > low ? (high / low) ** share : 1.5;
    return [low / factor, high * factor];
  }
  const room = high > low ? (high - low) * share : Math.abs(high) * share || 0.5;
  return [low - room, high + room];
}

/** A map from values in `[low, high]` to pixels, with `invert` and `ticks(count)`; bytes get ticks at round KiB or MiB. */
export function scale([low, high], [from, to], log = false, unit = "") {
  const bend = log ? Math.log : (x) => x;
  const back = log ? Math.exp : (x) => x;
  const start = bend(low);
  const width = bend(high) - start || 1;
  const at = (value) => from + ((bend(value) - start) / width) * (to - from);
  at.invert = (pixel) => back(start + ((pixel - from) / (to - from)) * width);
  at.ticks = (count) => (log ? logTicks(low, high, count, unit) : linearTicks(low, high, count, unit));
  at.range = [low, high];
  at.log = log;
  return at;
}

function linearTicks(low, high, count, unit = "") {
  const part = unit === "bytes" ? (BYTES.find(([step]) => high >= step)?.[0] ?? 1) : 1;
  if (part > 1) return linearTicks(low / part, high / part, count).map((tick) => tick * part);
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 2.5, 5, 10].find((m) => m * power >= rough) ?? 10);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(Number((i * step).toPrecision(12)));
  return found;
}

function logTicks(low, high, count, unit = "") {
  const decades = Math.log10(high / low);
  if (decades < 0.6) return linearTicks(low, high, count, unit);
  if (unit === "bytes") {
    const step = Math.max(1, Math.ceil(Math.log2(high / low) / count));
    const first = Math.ceil(Math.log2(low) / step) * step;
    return Array.from({ length: count + 1 }, (_, i) => 2 ** (first + i * step)).filter((tick) => tick <= high);
  }
  const parts = decades > count ? [1] : decades > count / 3 ? [1, 3] : [1, 2, 5];
  const every = Math.max(1, Math.ceil(decades / count));
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    if (power % every) continue;
    for (const part of parts) {
      const tick = part * 10 ** power;
      if (tick >= low * 0.9999 && tick <= high * 1.0001) found.push(tick);
    }
  }
  return found;
}

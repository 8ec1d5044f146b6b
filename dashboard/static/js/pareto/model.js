// The answer of `/api/pareto` and what is chosen in the address, made into what charts and the table show. Pure.

import { asCosts, leavings, stairs } from "../charts/front.js";
import { valuesInWords } from "../charts/scatter.js";

/** The rows of one run: columns, standing by row, names. `values[k][row]` are means over fresh seeds where there are any. */
export class Model {
  constructor(answer) {
    this.answer = answer;
    this.objectives = answer.objectives;
    this.rows = answer.rows;
    this.selected = this.objectives.map((_, k) => answer.columns[`v${k}`]);
    this.values = this.selected.map((column) => column.slice());
    for (const [row, scored] of Object.entries(answer.scored)) {
      scored.means.forEach((mean, k) => (this.values[k][row] = mean));
    }
    this.kind = answer.columns.kind;
    this.own = this.rows - answer.claims.length;
    this.names = new Map(answer.names.map((one) => [one.evaluation, one]));
    this.candidates = Array.from({ length: this.own }, (_, row) => row).filter((row) => this.kindOf(row) !== "baseline");
    this.left = null;
  }

  kindOf(row) {
    return this.answer.kinds[this.kind[row]];
  }

  claimOf(row) {
    return row >= this.own ? this.answer.claims[row - this.own] : null;
  }

  /** `{genome, summary}` of a row, or null where it has to be asked for. */
  nameOf(row) {
    const claim = this.claimOf(row);
    if (claim) return { genome: claim.genome, summary: `claimed by ..${claim.peer.slice(-8)}` };
    return this.names.get(this.answer.columns.evaluation[row]) ?? null;
  }

  scoredOf(row) {
    return this.answer.scored[row] ?? null;
  }

  valuesOf(row) {
    return this.values.map((column) => column[row]);
  }

  /** Rows that stood on the front, by the values selected by, after so many evaluations. */
  frontAt(tried) {
    this.left ??= leavings(asCosts(this.selected, this.objectives), this.candidates);
    const order = this.answer.columns.order;
    let low = 0;
    let high = this.candidates.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (order[this.candidates[middle]] <= tried) low = middle + 1;
      else high = middle;
    }
    return { front: this.candidates.filter((_, place) => place < low && this.left[place] >= low), seen: low };
  }

  /**
   * What is drawn: `{dominated, marked, counts}` for what is `chosen`: `{at, dominated, baselines, claims}`. After fewer
   * evaluations than there are, the front is that of the values selected by, and claims of peers are left out.
   */
  shown(chosen) {
    const now = !chosen.at || chosen.at >= this.answer.tried;
    const order = this.answer.columns.order;
    const past = now ? null : new Set(this.frontAt(chosen.at).front);
    const groups = { dominated: [], front: [], baseline: [], provisional: [], refused: [] };
    for (let row = 0; row < this.rows; row++) {
      if (!now && (row >= this.own || order[row] > chosen.at)) continue;
      const kind = this.kindOf(row);
      groups[now || kind === "baseline" ? kind : past.has(row) ? "front" : "dominated"].push(row);
    }
    const counts = Object.fromEntries(Object.entries(groups).map(([kind, rows]) => [kind, rows.length]));
    const kinds = [...(chosen.claims ? ["refused", "provisional"] : []), ...(chosen.baselines ? ["baseline"] : []), "front"];
    const knee = now ? this.answer.knee : null;
    const marked = kinds.flatMap((kind) => groups[kind].map((index) => ({ index, kind, note: index === knee ? "knee" : null })));
    return { dominated: chosen.dominated ? groups.dominated : [], marked, counts, now, front: groups.front };
  }

  /** The staircase of front rows in two axes. */
  stair(front, first, second) {
    const cost = (k) => {
      const up = this.objectives[k].direction === "max";
      return up ? this.values[k].map((v) => -v) : this.values[k];
    };
    return first === second ? [] : stairs(cost(first), cost(second), front);
  }

  /** A row in words, for the read-out. */
  words(row) {
    const name = this.nameOf(row);
    const scored = this.scoredOf(row);
    const fresh = scored?.n ? `, mean of ${scored.n} fresh seeds` : "";
    const kind = this.kindOf(row) === "dominated" ? "not on the front" : this.kindOf(row);
    const about = name ? `${name.genome.slice(0, 12)}, ${kind}: ` : `${kind}: `;
    return `${about}${valuesInWords(this.objectives, this.valuesOf(row))}${fresh}${name?.summary ? `; ${name.summary}` : ""}`;
  }
}

/** Brushes as the address writes them: "accuracy:0.9:0.95,speed:100:1e4". What is no such thing is passed over. */
export function readBrushes(text, names) {
  const found = {};
  for (const part of (text ?? "").split(",")) {
    const [name, low, high] = part.split(":");
    if (names.includes(name) && Number.isFinite(Number(low)) && Number.isFinite(Number(high)) && low !== "" && high !== "") {
      found[name] = [Number(low), Number(high)];
    }
  }
  return found;
}

export const writeBrushes = (brushes) =>
  Object.entries(brushes)
    .map(([name, [low, high]]) => `${name}:${Number(low.toPrecision(6))}:${Number(high.toPrecision(6))}`)
    .join(",");

/** Whether brushes leave a row out. */
export function outsideOf(model, brushes) {
  const tests = Object.entries(brushes).map(([name, [low, high]]) => [model.values[model.objectives.findIndex((one) => one.name === name)], low, high]);
  if (!tests.length) return () => false;
  return (row) => tests.some(([column, low, high]) => !(column[row] >= low && column[row] <= high));
}

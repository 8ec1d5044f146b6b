// A lineage in memory: columns as they came, and what follows from them in one pass each way. No page, no canvas.

/** The bit of a standing that says that the genome is on the front. */
export const LIVING = 8;

/** Names of operators without their versions, `preset/...` as one. */
export const operatorName = (text) => (text.startsWith("preset/") ? "preset" : text.split("/")[0]);

/**
 * The model of columns p1, p2, birth, y, fitness, operator, standing and of what came beside them.
 *
 * `kept` are the living and their ancestors by first parents; every other birth belongs to the clade of `clade[i]`, the
 * oldest extinct birth above it (-1 for the kept). Of a clade's root, `size`, `last` (its youngest birth), `low` and
 * `high` (its room in y) hold. `founder` is where first parents end.
 */
export function makeModel(columns, told) {
  const { p1, p2, birth, y, fitness, operator, standing } = columns;
  const n = p1.length;
  const kept = new Uint8Array(n);
  for (let i = 0; i < n; i++) if (standing[i] & LIVING) for (let at = i; at >= 0 && !kept[at]; at = p1[at]) kept[at] = 1;
  const founder = new Int32Array(n);
  const clade = new Int32Array(n).fill(-1);
  const clades = [];
  const begin = new Int32Array(n + 1);
  for (let i = 0; i < n; i++) {
    const p = p1[i];
    founder[i] = p < 0 ? i : founder[p];
    if (p >= 0) begin[p + 1]++;
    if (kept[i]) continue;
    if (p < 0 || kept[p]) {
      clade[i] = i;
      clades.push(i);
    } else clade[i] = clade[p];
  }
  for (let i = 0; i < n; i++) begin[i + 1] += begin[i];
  const model = {
    n, p1, p2, birth, y, fitness, operator, standing, kept, founder, clade, clades,
    begin, children: lists(p1, begin), ...measure(y, p1, clade, begin), told,
    world: { birth0: n ? birth[0] : 0, birth1: n ? birth[n - 1] : 1, height: Math.max(1, told.height) },
  }; // prettier-ignore
  model.clades = Int32Array.from(clades);
  model.keptList = Int32Array.from(kept.reduce((list, one, i) => (one && list.push(i), list), []));
  return Object.assign(model, ranges(model));
}

function lists(p1, begin) {
  const next = begin.slice();
  const children = new Int32Array(begin[p1.length]);
  for (let i = 0; i < p1.length; i++) if (p1[i] >= 0) children[next[p1[i]]++] = i;
  return children;
}

function measure(y, p1, clade, begin) {
  const n = p1.length;
  const size = new Int32Array(n);
  const last = new Int32Array(n);
  const low = new Float32Array(n).fill(Infinity);
  const high = new Float32Array(n).fill(-Infinity);
  const leaves = new Int32Array(n);
  for (let i = 0; i < n; i++) {
    const root = clade[i];
    if (root < 0) continue;
    size[root]++;
    last[root] = i;
    if (begin[i + 1] > begin[i]) continue;
    leaves[root]++;
    if (y[i] < low[root]) low[root] = y[i];
    if (y[i] > high[root]) high[root] = y[i];
  }
  // Leaves stand in the middle of their room: half a room more on either side is the whole of it.
  for (let i = 0; i < n; i++) {
    if (leaves[i] < 2) continue;
    const half = (high[i] - low[i]) / (leaves[i] - 1) / 2;
    low[i] -= half;
    high[i] += half;
  }
  return { size, last, low, high };
}

function ranges({ n, fitness, standing }) {
  let least = Infinity;
  let most = -Infinity;
  const living = [];
  for (let i = 0; i < n; i++) {
    if (fitness[i] < least) least = fitness[i];
    if (fitness[i] > most) most = fitness[i];
    if (standing[i] & LIVING) living.push(i);
  }
  return { least, most, living };
}

/** Columns with more rows behind them, and with what changed before: the living, and values on fresh seeds. */
export function extend(columns, more, told) {
  const joined = {};
  for (const [name, old] of Object.entries(columns)) {
    const grown = new old.constructor(told.begin + more[name].length);
    grown.set(old.subarray(0, told.begin));
    grown.set(more[name], told.begin);
    joined[name] = grown;
  }
  const { standing, fitness } = joined;
  const fresh = told.standings.indexOf("fresh");
  const scored = told.standings.indexOf("scored");
  for (let i = 0; i < standing.length; i++) standing[i] &= ~LIVING;
  for (const [at, value] of told.fresh) {
    if (standing[at] === scored) standing[at] = fresh;
    if (value !== null) fitness[at] = value;
  }
  for (const at of told.living) standing[at] |= LIVING;
  return joined;
}

/** The line of first parents, from a birth back to its founder. */
export function lineOf(model, at) {
  const line = [];
  for (let i = at; i >= 0; i = model.p1[i]) line.push(i);
  return line;
}

/** A byte for each birth: 1 for `at` and whom it descends from, by both parents. */
export function ancestors(model, at) {
  const found = new Uint8Array(model.n);
  found[at] = 1;
  for (let i = at; i >= 0; i--) {
    if (!found[i]) continue;
    if (model.p1[i] >= 0) found[model.p1[i]] = 1;
    if (model.p2[i] >= 0) found[model.p2[i]] = 1;
  }
  return found;
}

/** A byte for each birth: 1 for `at` and all who descend from it, by either parent. */
export function descendants(model, at) {
  const found = new Uint8Array(model.n);
  found[at] = 1;
  for (let i = at + 1; i < model.n; i++) {
    if ((model.p1[i] >= 0 && found[model.p1[i]]) || (model.p2[i] >= 0 && found[model.p2[i]])) found[i] = 1;
  }
  return found;
}

/** A byte for each birth: 1 for ancestors, descendants, and siblings that share a parent. */
export function kin(model, at) {
  const found = ancestors(model, at);
  const below = descendants(model, at);
  const parents = new Set([model.p1[at], model.p2[at]].filter((parent) => parent >= 0));
  for (let i = 0; i < model.n; i++) if (below[i] || parents.has(model.p1[i]) || parents.has(model.p2[i])) found[i] = 1;
  return found;
}

/** Children by the first parent, in order of birth. */
export const childrenOf = (model, at) => model.children.subarray(model.begin[at], model.begin[at + 1]);

/** Whether a fitness is better than another, NaN worse than any; `up` where more is better. */
export const better = (a, b, up) => (Number.isNaN(b) ? !Number.isNaN(a) : up ? a > b : a < b);

/** The child from which the best fitness comes; -1 without children. */
export function bestChild(model, at, up) {
  let best = -1;
  for (const child of childrenOf(model, at)) {
    // Whoever leads to the living comes first: that is the line that people follow.
    if (best < 0 || model.kept[child] > model.kept[best]) best = child;
    else if (model.kept[child] === model.kept[best] && better(model.fitness[child], model.fitness[best], up)) best = child;
  }
  return best;
}

/** The next (`by` 1) or previous (-1) child of the same first parent; founders are each other's siblings. */
export function sibling(model, at, by) {
  const parent = model.p1[at];
  let all;
  if (parent >= 0) all = childrenOf(model, parent);
  else all = Array.from({ length: model.n }, (_, i) => i).filter((i) => model.p1[i] < 0);
  const place = all.indexOf(at) + by;
  return place < 0 || place >= all.length ? -1 : all[place];
}

/** The founders with most descendants, at most `most`, as [founder, births]; the tree's by default, else of `among`. */
export function founders(model, most, among = null) {
  const counts = new Int32Array(model.n);
  for (let i = 0; i < model.n; i++) if (!among || among[i]) counts[model.founder[i]]++;
  const found = [];
  for (let i = 0; i < model.n; i++) if (counts[i]) found.push([i, counts[i]]);
  return found.sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, most);
}

/** Founders to tell apart, at most `most`: those of the living first, however few their births, then the largest. */
export function founderOrder(model, most) {
  const both = [...founders(model, most, model.kept), ...founders(model, most)];
  return [...new Set(both.map(([founder]) => founder))].slice(0, most);
}

/** A number for each birth: the place of its founder in `order`, or `otherwise`. */
export function founderNumbers(model, order, otherwise) {
  const number = new Uint8Array(model.n).fill(otherwise);
  order.forEach((founder, k) => (number[founder] = k));
  const found = new Uint8Array(model.n);
  for (let i = 0; i < model.n; i++) found[i] = number[model.founder[i]];
  return found;
}

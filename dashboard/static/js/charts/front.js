// Fronts of columns in the browser: which genomes stood on it when, and which stand on it in a pair of axes. Pure.

/** `a` is nowhere worse than `b` and somewhere better; `costs` are to be minimised. */
const beats = (costs, a, b) => {
  let better = false;
  for (const column of costs) {
    if (column[a] > column[b]) return false;
    better ||= column[a] < column[b];
  }
  return better;
};

/** Columns to be minimised; what is no number is worst. */
export const asCosts = (columns, objectives) =>
  columns.map((column, k) =>
    Float64Array.from(column, (value) => (Number.isNaN(value) ? Infinity : objectives[k].direction === "max" ? -value : value)),
  );

/**
 * For each row the place in `rows` at which it left the front: `rows.length` for those still on it, its own place for
 * those that never were. `rows` are in the order of arrival.
 */
export function leavings(costs, rows) {
  const left = new Int32Array(rows.length).fill(rows.length);
  const front = [];
  rows.forEach((row, place) => {
    const by = front.findIndex((other) => beats(costs, rows[other], row));
    if (by >= 0) {
      left[place] = place;
      // Whoever beats one mostly beats the next: it is asked first.
      [front[0], front[by]] = [front[by], front[0]];
      return;
    }
    let kept = 0;
    for (const other of front) {
      if (beats(costs, row, rows[other])) left[other] = place;
      else front[kept++] = other;
    }
    front.length = kept;
    front.push(place);
  });
  return left;
}

/** Of some rows, those that no other one dominates in two columns of costs: sorted by the first. */
export function stairs(first, second, rows) {
  const ordered = [...rows].sort((a, b) => first[a] - first[b] || second[a] - second[b]);
  let best = Infinity;
  return ordered.filter((row) => {
    if (second[row] >= best) return false;
    best = second[row];
    return true;
  });
}

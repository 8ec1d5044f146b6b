// Lines of equal height over a grid: marching squares. Pure.

/** Height on the side from corner a to corner b, as a share of the way. */
const share = (a, b, level) => (level - a) / (b - a);

/**
 * Segments `[x1, y1, x2, y2]`, in cells, where `grid` (rows of numbers) has the height `level`. A saddle is cut the way that
 * its mean height says.
 */
export function contour(grid, level) {
  const found = [];
  for (let row = 0; row + 1 < grid.length; row++) {
    for (let column = 0; column + 1 < grid[row].length; column++) {
      const [a, b] = [grid[row][column], grid[row][column + 1]];
      const [d, c] = [grid[row + 1][column], grid[row + 1][column + 1]];
      const sides = [];
      if (a < level !== b < level) sides.push([column + share(a, b, level), row]);
      if (b < level !== c < level) sides.push([column + 1, row + share(b, c, level)]);
      if (d < level !== c < level) sides.push([column + share(d, c, level), row + 1]);
      if (a < level !== d < level) sides.push([column, row + share(a, d, level)]);
      if (sides.length === 2) found.push([...sides[0], ...sides[1]]);
      else if (sides.length === 4) {
        const high = (a + b + c + d) / 4 >= level === a >= level;
        const [first, second] = high ? [[0, 1], [2, 3]] : [[0, 3], [1, 2]];
        for (const [one, other] of [first, second]) found.push([...sides[one], ...sides[other]]);
      }
    }
  }
  return found;
}

/** Heights for `count` lines, closer to each other towards the bottom, where a well is flat. */
export function levels(grid, count) {
  let low = Infinity;
  let high = -Infinity;
  for (const row of grid) {
    for (const value of row) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  return Array.from({ length: count }, (_, i) => low + (high - low) * ((i + 0.5) / count) ** 2);
}

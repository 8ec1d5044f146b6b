// What lies under the pointer: painted births in a grid of cells, then wedges. Pure.

const CELL = 24;
const REACH = 12;

/** An index of what was painted, made when the picture stands still: `pick(x, y)` gives `{birth}`, `{clade}` or null. */
export function makePicker(model, camera, size, painted) {
  const wide = Math.ceil(size.width / CELL) + 1;
  const cells = new Map();
  const place = (i) => [(model.birth[i] - camera.x) * camera.sx, (model.y[i] - camera.y) * camera.sy];
  for (const i of painted.births) {
    const [x, y] = place(i);
    if (x < 0 || y < 0 || x > size.width || y > size.height) continue;
    const cell = Math.floor(y / CELL) * wide + Math.floor(x / CELL);
    const list = cells.get(cell);
    if (list) list.push(i);
    else cells.set(cell, [i]);
  }
  function nearest(px, py) {
    let best = -1;
    let least = REACH * REACH;
    const [cx, cy] = [Math.floor(px / CELL), Math.floor(py / CELL)];
    for (let row = cy - 1; row <= cy + 1; row++) {
      for (let column = cx - 1; column <= cx + 1; column++) {
        for (const i of cells.get(row * wide + column) ?? []) {
          const [x, y] = place(i);
          const far = (x - px) ** 2 + (y - py) ** 2;
          if (far < least) [best, least] = [i, far];
        }
      }
    }
    return best;
  }
  function wedge(px, py) {
    const birth = camera.x + px / camera.sx;
    const y = camera.y + py / camera.sy;
    for (const root of painted.wedges) {
      const [from, to] = [model.birth[root], model.birth[model.last[root]]];
      if (birth < from || birth > to) continue;
      const part = (birth - from) / Math.max(1, to - from);
      const middle = (model.low[root] + model.high[root]) / 2;
      if (Math.abs(y - middle) <= (part * (model.high[root] - model.low[root])) / 2) return root;
    }
    return -1;
  }
  return (px, py) => {
    const birth = nearest(px, py);
    if (birth >= 0) return { birth };
    const clade = wedge(px, py);
    return clade >= 0 ? { clade } : null;
  };
}

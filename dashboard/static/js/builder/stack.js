// What adding, removing, moving and widening a layer does to the genes. Pure.

/** The layer's genes in use: as many as the counting gene says. */
export const inUse = (stack, genes) => stack.genes.slice(0, Number(genes[stack.count]));

/**
 * The genes after an act on layer `place` (from 1): `{genes, place}` with the layer that then has the focus, or null where
 * it cannot be done. `levels` are the sizes that a layer may take.
 */
export function acted(stack, genes, name, place, by, levels) {
  const sizes = inUse(stack, genes).map((gene) => genes[gene]);
  let at = place;
  if (name === "add") {
    if (sizes.length >= stack.high) return null;
    sizes.splice(place, 0, sizes[Math.max(0, place - 1)]);
    at = place + 1;
  } else if (name === "remove") {
    if (sizes.length <= stack.low || place < 1) return null;
    sizes.splice(place - 1, 1);
    at = Math.min(place, sizes.length);
  } else if (name === "move") {
    const to = place + by;
    if (to < 1 || to > sizes.length) return null;
    sizes.splice(to - 1, 0, ...sizes.splice(place - 1, 1));
    at = to;
  } else if (name === "widen") {
    const next = by > 0 ? levels.find((level) => level > sizes[place - 1]) : levels.findLast((level) => level < sizes[place - 1]);
    if (next === undefined) return null;
    sizes[place - 1] = next;
  }
  const changed = { ...genes, [stack.count]: sizes.length };
  sizes.forEach((size, i) => (changed[stack.genes[i]] = size));
  return { genes: changed, place: at };
}

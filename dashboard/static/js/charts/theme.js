// Colours of the theme for what is drawn, and word when they change.

const NAMES = [
  "bg", "panel", "raise", "line", "line2", "text", "dim", "faint", "accent", "good", "warn", "bad", "info",
  "c1", "c2", "c3", "c4", "c5", "c6", "c7", "font", "mono",
];
const listeners = new Set();

/** Every colour of the theme by its name without dashes, and the fonts. */
export function colours() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(NAMES.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

/** The colour of the n-th series. */
export const seriesColour = (colour, index) => colour[`c${(index % 7) + 1}`];

/** Call `redraw` whenever the theme changes. Gives an undo. */
export function onTheme(redraw) {
  listeners.add(redraw);
  return () => listeners.delete(redraw);
}

new MutationObserver(() => {
  for (const redraw of listeners) redraw();
}).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });

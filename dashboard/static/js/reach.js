// A share with its interval as a small picture, and in words beside it.

import { h } from "./dom.js";
import { percent } from "./words.js";

/** `{share, low, high}` in [0, 1]: a bar from low to high with a mark at the share. `share` null: nothing was counted yet. */
export function reach({ share, low, high }) {
  if (share === null) return h("span", { className: "faint" }, "none yet");
  const words = `${percent(share)} (${percent(low)} to ${percent(high)})`;
  return h(
    "span",
    { title: words },
    h("span", { className: "reach", "aria-hidden": "true" }, h("i", { style: { left: `${100 * low}%`, width: `${100 * (high - low)}%` } }), h("b", { style: { left: `${100 * share}%` } })),
    ` ${percent(share)}`,
    h("span", { className: "sr" }, `, between ${percent(low)} and ${percent(high)}`),
  );
}

// Single keys, and `g` with a second one; each view adds its own. Off while somebody types, or by the switch.

import { keysOn } from "./keep.js";

const bound = new Map();
const GO_MS = 1500;
let going = -Infinity;

/**
 * Bind a key (`"j"`, `"Escape"`, `" "`, `"["`) to `act(event)`. `label` stands in the list of keys; a later binding of
 * the same key takes the place of an earlier one. `act` may give false: then the key keeps its usual meaning.
 */
export function bind(key, label, act) {
  bound.set(key, { label, act });
}

/** Keys and what they do, in the order in which they were bound. */
export const bindings = () => [...bound].map(([key, { label }]) => ({ key, label }));

// A field that has just been hidden keeps the focus for a moment, but nobody types into it.
const typing = (element) =>
  element instanceof HTMLElement &&
  element.checkVisibility() &&
  (element.isContentEditable || /^(TEXTAREA|SELECT)$/.test(element.tagName) ||
    (element.tagName === "INPUT" && !/^(checkbox|radio|button|range|submit)$/.test(element.type)));

// Enter and space belong to the control that has the focus.
const pressing = (element, key) =>
  (key === " " || key === "Enter") && element instanceof Element && element.closest("button, a, summary, input, [role=button], [role=option]");

/** Listen. `go(letter)` is asked after `g`, and gives whether it knows the letter. */
export function listen(go) {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (document.querySelector("dialog[open]") || typing(event.target) || pressing(event.target, event.key)) return;
    if (!keysOn()) return;
    if (performance.now() - going < GO_MS) {
      going = -Infinity;
      if (go(event.key)) {
        event.preventDefault();
        return;
      }
    }
    if (event.key === "g") {
      going = performance.now();
      return;
    }
    const found = bound.get(event.key);
    if (found && found.act(event) !== false) event.preventDefault();
  });
}

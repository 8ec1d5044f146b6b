// A button that has the running node verify something; without a node it is disabled, and says why.

import { h } from "./dom.js";
import { node, order } from "./shell.js";

/**
 * `{element, why, end}` for the genome or claim `target`: `why` is a line that says why it is disabled, "" where it is not.
 * The button follows the node until it is taken off the page.
 */
export function verifyButton(target, label, title) {
  const element = h("button", { className: "btn sm verify", type: "button", onclick: () => order("verify", { target }) }, label);
  const why = h("span", { className: "dim" });
  function settle() {
    const able = node.running && node.commands;
    element.disabled = !able;
    why.textContent = able ? "" : node.running ? "Orders are taken on the node's own machine alone." : "Verify needs a running search or node on this store.";
    element.title = able ? title : why.textContent;
  }
  function heard() {
    // A page that draws itself anew leaves its old buttons behind.
    if (!element.isConnected) end();
    else settle();
  }
  const end = () => removeEventListener("eqmesh:node", heard);
  addEventListener("eqmesh:node", heard);
  settle();
  return { element, why, end };
}

// Controls for genes: a list for a choice, a slider over the levels and a field for a number.

import { fill, h } from "../dom.js";

const BRIEF = 60;

const nearest = (levels, value) => {
  let best = 0;
  levels.forEach((level, i) => {
    if (Math.abs(level - value) < Math.abs(levels[best] - value)) best = i;
  });
  return best;
};

/**
 * One gene's control. `change(value)` is called with a number, a word, or the text itself where it is no number (the
 * server says what is wrong). Gives `{element, show(value, problem, filled)}`.
 */
export function control(card, change) {
  const id = `gene-${card.name}`;
  const brief = card.when !== "always" && card.when.length <= BRIEF;
  const help = h("p", { className: "help", id: `${id}-help` }, card.doc, brief ? h("span", { className: "when" }, ` Expressed where ${card.when}.`) : null);
  const condition = card.when === "always" || brief ? null : h("details", { className: "when" }, h("summary", {}, "When it is expressed"), `Where ${card.when}.`);
  const problem = h("p", { className: "problem", id: `${id}-problem`, hidden: true });
  const described = { "aria-describedby": `${id}-help ${id}-problem` };
  const number = (text) => (text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text);
  let parts;
  if (card.kind === "choice") {
    const list = h("select", { className: "sel", id, ...described, onchange: () => change(list.value) }, card.levels.map((level) => h("option", { value: level }, level)));
    parts = { inputs: [list], put: (value) => (list.value = value) };
  } else {
    const field = h("input", { className: "inp value", id, inputmode: card.kind === "real" ? "decimal" : "numeric", autocomplete: "off", ...described, oninput: () => change(number(field.value)) });
    const slider = h("input", {
      type: "range", min: 0, max: card.levels.length - 1, step: 1, "aria-label": `${card.name}, over its levels`,
      oninput: () => {
        const value = card.levels[Number(slider.value)];
        field.value = String(value);
        slider.setAttribute("aria-valuetext", String(value));
        change(value);
      },
    });
    parts = {
      inputs: [slider, field],
      put: (value) => {
        // What somebody types stays as it is typed: 0.50 is not turned into 0.5 below the cursor.
        if (document.activeElement !== field) field.value = String(value);
        if (typeof value === "number") slider.value = String(nearest(card.levels, value));
        slider.setAttribute("aria-valuetext", String(value));
      },
    };
  }
  const range = card.kind === "choice" ? "" : `${card.low} to ${card.high}${card.scale === "log" ? ", log scale" : ""}`;
  const element = h("div", { className: "gene", dataset: { gene: card.name } }, h("label", { htmlFor: id, for: id, title: range }, card.name), h("div", { className: "control" }, parts.inputs), h("span", { className: "sr" }, range), help, condition, problem);
  return {
    element,
    show(value, wrong, filled) {
      if (value !== undefined) parts.put(value);
      problem.hidden = !wrong;
      fill(problem, wrong ?? "");
      for (const input of parts.inputs) input.setAttribute("aria-invalid", String(Boolean(wrong)));
      element.toggleAttribute("data-wrong", Boolean(wrong));
      element.toggleAttribute("data-filled", Boolean(filled));
    },
  };
}

// The two sides of a lineage: what is shown and how on the left, the chosen genome on the right.

import { fill, h } from "../dom.js";
import { operatorName } from "./model.js";

const COLOURS = [
  ["fitness", "First objective"],
  ["operator", "Operator"],
  ["founder", "Founder"],
];
const EXTINCT = [
  ["hidden", "Hidden"],
  ["wedges", "Wedges"],
  ["full", "In full"],
];
const KIN = [
  ["", "All"],
  ["up", "Ancestors"],
  ["down", "Offspring"],
  ["kin", "Kin"],
];

/** A group of buttons of which one is pressed. */
export function choiceOf(label, options, value, change) {
  return h(
    "div",
    { className: "seg", role: "group", "aria-label": label },
    options.map(([key, name]) =>
      h("button", { type: "button", "aria-pressed": String(key === value), onclick: () => change(key) }, name),
    ),
  );
}

const field = (title, ...children) => h("section", { className: "fld" }, h("h2", {}, title), children);

/** The left side. `chosen` is what the address says, `change(name, value)` changes it. */
export function filters(model, chosen, change, { search, answer }) {
  const counts = new Map();
  for (const operator of model.operator) {
    const name = operatorName(model.told.operators[operator]);
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  const lead = model.told.objectives[0];
  const named = COLOURS.map(([key, name]) => [key, key === "fitness" && lead ? lead.name : name]);
  const off = new Set(chosen.off);
  return [
    searchField(chosen, search, answer),
    field(
      "Colour by",
      h(
        "select",
        { "aria-label": "Colour by", className: "sel", onchange: (event) => change("colour", event.target.value) },
        named.map(([key, name]) => h("option", { value: key, selected: key === chosen.colour }, name)),
      ),
    ),
    field("Extinct branches", choiceOf("Extinct branches", EXTINCT, chosen.extinct, (key) => change("extinct", key))),
    field(
      "Relative to the chosen genome",
      choiceOf("Relatives", KIN, chosen.kin, (key) => change("kin", key)),
      chosen.kin && chosen.at < 0 ? h("p", { className: "faint" }, "Choose a genome first.") : null,
    ),
    field(
      "Operators",
      [...counts]
        .sort((a, b) => b[1] - a[1])
        .map(([name, count]) =>
          h(
            "label",
            { className: "ck" },
            h("input", {
              type: "checkbox",
              checked: !off.has(name),
              onchange: (event) => {
                if (event.target.checked) off.delete(name);
                else off.add(name);
                change("off", [...off]);
              },
            }),
            name,
            h("span", { className: "n" }, count.toLocaleString("en")),
          ),
        ),
    ),
    field(
      "Show",
      h(
        "label",
        { className: "ck" },
        h("input", { type: "checkbox", checked: chosen.crossings, onchange: (event) => change("crossings", event.target.checked) }),
        "Second parents, dashed",
      ),
      h(
        "select",
        { "aria-label": "Standing", className: "sel", onchange: (event) => change("standing", event.target.value) },
        [["", "Every standing"], ["front", "On the front"], ...model.told.standings.map((name) => [name, name])].map(
          ([key, name]) => h("option", { value: key, selected: key === chosen.standing }, name),
        ),
      ),
    ),
  ];
}

function searchField(chosen, search, answer) {
  const input = h("input", {
    type: "search", id: "lin-q", className: "sel", value: chosen.q, placeholder: "id, or lr > 0.01, estimate = centred",
    autocomplete: "off", spellcheck: "false", maxlength: 400,
  }); // prettier-ignore
  return h(
    "form",
    {
      className: "fld",
      role: "search",
      onsubmit: (event) => {
        event.preventDefault();
        search(input.value.trim());
      },
    },
    h("h2", {}, h("label", { for: "lin-q" }, "Find by id or gene value")),
    input,
    h("p", { className: "faint", role: "status", id: "lin-answer" }, answer),
  );
}

/** A gene's value in a few characters. */
export const valueText = (value) =>
  value === null || value === undefined ? "none" : typeof value === "number" ? String(Number(value.toPrecision(4))) : String(value);

const changeRows = (changes) =>
  changes.map(([gene, before, after]) =>
    h(
      "div",
      {},
      h("span", { className: "dim" }, gene),
      h("span", {}, h("del", {}, valueText(before)), " → ", h("ins", {}, valueText(after))),
    ),
  );

/** The right side for a chosen genome: `detail` as the server tells it, or null while there is none. */
export function chosenPanel(aside, model, detail, { act, format, links }) {
  if (!detail) {
    fill(
      aside,
      h("p", { className: "dim" }, "No genome is chosen. Click one, use ", h("kbd", {}, "]"), " to begin with the best, or find one by its id."),
    );
    return;
  }
  const [step] = detail.line;
  const objectives = model.told.objectives;
  fill(
    aside,
    h(
      "div",
      { className: "row" },
      h("h2", { className: "gid mono" }, step.id.slice(0, 8)),
      h("span", { className: "tag" }, model.living.includes(step.at) ? `front, ${step.standing}` : step.standing),
    ),
    h("p", { className: "dim" }, `Birth ${step.born}, ${step.operator}. ${step.summary}`),
    h(
      "dl",
      { className: "kv" },
      objectives.map(({ name }) => [h("dt", {}, name), h("dd", {}, name in step.values ? format(name, step.values[name]) : "none")]),
      h("dt", {}, "Children"),
      h("dd", {}, String(detail.count)),
      h("dt", {}, "Ancestors in line"),
      h("dd", {}, String(detail.line.length - 1 + detail.left_out)),
    ),
    h(
      "div",
      { className: "row" },
      links ? h("a", { className: "btn sm pri", href: links(step.id) }, "Open") : null,
      act.compare ? h("button", { type: "button", className: "btn sm", onclick: () => act.compare(step.id) }, "Compare ", h("kbd", {}, "c")) : null,
      h("button", { type: "button", className: "btn sm", onclick: act.fit }, "Fit ", h("kbd", {}, "f")),
      h("button", { type: "button", className: "btn sm", onclick: act.clear }, "Clear"),
    ),
    h("div", { className: "fld" }, h("h3", {}, step.parents.length ? "Changed from the first parent" : "Founder"),
      h("div", { className: "diff" }, step.changes.length ? changeRows(step.changes) : h("p", { className: "faint" }, step.parents.length ? "no gene" : "no parents here"))),
    step.second.length
      ? h("details", { className: "fld" }, h("summary", {}, `Changed from the second parent (${step.second.length})`), h("div", { className: "diff" }, changeRows(step.second)))
      : null,
    h("nav", { className: "fld row", "aria-label": "Relatives" },
      step.parents.map((at, k) => h("button", { type: "button", className: "btn sm", onclick: () => act.choose(at) }, k ? "Second parent" : "Parent")),
      detail.children.slice(0, 8).map(([at, id]) => h("button", { type: "button", className: "btn sm mono", onclick: () => act.choose(at) }, id.slice(0, 6)))),
    gains(detail, objectives[0], act, format),
  ); // prettier-ignore
}

/** The births of a line that gained most in the first objective. */
function gains(detail, lead, act, format) {
  if (!lead) return null;
  const up = lead.direction === "max" ? 1 : -1;
  const found = [];
  for (let k = 0; k + 1 < detail.line.length; k++) {
    const [now, before] = [detail.line[k].values[lead.name], detail.line[k + 1].values[lead.name]];
    if (Number.isFinite(now) && Number.isFinite(before) && (now - before) * up > 0) found.push([now - before, detail.line[k]]);
  }
  found.sort((a, b) => (b[0] - a[0]) * up);
  if (!found.length) return null;
  return h(
    "div",
    { className: "fld" },
    h("h3", {}, `Largest gains in ${lead.name} on its line`),
    h(
      "ul",
      { className: "steps" },
      found.slice(0, 6).map(([gain, step]) =>
        h(
          "li",
          {},
          h("button", { type: "button", className: "bare", onclick: () => act.choose(step.at) },
            `${changesText(step.changes)} `, h("span", { className: "faint" }, `${step.id.slice(0, 6)}, birth ${step.born}`)),
          h("span", { className: "good" }, `${gain > 0 ? "+" : ""}${format(lead.name, gain)}`),
        ),
      ),
    ),
  ); // prettier-ignore
}

/** Gene changes in a few words: the first, and how many more. */
export function changesText(changes) {
  if (!changes.length) return "no gene";
  const [gene, before, after] = changes[0];
  const more = changes.length > 1 ? ` and ${changes.length - 1} more` : "";
  return `${gene} ${valueText(before)} → ${valueText(after)}${more}`;
}

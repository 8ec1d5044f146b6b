// The lab's form, made from the server's own description of the settings.

import { fill, h } from "../dom.js";

const GROUPS = {
  "Spectral clipping": ["spectral", "gamma"],
  "Learning": ["rule", "beta", "rate", "optimizer", "batch"],
  "Settling": ["free_steps", "nudged_steps", "scheme", "step_size"],
  "Network, drawn anew where it changes": ["output", "depth", "width", "seed"],
};

const WORDS = {
  output: ["Output", "A layer of states inside the energy (mse), or a softmax readout outside it (ce)."],
  depth: ["Hidden layers", ""],
  width: ["Units", "Of each hidden layer."],
  seed: ["Seed", "Draws the first weights and the order of the digits."],
  rule: ["Rule", "Which nudged phases an update compares; backprop is the chain rule on the same shape."],
  beta: ["Beta", "Strength of the nudge. With mse it stays below 0.5, one-sided below 1."],
  optimizer: ["Optimizer", ""],
  rate: ["Learning rate", "Large with clipping off: watch it run away."],
  batch: ["Batch", "Digits of a step."],
  spectral: ["Clip", "Clips every singular value of the weights between states after each step."],
  gamma: ["Gamma", "The largest singular value that clipping leaves."],
  scheme: ["Scheme", "One layer after another to its exact minimum, or all at once by a step."],
  step_size: ["Step size", "How far a synchronous step goes."],
  free_steps: ["Free sweeps", "From the forward pass on."],
  nudged_steps: ["Nudged sweeps", "From where the free phase ended."],
};

const LOGARITHMIC = new Set(["beta", "gamma", "rate"]);
const STOPS = 240;
const ORDER = { rule: ["centred", "one-sided", "negative", "random-sign", "linearised", "backprop"], optimizer: ["sgd", "adam", "adamw", "muon", "dion"], output: ["mse", "ce"] };

/** Which settings nothing reads while the others are as they are. */
export function idle(settings) {
  const found = new Set();
  const add = (when, ...names) => when && names.forEach((name) => found.add(name));
  add(settings.rule === "backprop", "beta", "spectral", "gamma", "scheme", "step_size", "free_steps", "nudged_steps");
  add(settings.rule === "linearised", "beta");
  add(!settings.spectral, "gamma");
  add(settings.scheme === "block", "step_size");
  return found;
}

/** A setting as the address holds it, read by the kind that it has; undefined for what it cannot be. */
export function parsed(schema, text) {
  if (schema.enum) return schema.enum.includes(text) ? text : undefined;
  if (schema.type === "boolean") return { true: true, false: false }[text];
  const value = text.trim() === "" ? NaN : Number(text);
  const lawful = value >= schema.minimum && value <= schema.maximum && (schema.type !== "integer" || Number.isInteger(value));
  return lawful ? value : undefined;
}

const digits = (value) => Number(value.toPrecision(3));

function slider(schema, name, change, field) {
  const { minimum: low, maximum: high } = schema;
  const log = LOGARITHMIC.has(name);
  const whole = schema.type === "integer";
  const input = h("input", { type: "range", min: 0, max: whole ? high - low : STOPS, step: 1, "aria-label": `${WORDS[name][0]}, slider` });
  const value = () => {
    const at = Number(input.value);
    if (whole) return low + at;
    return digits(log ? low * (high / low) ** (at / STOPS) : low + ((high - low) * at) / STOPS);
  };
  input.addEventListener("input", () => {
    field.value = String(value());
    input.setAttribute("aria-valuetext", field.value);
    change(value());
  });
  return {
    input,
    put(to) {
      input.value = String(whole ? to - low : Math.round(STOPS * (log ? Math.log(to / low) / Math.log(high / low) : (to - low) / (high - low))));
      input.setAttribute("aria-valuetext", String(to));
    },
  };
}

function knob(schema, name, change) {
  const [label, help] = WORDS[name] ?? [name, ""];
  const id = `knob-${name}`;
  const told = { id, "aria-describedby": `${id}-help` };
  let controls;
  let put;
  if (schema.enum) {
    const list = h("select", { className: "sel", ...told, onchange: () => change(list.value) }, (ORDER[name] ?? schema.enum).map((one) => h("option", { value: one }, one)));
    controls = [list];
    put = (value) => (list.value = value);
  } else if (schema.type === "boolean") {
    const box = h("input", { type: "checkbox", ...told, onchange: () => change(box.checked) });
    controls = [box];
    put = (value) => (box.checked = value);
  } else {
    const field = h("input", { className: "inp value", inputmode: schema.type === "integer" ? "numeric" : "decimal", ...told });
    const range = name === "seed" ? null : slider(schema, name, change, field);
    field.addEventListener("change", () => {
      const value = parsed(schema, field.value);
      field.setAttribute("aria-invalid", String(value === undefined));
      if (value === undefined) change(undefined, `${label} lies between ${schema.minimum} and ${schema.maximum}, got ${field.value || "nothing"}.`);
      else change(value);
    });
    controls = [range?.input, field];
    put = (value) => {
      range?.put(value);
      // What somebody types stays as it is typed.
      if (document.activeElement !== field) {
        field.value = String(value);
        field.removeAttribute("aria-invalid");
      }
    };
  }
  const range = schema.minimum === undefined ? "" : ` ${schema.minimum} to ${name === "seed" ? "2147483647" : schema.maximum}.`;
  const element = h("div", { className: "knob" }, h("label", { for: id }, label), h("div", { className: "control" }, controls), h("p", { className: "help", id: `${id}-help` }, `${help}${range}`));
  return { element, put };
}

/**
 * The form in `host`. `change(name, value, problem)` is called as somebody moves a knob; `problem` says why a value that was
 * typed is none. Gives `show(settings)`.
 */
export function knobs(host, schema, change) {
  const made = new Map();
  const parts = Object.entries(GROUPS).map(([title, names]) => [
    h("h3", {}, title),
    names.map((name) => {
      made.set(name, knob(schema[name], name, (value, problem) => change(name, value, problem)));
      return made.get(name).element;
    }),
  ]);
  fill(host, parts, h("p", { id: "refused", role: "alert" }));
  host.addEventListener("submit", (event) => event.preventDefault());
  return (settings) => {
    const unread = idle(settings);
    for (const [name, one] of made) {
      one.put(settings[name]);
      one.element.toggleAttribute("data-idle", unread.has(name));
    }
  };
}

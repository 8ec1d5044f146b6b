// The builder: the server checks every change; the form shows what is expressed, what is wrong, and what came of it.

import { control } from "../builder/controls.js";
import { net } from "../builder/net.js";
import { acted } from "../builder/stack.js";
import { format } from "../charts/scale.js";
import { $, fill, h } from "../dom.js";
import { ApiError, getJson } from "../data.js";
import { compareAndSay, toast } from "../shell.js";
import { getParam, setParam } from "../state.js";
import { short, trouble } from "../words.js";

const WAIT_MS = 140;
let known = null;
let space = null;
let genes = {};
let checked = null;
let made = null;
let controls = new Map();
let chosen = 0;
let timer = 0;
let turn = 0;
let format_ = "json";
let node = { running: false, commands: false };

const post = (url, value) => send(url, JSON.stringify(value));

async function send(url, body) {
  const answer = await fetch(url, { method: "POST", credentials: "same-origin", headers: { "Content-Type": "application/json" }, body });
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new ApiError(told.error ?? `The server answered ${answer.status}.`, answer.status, told.next);
  return told;
}

// Beginning: a space, a preset, or a genome of the store

async function begin() {
  try {
    known = await getJson("/api/builder/spaces");
  } catch (error) {
    fill($("#genes"), trouble(error));
    return;
  }
  furnish();
  const named = getParam("genome");
  const asked = known.presets.find((one) => one.name === getParam("preset"));
  if (named) {
    try {
      take(await getJson(`/api/builder/genome/${encodeURIComponent(named)}`));
      return;
    } catch (error) {
      fill($("#made"), trouble(error));
    }
  }
  take(asked ?? first(spaceOf(getParam("space", "mlp")).id));
}

// What a space is begun with: its first preset that learns by EP, or else the space's defaults.
const first = (id) => known.presets.find((one) => one.space === id && one.genes.credit === "ep") ?? { space: id, genes: {} };

const spaceOf = (name) => known.spaces.find((one) => one.name === name || one.id === name) ?? known.spaces[0];

function furnish() {
  const select = (label, options, change, value) => {
    const list = h("select", { className: "sel", onchange: () => change(list.value) }, options.map(([name, words]) => h("option", { value: name, selected: name === value }, words ?? name)));
    return h("label", {}, label, list);
  };
  fill(
    $("#start"),
    select("Space", known.spaces.map((one) => [one.id, `${one.id}, ${one.genes.length} genes`]), (id) => take(first(id), { preset: null, genome: null, space: id }), ""),
    select("Begin with", [["", "a preset"], ...known.presets.map((one) => [one.name, `${one.name} (${one.space})`])], (name) => name && take(known.presets.find((one) => one.name === name), { preset: name, genome: null, space: null }), getParam("preset", "")),
    select("Task", known.sizes.map(({ name, size }) => [name, `${name}: ${size.inputs} inputs, ${size.classes} classes`]), (name) => { setParam("task", name); check(); }, getParam("task", "digits")),
    select("Class", known.arithmetic.map((name) => [name]), (name) => { setParam("class", name); check(); }, getParam("class", "fp32")),
  );
  const text = h("textarea", { id: "source", spellcheck: "false", "aria-label": "The genome as text: edit it, or paste another" });
  const tab = (name, words) => h("button", { type: "button", dataset: { format: name }, "aria-pressed": String(name === format_), onclick: () => { format_ = name; showText(true); } }, words);
  fill(
    $("#text"),
    h("div", { className: "row" }, h("span", { className: "seg", role: "group", "aria-label": "Language" }, tab("json", "JSON"), tab("python", "Python")), h("button", { className: "btn sm", type: "button", onclick: copyText }, "Copy"), h("button", { className: "btn sm", type: "button", onclick: readText }, "Take this text"), h("span", { className: "hint", id: "text-said", role: "status" })),
    text,
  );
}

function take({ space: name, genes: given }, params = {}) {
  setParam(params);
  space = spaceOf(name);
  $("#start select").value = space.id;
  genes = { ...given };
  chosen = 0;
  makeControls();
  check({ text: true, now: true });
}

function makeControls() {
  controls = new Map(space.genes.map((card) => [card.name, control(card, (value) => { genes[card.name] = value; check(); })]));
  fill($("#genes"), [...controls.values()].map((each) => each.element));
}

// Checking

function check({ now = false, focus = 0 } = {}) {
  clearTimeout(timer);
  timer = setTimeout(() => ask(focus), now ? 0 : WAIT_MS);
}

async function ask(focus) {
  const mine = ++turn;
  try {
    const found = await post("/api/builder/check", { space: space.id, genes, task: getParam("task", "digits"), arithmetic: getParam("class", "fp32") });
    if (mine !== turn) return;
    made = found;
    checked = found.checked;
    show(focus);
  } catch (error) {
    if (mine === turn) fill($("#made"), trouble(error));
  }
}

function show(focus) {
  // Genes that came into play take the space's default, and keep it when they go and come again.
  for (const name of checked.filled) genes[name] = checked.values[name];
  const wrong = new Map(checked.problems.map((one) => [one.gene, one.message]));
  const expressed = new Set(checked.expressed);
  for (const card of space.genes) {
    const each = controls.get(card.name);
    each.element.hidden = !expressed.has(card.name) && !wrong.has(card.name);
    each.show(genes[card.name], wrong.get(card.name), checked.filled.includes(card.name) && checked.filled.length < expressed.size);
  }
  $("#genes-words").textContent = `${expressed.size} of ${space.genes.length} are expressed`;
  const put = net($("#net"), checked, { act, chosen });
  if (focus) put(focus);
  $("#net-words").textContent = checked.layers.length ? `${checked.layers.length} layers, ${checked.edges.length} connections` : "";
  showLattice(checked.values.side);
  showMade();
  showText();
}

let drawn = null;

async function showLattice(side) {
  if ((drawn?.side ?? undefined) === side) return;
  drawn?.made?.end();
  drawn = side === undefined ? null : { side, made: null };
  if (!drawn) return;
  const mine = drawn;
  const { lattice } = await import("../charts/lattice.js");
  if (mine === drawn) mine.made = lattice($("#lattice"), side);
}

function act(name, place, by = 0) {
  const card = space.genes.find((one) => one.name === checked.stack.genes[0]);
  const next = acted(checked.stack, { ...genes, ...checked.values }, name, place, by, card.levels);
  if (!next) return;
  genes = next.genes;
  chosen = next.place;
  check({ now: true, focus: chosen });
}

function showMade() {
  const { cost } = checked;
  const rest = checked.problems.filter((one) => !one.gene);
  const fields = checked.problems.length - rest.length;
  $("#made-words").textContent = checked.id ? checked.summary : "";
  const able = node.running && node.commands && checked.id;
  const why = !checked.id ? "There is no genome yet." : node.running ? (node.commands ? "" : "Orders are taken on the node's own machine alone.") : "No search or node runs on this store: download it, and give it to one.";
  fill(
    $("#made"),
    h(
      "div",
      { className: "made" },
      checked.problems.length ? h("div", { role: "alert" }, h("ul", { className: "problems" }, rest.map((one) => h("li", {}, one.message)), fields ? h("li", {}, `${fields} ${fields === 1 ? "gene is" : "genes are"} not lawful: see the form.`) : null)) : null,
      checked.id ? h("p", { className: "mono", id: "made-id" }, checked.id) : null,
      cost
        ? h(
            "dl",
            {},
            [
              ["Parameters", cost.parameters.toLocaleString()],
              ["Training memory", format(cost.peak_bytes, "bytes")],
              ["of it weights", format(cost.parameter_bytes, "bytes")],
              ["of it activations", format(cost.activation_bytes, "bytes")],
              ["Multiply-accumulates a sample", format(cost.macs_per_sample)],
              ["Classes that can train it", checked.classes.join(", ")],
            ].map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
          )
        : null,
      cost?.refusal ? h("p", { className: "warn" }, `A search with its usual limits refuses it: ${cost.refusal}`) : null,
      h(
        "div",
        { className: "row" },
        h("button", { className: "btn pri", type: "button", id: "submit", disabled: !able, title: why || "Train it next on the running search", onclick: submit }, "Submit to the search"),
        h("button", { className: "btn", type: "button", disabled: !checked.id, onclick: download }, "Download JSON"),
        checked.id ? h("button", { className: "btn", type: "button", onclick: () => compareAndSay(checked.id) }, "Compare") : null,
        why ? h("span", { className: "hint" }, why) : null,
      ),
      checked.id ? h("p", { className: "hint" }, "In a terminal: ", h("code", {}, `eqmesh genome import ${short(checked.id)}.json --store ${document.body.dataset.store}`)) : null,
    ),
  );
}

// Text

function showText(force = false) {
  for (const button of document.querySelectorAll("#text [data-format]")) button.setAttribute("aria-pressed", String(button.dataset.format === format_));
  const area = $("#source");
  if (!force && document.activeElement === area) return;
  if (made?.[format_]) area.value = made[format_];
}

async function readText() {
  const said = $("#text-said");
  try {
    const found = await post("/api/builder/read", { text: $("#source").value });
    said.textContent = found.problem || "Taken into the form.";
    said.className = found.problem ? "hint bad" : "hint good";
    if (!found.problem) take(found, { preset: null, genome: null, space: null });
  } catch (error) {
    said.textContent = error.message;
    said.className = "hint bad";
  }
}

async function copyText() {
  try {
    await navigator.clipboard.writeText($("#source").value);
    $("#text-said").textContent = "Copied.";
  } catch {
    $("#source").select();
    $("#text-said").textContent = "Selected: copy it with Ctrl-C.";
  }
}

async function submit() {
  try {
    // The server's own text: JSON.parse would turn 1.0 into 1, which is another genome.
    const answer = await send("/command/queue", `{"genome": ${made.json}}`);
    toast(answer.said || "Queued.", "good");
  } catch (error) {
    toast(error.message, "bad");
  }
}

function download() {
  const url = URL.createObjectURL(new Blob([made.json], { type: "application/json" }));
  const link = h("a", { href: url, download: `${short(checked.id)}.json`, hidden: true });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

addEventListener("eqmesh:node", (event) => {
  node = event.detail;
  if (checked) showMade();
});
getJson("/api/node").then((found) => {
  node = found;
  if (checked) showMade();
}, () => {});
begin();

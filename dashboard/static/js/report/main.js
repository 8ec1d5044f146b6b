// An exported file: facts, the front, the lineage and every genome, from what the file itself holds.

import { $, fill, h } from "../dom.js";
import { asCosts, stairs } from "../charts/front.js";
import { format } from "../charts/scale.js";
import { scatter } from "../charts/scatter.js";
import { bind, listen } from "../keys.js";
import { LIVING } from "../lineage/model.js";
import { valueText } from "../lineage/panels.js";
import { standingText } from "../lineage/table.js";
import { mountLineage } from "../lineage/view.js";
import { openFile } from "./file.js";

const THEMES = ["dark", "light", "nord", "neon", "contrast"];

/** What is chosen, kept in the part of the address behind `#`: a file has no server to ask with a query. */
function addressState() {
  const listeners = new Set();
  const read = () => new URLSearchParams(location.hash.slice(1));
  addEventListener("hashchange", () => listeners.forEach((listener) => listener(read())));
  return {
    getParam: (name, otherwise = null) => read().get(name) ?? otherwise,
    setParam(name, value) {
      const params = read();
      if (value === null || value === undefined || value === "" || value === false) params.delete(name);
      else params.set(name, Array.isArray(value) ? value.join(",") : String(value));
      location.hash = params.toString();
    },
    onParams: (listener) => listeners.add(listener),
  };
}

const text = ({ unit }, value) => format(value, unit === "bytes" ? "bytes" : "");

function facts(header) {
  return h(
    "dl",
    { className: "facts" },
    header.facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, String(value)))),
  );
}

/** The front against every scored genome in two objectives, and its members as rows. */
function front(host, file) {
  const { objectives } = file.header.head;
  const shown = [];
  for (let i = 0; i < file.count; i++) if (!Number.isNaN(file.values[0]?.[i])) shown.push(i);
  const members = file.header.front;
  if (objectives.length < 2 || !members.length) {
    fill(host, h("p", { className: "dim" }, "No genome has a score in this file."));
    return;
  }
  let [across, up] = [Math.min(1, objectives.length - 1), 0];
  const chart = h("div", { className: "body" });
  const pick = (label, value, change) =>
    h("label", {}, `${label} `, h("select", { onchange: (event) => change(Number(event.target.value)) },
      objectives.map(({ name }, k) => h("option", { value: k, selected: k === value }, name)))); // prettier-ignore
  function data() {
    const costs = asCosts([file.values[across], file.values[up]], [objectives[across], objectives[up]]);
    const on = new Set(members);
    return {
      x: file.values[across], y: file.values[up], dominated: shown.filter((i) => !on.has(i)),
      marked: members.map((index) => ({ index, kind: "front", radius: 4 })), stair: stairs(costs[0], costs[1], members),
    }; // prettier-ignore
  }
  const axes = () => ({ x: axis(objectives[across]), y: axis(objectives[up]) });
  const axis = (one) => ({ label: one.name, unit: one.unit, log: one.scale === "log", direction: one.direction });
  const words = (i) => `${file.idOf(i).slice(0, 8)}: ${objectives.map((one, k) => `${one.name} ${text(one, file.values[k][i])}`).join(", ")}`;
  const twin = () => [["genome", ...objectives.map(({ name }) => name)], members.map((i) => [file.idOf(i).slice(0, 12), ...objectives.map((_, k) => file.values[k][i])])];
  const place = scatter(chart, { name: "front", label: "Front", height: 340, data: data(), axes: axes(), words, twin });
  const redraw = () => place.update(data(), axes());
  fill(
    host,
    h("div", { className: "row" }, pick("Across", across, (k) => ((across = k), redraw())), pick("Up", up, (k) => ((up = k), redraw()))),
    chart,
    h("details", {}, h("summary", {}, members.length === 1 ? "The front's one genome" : `The front's ${members.length} genomes`), h("div", { className: "scroll", tabindex: 0, role: "region", "aria-label": "Front" }, frontTable(file, members))),
  ); // prettier-ignore
}

function frontTable(file, members) {
  const { objectives } = file.header.head;
  return h(
    "table",
    {},
    h("thead", {}, h("tr", {}, ["genome", ...objectives.map(({ name }) => name), "what it is", "genes"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, members.map((i) => h("tr", {},
      h("th", { scope: "row", className: "mono" }, file.idOf(i).slice(0, 12)),
      objectives.map((one) => h("td", { className: "num" }, text(one, file.header.exact[i]?.[one.name] ?? NaN))),
      h("td", {}, file.header.details[i]?.summary ?? ""),
      h("td", { className: "genes" }, Object.entries(file.header.genes[i] ?? {}).map(([gene, value]) => `${gene} ${valueText(value)}`).join(", "))))),
  ); // prettier-ignore
}

/** Every genome in rows, fifty at a time, by birth or by an objective. */
function genomes(host, file, model) {
  const { objectives } = file.header.head;
  const state = { sort: -1, page: 0 };
  const paint = () => {
    const order = Int32Array.from({ length: file.count }, (_, i) => file.count - 1 - i);
    if (state.sort >= 0) {
      const sign = objectives[state.sort].direction === "max" ? -1 : 1;
      const values = file.values[state.sort];
      const key = (i) => (Number.isNaN(values[i]) ? Infinity : sign * values[i]);
      order.sort((a, b) => key(a) - key(b) || a - b);
    }
    const pages = Math.max(1, Math.ceil(file.count / 50));
    const rows = [...order.subarray(state.page * 50, state.page * 50 + 50)];
    const by = (label, sort) => h("th", { scope: "col", "aria-sort": state.sort === sort ? "descending" : "none" }, h("button", { type: "button", className: "bare", onclick: () => go({ sort, page: 0 }) }, label));
    fill(
      host,
      h("p", { className: "faint" }, `${file.count.toLocaleString("en")} genomes, page ${state.page + 1} of ${pages}`),
      h("div", { className: "scroll", tabindex: 0, role: "region", "aria-label": "Genomes" }, h("table", {},
        h("thead", {}, h("tr", {}, by("birth", -1), h("th", { scope: "col" }, "genome"), h("th", { scope: "col" }, "operator"), objectives.map(({ name }, k) => by(name, k)), h("th", { scope: "col" }, "standing"))),
        h("tbody", {}, rows.map((i) => h("tr", {}, h("td", {}, String(file.birth[i])), h("td", { className: "mono" }, file.idOf(i).slice(0, 12)),
          h("td", {}, model.told.operators[model.operator[i]]), objectives.map((one, k) => h("td", { className: "num" }, Number.isNaN(file.values[k][i]) ? "none" : text(one, file.values[k][i]))),
          h("td", {}, standingText(model, i))))))),
      h("div", { className: "row" },
        h("button", { type: "button", className: "btn sm", disabled: !state.page, onclick: () => go({ page: state.page - 1 }) }, "Previous"),
        h("button", { type: "button", className: "btn sm", disabled: state.page + 1 >= pages, onclick: () => go({ page: state.page + 1 }) }, "Next")),
    ); // prettier-ignore
  };
  const go = (change) => {
    Object.assign(state, change);
    paint();
  };
  paint();
}

/** Show the file: called once by its start-up script with the unpacked header and bytes. */
export async function show(header, bytes) {
  const file = openFile(header, bytes);
  const themed = (name) => (document.documentElement.dataset.theme = name);
  themed(matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark");
  const next = () => themed(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]);
  bind("t", "Next theme", next);
  listen(() => false);
  const told = h("p", { className: "toasts", role: "status" });
  $("#facts").append(facts(header));
  $("#theme").addEventListener("click", next);
  front($("#front"), file);
  const mounted = await mountLineage($("#lineage"), file, { ...addressState(), bind, toast: (message) => (told.textContent = message) });
  if (mounted) genomes($("#genomes"), file, mounted.view.model);
  // For whoever checks a file: where the tree put its births.
  $("#lineage").placesOfBirths = () => [...mounted.view.model.y];
  document.body.append(told);
  document.body.dataset.ready = String(header.head.living.every((at) => file.standing[at] & LIVING));
}

// One genome: its genes beside its parents', what came of it, how each training went, and who checked its claims.

import { line } from "../charts/line.js";
import { relaxation } from "../charts/relaxation.js";
import { format } from "../charts/scale.js";
import { claimEntry } from "../claims.js";
import { $, fill, h } from "../dom.js";
import { getJson } from "../data.js";
import { follow } from "../follow.js";
import { bind, compareAndSay, order, visited } from "../shell.js";
import { getParam, setParam, withRun } from "../state.js";
import { verifyButton } from "../verify.js";
import { geneText, genomeLink, panel, short, span, table, trouble, when } from "../words.js";

const root = $("#genome");
const id = root.dataset.genome;
const UNITS = { accuracy: "share of examples", memory: "bytes", peak_bytes: "bytes", loss: "" };
const AXES = { epoch: "epoch", samples: "training samples", train_cpu_s: "CPU seconds" };
let shown = null;
let seen = "";
let ends = [];

async function load() {
  try {
    const found = await getJson(`/api/genome/${id}`);
    // What is on the page is made again only where something changed: a chart in use stays.
    const now = JSON.stringify([found.evaluations_count, found.children_count, found.claims]);
    if (now === seen) return;
    seen = now;
    shown = found;
    draw();
  } catch (error) {
    if (!shown) fill(root, trouble(error));
  }
}

function draw() {
  for (const end of ends) end();
  ends = [];
  visited(withRun(`/genome/${id}`), `${short(id)} · ${shown.summary}`);
  const side = shown.genes.find((gene) => gene.name === "side")?.value;
  fill(root, heading(), genes(), family(), results(), training(), settling(), side ? cube(side) : null, claims());
}

function heading() {
  const verify = verifyButton(id, "Verify", "Train it on one more fresh seed");
  verify.element.id = "verify";
  verify.element.className = "btn";
  verify.why.id = "verify-why";
  return h(
    "div",
    { className: "head" },
    h("h2", { className: "gid mono", title: id }, short(id)),
    h("span", { className: "tag" }, shown.space),
    h(
      "span",
      { className: "row" },
      h("button", { className: "btn", type: "button", onclick: () => compareAndSay(id) }, "Compare"),
      verify.element,
      h("a", { className: "btn", href: withRun("/lineage", { genome: id }) }, "Lineage"),
      h("a", { className: "btn", href: withRun("/builder", { genome: id }) }, "Open in the builder"),
      h("a", { className: "btn", href: `/api/genome/${id}/export`, download: `${short(id)}.json` }, "Export JSON"),
    ),
    verify.why,
    h("p", {}, shown.summary, h("br", {}), h("span", { className: "mono faint" }, id)),
  );
}

function genes() {
  const { element, body, words } = panel("Genes", "", "span7");
  const parents = shown.parents.slice(0, 2);
  const changed = shown.genes.filter((gene) => gene.changed).length;
  words.textContent = parents.length ? `${changed} of ${shown.genes.length} differ from a parent` : `${shown.genes.length}, no parents`;
  const domain = (card) => (!card ? "" : card.kind === "choice" ? card.levels.join(", ") : `${card.low} to ${card.high}${card.scale === "log" ? ", log" : ""}`);
  fill(
    body,
    h(
      "div",
      { className: "scroll", tabindex: 0, role: "region", "aria-label": "Genes" },
      h(
        "table",
        { className: "genes-table" },
        h("caption", { className: "sr" }, "Genes of this genome beside its parents'"),
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Gene"), h("th", { scope: "col" }, "Value"), parents.map((parent, at) => h("th", { scope: "col" }, `Parent ${at + 1} `, shown.known_parents.includes(parent) ? genomeLink(parent, parent.slice(0, 8)) : h("span", { title: parent }, `${parent.slice(0, 8)} (not here)`))), h("th", { scope: "col" }, "What it is"))),
        h(
          "tbody",
          {},
          shown.genes.map((gene) =>
            h(
              "tr",
              { className: gene.changed ? "changed" : null },
              h("th", { scope: "row" }, gene.name),
              h("td", { className: "mono now" }, gene.value === null ? h("span", { className: "faint" }, "not expressed") : geneText(gene.value)),
              parents.map((parent, at) => {
                const known = shown.known_parents.includes(parent);
                const other = known && gene.parents[at] !== gene.value;
                return h("td", { className: `mono was ${other ? "other" : ""}` }, known ? geneText(gene.parents[at]) : "", other ? h("span", { className: "sr" }, " (differs)") : null);
              }),
              h("td", { className: "doc" }, gene.card?.doc ?? "", gene.card ? h("span", { className: "faint" }, ` [${domain(gene.card)}]`) : null),
            ),
          ),
        ),
      ),
    ),
  );
  return element;
}

function family() {
  const { element, body } = panel("Birth and kin", "", "span5");
  const links = (ids) => h("span", { className: "ids" }, ids.map((one) => genomeLink(one)));
  fill(
    body,
    shown.births.length
      ? table("Births of this genome", [["Born", true], ["Operator"], ["Seed", true], ["From"]], shown.births.map((birth) => [birth.born, birth.operator, birth.seed.length > 12 ? h("span", { title: birth.seed }, `${birth.seed.slice(0, 10)}…`) : birth.seed, birth.parents.length ? links(birth.parents) : "nobody"]))
      : h("p", { className: "dim" }, "No birth is on record: it came with a peer's claim."),
    h("h3", {}, `Children: ${shown.children_count}`),
    shown.children.length ? links(shown.children) : h("p", { className: "dim" }, "None so far."),
    shown.children_count > shown.children.length ? h("p", { className: "dim" }, `The first ${shown.children.length} are listed; the lineage has all.`) : null,
    Object.entries(shown.fresh).map(([run, by]) => [
      h("h3", {}, `On fresh seeds, run ${run}`),
      table("Means over fresh seeds", [["Objective"], ["Mean", true], ["95 % interval", true], ["Seeds", true]], Object.entries(by).map(([name, one]) => [name, format(one.mean, UNITS[name] ?? ""), one.half_width === null ? "needs two seeds" : `± ${format(one.half_width, UNITS[name] ?? "")}`, one.n])),
    ]),
  );
  return element;
}

function results() {
  const { element, body, words } = panel("Evaluations", "", "");
  words.textContent = `${shown.evaluations_count} on record${shown.evaluations_count > shown.evaluations.length ? `, the first ${shown.evaluations.length} here` : ""}`;
  const names = [...new Set(shown.evaluations.flatMap((one) => Object.keys(one.objectives)))];
  if (!shown.evaluations.length) {
    fill(body, h("p", { className: "dim" }, "This store has no evaluation of it: it was imported, or a peer claimed it."));
    return element;
  }
  const machines = [...new Set(shown.evaluations.map((one) => one.machine).filter(Boolean))];
  fill(
    body,
    table(
      "Evaluations of this genome",
      [["Run", true], ["Purpose"], ["Seed", true], ["Class"], ["Backend"], ...names.map((name) => [name, true]), ["Train CPU", true], ["Peak", true], ["Samples/s", true], ["Finished"], ["Result"]],
      shown.evaluations.map((one) => [
        `${one.run} ${one.task} ${one.tier}`,
        one.purpose === "rescore" ? `fresh seed ${one.ask}` : one.purpose,
        one.seed,
        one.arithmetic,
        one.backend || "–",
        ...names.map((name) => format(one.objectives[name] ?? null, UNITS[name] ?? "")),
        span(one.train_cpu_s),
        format(one.peak_bytes || null, "bytes"),
        format(one.samples_per_s || null),
        when(one.finished_at),
        one.failure ? h("span", { className: "bad" }, `✗ ${one.failure}`) : h("span", { className: "good" }, "✓"),
      ]),
    ),
    shown.evaluations.filter((one) => one.failure).slice(0, 8).map((one) => h("details", { open: true }, h("summary", {}, `Why it failed: ${one.failure}, seed ${one.seed}`), h("p", { className: "mono" }, one.detail || "no detail"))),
    machines.length ? h("p", { className: "dim" }, `Calibrated on ${machines.join("; ")}.`) : null,
  );
  return element;
}

// Training

const trained = () => shown.evaluations.filter((one) => one.points > 0);

function training() {
  const { element, body, actions, words } = panel("Training", "", "span7");
  const every = trained();
  if (!every.length) {
    fill(body, h("p", { className: "dim" }, "No evaluation of this genome left a curve: nothing was trained, or it failed before the first checkpoint."));
    return element;
  }
  const wanted = Number(getParam("evaluation"));
  const chosen = every.find((one) => one.id === wanted) ?? every[0];
  const which = h("select", { className: "sel" }, every.map((one) => h("option", { value: one.id, selected: one.id === chosen.id }, `run ${one.run}, ${one.purpose === "rescore" ? `fresh seed ${one.ask}` : one.purpose}, seed ${one.seed}`)));
  const figure = h("select", { className: "sel" });
  const along = h("select", { className: "sel" });
  const host = h("div", {});
  const last = h("div", {});
  fill(body, h("div", { className: "choose" }, h("label", {}, "Evaluation", which), h("label", {}, "Figure", figure), h("label", {}, "Along", along)), host, last);
  let curve = {};
  let chart = null;
  ends.push(() => chart?.end());

  function plot() {
    chart?.end();
    const base = figure.value;
    const x = curve[along.value];
    const names = Object.keys(curve).filter((name) => name === base || name.startsWith(`${base}.`));
    const series = names.map((name) => ({ label: name === base ? base.replaceAll("_", " ") : name.slice(base.length + 1), x, y: curve[name].map((value) => value ?? NaN), points: x.length < 50 }));
    chart = line(host, {
      name: `${short(id)}-${base}`,
      label: `${base.replaceAll("_", " ")} by ${AXES[along.value]}`,
      series,
      x: { label: AXES[along.value], unit: "" },
      y: { label: base.replaceAll("_", " "), unit: UNITS[base] ?? "" },
      height: 220,
      menu: actions,
    });
  }

  async function fetchOne() {
    try {
      const found = await getJson(`/api/evaluation/${which.value}/training`);
      curve = found.curve;
      const axes = Object.keys(AXES).filter((name) => curve[name]?.length);
      const bases = [...new Set(Object.keys(curve).map((name) => name.split(".")[0]))].filter((name) => !(name in AXES));
      const keep = (select, values, first) => {
        const old = select.value || first;
        fill(select, values.map((name) => h("option", { value: name, selected: name === old }, (AXES[name] ?? name).replaceAll("_", " "))));
      };
      keep(figure, bases, getParam("figure", "accuracy"));
      keep(along, axes, getParam("along", "epoch"));
      words.textContent = `${curve[axes[0]]?.length ?? 0} checkpoints`;
      plot();
      facts(found);
      showSettling(found.settling);
    } catch (error) {
      fill(host, trouble(error));
    }
  }

  function facts(found) {
    const numbers = Object.entries(found.measured).filter(([, value]) => typeof value === "number");
    const layers = ["spectral_norm", "gradient_norm"].filter((name) => Object.keys(found.settling[name] ?? {}).length);
    const rows = [...new Set(layers.flatMap((name) => Object.keys(found.settling[name])))];
    fill(
      last,
      h("h3", {}, "Measured"),
      h("dl", { className: "facts" }, numbers.map(([name, value]) => h("div", {}, h("dt", {}, name.replace(/(?<!per)_s$/, "").replaceAll("_", " ").replace("cpu", "CPU")), h("dd", {}, name.endsWith("_s") && !name.startsWith("samples") ? span(value) : format(value, UNITS[name] ?? ""))))),
      layers.length ? table("Norms by weight at the end", [["Weight"], ...layers.map((name) => [name.replaceAll("_", " "), true])], rows.map((row) => [row, ...layers.map((name) => format(found.settling[name][row] ?? null))])) : null,
      h("p", { className: "faint" }, Object.entries(found.versions).map(([name, version]) => `${name} ${version}`).join(", ")),
    );
  }

  which.addEventListener("change", () => {
    setParam("evaluation", which.value);
    fetchOne();
  });
  for (const [name, select] of [["figure", figure], ["along", along]]) {
    select.addEventListener("change", () => {
      setParam(name, select.value);
      plot();
    });
  }
  fetchOne();
  return element;
}

let settlingAt = null;
let settlingEnd = null;

function settling() {
  const { element, body, actions } = panel("Relaxation", "energy and largest change by sweep", "span5");
  settlingAt = { body, actions };
  ends.push(() => {
    settlingEnd?.end();
    settlingEnd = null;
  });
  fill(body, h("p", { className: "dim" }, trained().length ? "Reading the record." : "No trace of settling is recorded."));
  return element;
}

function showSettling(found) {
  settlingEnd?.end();
  settlingEnd = relaxation(settlingAt.body, found, { menu: settlingAt.actions });
}

function cube(side) {
  const { element, body, actions } = panel("Lattice", `${side} x ${side} x ${side} units`, "span7");
  import("../charts/lattice.js").then(({ lattice }) => {
    const made = lattice(body, side, { menu: actions });
    ends.push(made.end);
  });
  return element;
}

function claims() {
  const { element, body, words } = panel("Claims and checks", "", "");
  words.textContent = shown.claims.length ? `${shown.claims.length} about this genome` : "";
  const now = Date.now() / 1000;
  fill(body, shown.claims.length ? shown.claims.map((claim) => claimEntry(claim, now, { genome: false })) : h("p", { className: "dim" }, "No peer claimed anything about this genome, as far as this store knows."));
  return element;
}

bind("c", "Compare the genome, or no longer", () => compareAndSay(id));
bind("[", "Parent", () => {
  const parent = shown?.known_parents[0];
  if (!parent) return false;
  location.assign(withRun(`/genome/${parent}`));
});
bind("]", "First child", () => {
  const child = shown?.children[0];
  if (!child) return false;
  location.assign(withRun(`/genome/${child}`));
});
bind("b", "Open in the builder", () => location.assign(withRun("/builder", { genome: id })));
bind("v", "Verify it on the running node", () => $("#verify")?.disabled === false && order("verify", { target: id }));
load();
follow(["evaluations", "births", "signed", "beliefs", "findings"], load);

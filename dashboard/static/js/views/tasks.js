// The tasks of the store's runs: what is compared with what, how far each run is, and its best.

import { format } from "../charts/scale.js";
import { $, fill, h } from "../dom.js";
import { getJson } from "../data.js";
import { follow } from "../follow.js";
import { genomeLink, panel, table, tag, trouble, when } from "../words.js";

const root = $("#tasks");
const sum = (counts) => Object.values(counts).reduce((a, b) => a + b, 0);
let seen = "";

async function load() {
  try {
    const { tasks } = await getJson("/api/tasks");
    const text = JSON.stringify(tasks);
    if (text !== seen) {
      seen = text;
      draw(tasks);
    }
  } catch (error) {
    if (!seen) fill(root, trouble(error));
  }
}

function draw(tasks) {
  if (!tasks.length) {
    fill(root, h("section", { className: "panel" }, h("div", { className: "body none" }, h("p", {}, `Store ${document.body.dataset.store} has no task: 0 runs.`), h("p", { className: "dim" }, "A search begins one: ", h("code", {}, "eqmesh search --task digits")))));
    return;
  }
  const open = new Set([...root.querySelectorAll("details[open]")].map((each) => each.id));
  fill(root, tasks.map((task, at) => entry(task, at)));
  for (const each of root.querySelectorAll("details")) if (open.has(each.id)) each.open = true;
}

function entry(task, at) {
  const { element, body } = panel(`${task.task} ${at + 1}`, "", "task");
  const title = element.querySelector("h2");
  title.id = `task-${at}`;
  title.textContent = `${task.task}, ${task.tier}, ${task.arithmetic}`;
  element.setAttribute("aria-labelledby", title.id);
  element.dataset.task = task.task;
  element.id = at === 0 || !document.getElementById(task.task) ? task.task : `task-of-${at}`;
  fill(
    body,
    h(
      "dl",
      { className: "facts" },
      fact("Evaluations", task.evaluations.toLocaleString(), true),
      fact("Failed", `${task.failures.toLocaleString()}${task.evaluations ? ` (${((100 * task.failures) / task.evaluations).toFixed(1)} %)` : ""}`, true),
      fact("Runs", String(task.runs.length), true),
      task.best.map(({ objective, value, genome }) => h("div", {}, h("dt", {}, `Best ${objective.name}, as selected`), h("dd", { className: "big" }, format(value, objective.unit)), h("dd", {}, genomeLink(genome)))),
    ),
    h("p", { className: "dim" }, `Objectives: ${task.objectives.map((o) => `${o.name} (${o.unit}, ${o.direction === "max" ? "more" : "less"} is better)`).join("; ")}.`),
    h("p", { className: "dim" }, `Splits: ${task.split || "what the task's own code says; it is not loaded here"}.`),
    h("p", { className: "faint mono" }, `task id ${task.task_id}`),
    table(
      `Runs of ${task.task}`,
      [["Run", true], ["State"], ["Strategy"], ["Space"], ["Seed", true], ["Search", true], ["Fresh seeds", true], ["Failed", true], ["Best"], ["Begun"], ["Last result"]],
      task.runs.map((run) => [
        h("a", { href: `/genomes?run=${run.head.id}` }, String(run.head.id)),
        [tag(run.state), run.why ? ` ${run.why}` : null],
        run.head.strategy,
        run.head.space,
        run.head.seed,
        ((run.counts.search ?? 0) + (run.counts.baseline ?? 0)).toLocaleString(),
        (run.counts.rescore ?? 0).toLocaleString(),
        sum(run.failures) ? h("span", { title: Object.entries(run.failures).map(([kind, n]) => `${kind} ${n}`).join(", ") }, sum(run.failures).toLocaleString()) : "0",
        run.best[0] ? [format(run.best[0].value, run.best[0].objective.unit), " ", genomeLink(run.best[0].genome, run.best[0].genome.slice(0, 8))] : "–",
        when(run.head.created_at),
        when(run.head.last_at),
      ]),
    ),
    task.runs.slice(0, 12).map((run) =>
      h("details", { id: `settings-${run.head.id}` }, h("summary", {}, `Settings of run ${run.head.id}`), h("pre", { tabindex: 0 }, JSON.stringify(run.settings, null, 2))),
    ),
  );
  return element;
}

const fact = (name, value, big = false) => h("div", {}, h("dt", {}, name), h("dd", { className: big ? "big" : null }, value));

load();
follow(["runs", "evaluations", "events"], load, 2000);

// The search field: views, genomes by the start of their id, peers, tasks; saved and recent places before anything is typed.

import { $, fill, h, icon } from "./dom.js";
import { getJson } from "./data.js";
import { pinned, recent } from "./keep.js";
import { withRun } from "./state.js";

const WAIT_MS = 90;
let dialog = null;
let asked = 0;

const views = () =>
  [...document.querySelectorAll(".rail nav a")].map((a) => ({
    kind: "view",
    icon: a.dataset.icon,
    label: a.querySelector(".name").textContent,
    href: a.getAttribute("href"),
  }));

/** Open the search field. */
export function openPalette() {
  dialog ??= make();
  if (dialog.open) return;
  const input = $("input", dialog);
  input.value = "";
  dialog.showModal();
  input.focus();
  show(initial());
}

const initial = () => [
  ...pinned().map((item) => ({ ...item, kind: "saved", icon: "pin" })),
  ...recent().slice(0, 6).map((item) => ({ ...item, kind: "recent", icon: "lineage" })),
  ...views(),
];

function make() {
  const input = h("input", {
    type: "text",
    role: "combobox",
    "aria-expanded": "true",
    "aria-controls": "found",
    "aria-label": "Search genomes, peers, tasks and views",
    placeholder: "Genome id, peer, task or view",
    autocomplete: "off",
    spellcheck: "false",
    maxlength: 100,
  });
  const list = h("ul", { id: "found", role: "listbox", "aria-label": "Results" });
  const said = h("p", { className: "sr", role: "status" });
  const made = h("dialog", { className: "palette", "aria-label": "Search" }, input, list, said);
  let timer = 0;
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => look(input.value.trim()), WAIT_MS);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      move(event.key === "ArrowDown" ? 1 : -1);
      event.preventDefault();
    } else if (event.key === "Enter") {
      $("[aria-selected=true]", made)?.click();
      event.preventDefault();
    }
  });
  made.addEventListener("click", (event) => {
    if (event.target === made) made.close();
  });
  document.body.append(made);
  return made;
}

async function look(text) {
  const turn = ++asked;
  if (!text) {
    show(initial());
    return;
  }
  const low = text.toLowerCase();
  const own = [...initial()].filter((item) => item.label.toLowerCase().includes(low));
  let found = [];
  try {
    found = (await getJson(withRun("/api/search", { q: text }))).found;
  } catch (error) {
    found = [{ kind: "note", icon: "cross", label: error.message, href: null }];
  }
  if (turn === asked) show([...found.map((item) => ({ ...item, icon: item.kind })), ...own]);
}

const ICON = { genome: "genomes", peer: "peers", task: "tasks" };

function show(items) {
  const list = $("#found", dialog);
  const seen = new Set();
  const unique = items.filter((item) => !item.href || (!seen.has(item.href) && seen.add(item.href))).slice(0, 20);
  fill(
    list,
    unique.map((item, at) =>
      h(
        "li",
        {
          role: "option",
          id: `found-${at}`,
          "aria-selected": at === 0 ? "true" : "false",
          "aria-disabled": item.href ? null : "true",
          dataset: { href: item.href ?? "" },
          onclick: () => item.href && location.assign(item.href),
        },
        icon(ICON[item.icon] ?? item.icon),
        h("span", { className: item.href ? "" : "dim" }, item.label),
        item.href ? h("span", { className: "tag" }, item.kind) : null,
      ),
    ),
  );
  if (!unique.length) {
    fill(list, h("li", { className: "dim none" }, "Nothing begins with that. A genome is found by the first digits of its id."));
  }
  $("[role=status]", dialog).textContent = `${unique.length} results`;
  mark();
}

function move(by) {
  const options = [...dialog.querySelectorAll("[role=option]")];
  const at = options.findIndex((option) => option.getAttribute("aria-selected") === "true");
  for (const option of options) option.setAttribute("aria-selected", "false");
  options.at((at + by) % options.length)?.setAttribute("aria-selected", "true");
  mark();
}

function mark() {
  const chosen = $("[aria-selected=true]", dialog);
  const input = $("input", dialog);
  if (chosen) {
    input.setAttribute("aria-activedescendant", chosen.id);
    chosen.scrollIntoView({ block: "nearest" });
  } else input.removeAttribute("aria-activedescendant");
}

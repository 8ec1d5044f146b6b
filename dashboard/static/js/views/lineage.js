// The lineage page: the view on what the server tells.

import { $ } from "../dom.js";
import { getColumns, getJson } from "../data.js";
import { subscribe } from "../live.js";
import { bind, compareAndSay, openPalette, toast, visited } from "../shell.js";
import { getParam, onParams, setParam, withRun } from "../state.js";
import { mountLineage } from "../lineage/view.js";

const source = {
  columns: (extinct, begin = 0, version = 0) => getColumns(withRun("/api/lineage", { extinct, begin, version })),
  detail: (place) => getJson(withRun(`/api/lineage/genome/${place}`)),
  place: (id) => getJson(withRun("/api/lineage/place", { id })),
  names: (places) => (places.length ? getJson(withRun("/api/lineage/names", { of: [...places].join(",") })) : {}),
  find: async (q) => (await getColumns(withRun("/api/lineage/find", { q }))).columns.place,
};

mountLineage($("#lineage"), source, {
  bind,
  toast,
  visited,
  getParam,
  setParam,
  onParams,
  subscribe,
  compare: compareAndSay,
  palette: openPalette,
  link: (id) => withRun(`/genome/${id}`),
});

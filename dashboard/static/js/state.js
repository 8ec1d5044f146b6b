// What is chosen lives in the address: it can be sent, kept and gone back to.

const listeners = new Set();

/** The value of a parameter of the address, or `otherwise`. */
export function getParam(name, otherwise = null) {
  return new URLSearchParams(location.search).get(name) ?? otherwise;
}

/** A parameter that is a list, separated by commas; at most `most` items. */
export function getList(name, most = 64) {
  return (getParam(name, "") || "").split(",").filter(Boolean).slice(0, most);
}

/**
 * Set one parameter, or several as an object; null or "" takes one out. `push` makes an entry in the history, without
 * it the present one is replaced.
 */
export function setParam(name, value, { push = false } = {}) {
  const changes = typeof name === "string" ? { [name]: value } : name;
  const given = typeof name === "string" ? { push } : (value ?? {});
  const params = new URLSearchParams(location.search);
  for (const [key, to] of Object.entries(changes)) {
    if (to === null || to === undefined || to === "" || to === false) params.delete(key);
    else params.set(key, Array.isArray(to) ? to.join(",") : String(to));
  }
  const query = params.toString();
  const url = location.pathname + (query ? `?${query}` : "") + location.hash;
  if (url === location.pathname + location.search + location.hash) return;
  history[given.push ? "pushState" : "replaceState"](null, "", url);
  tell();
}

/** Call `listener(params)` whenever the address changes, by `setParam` or the browser's own buttons. Gives an undo. */
export function onParams(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** The address of another page or question with the run that this page shows. */
export function withRun(path, params = {}) {
  const query = new URLSearchParams(params);
  const run = getParam("run");
  if (run && !query.has("run")) query.set("run", run);
  const text = query.toString();
  return text ? `${path}${path.includes("?") ? "&" : "?"}${text}` : path;
}

function tell() {
  const params = new URLSearchParams(location.search);
  for (const listener of listeners) listener(params);
}

addEventListener("popstate", tell);

// What this browser remembers: recent items, saved views, the compare list, switches. Bounded, and never trusted.

const PREFIX = "eqmesh.";
const MOST = { recent: 12, pinned: 24, compare: 8 };
const LONGEST = 300;

function load(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + name)) ?? otherwise;
  } catch {
    return otherwise; // corrupt, or storage is refused
  }
}

function store(name, value) {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // Full or refused: then it is not remembered.
  }
  dispatchEvent(new CustomEvent("eqmesh:kept", { detail: name }));
}

const isPlace = (item) =>
  item &&
  typeof item.href === "string" &&
  /^\/(?!\/)/.test(item.href) &&
  item.href.length <= LONGEST &&
  typeof item.label === "string";

function places(name) {
  const found = load(name, []);
  return Array.isArray(found) ? found.filter(isPlace).slice(0, MOST[name]) : [];
}

/** Items that were looked at, the last one first: `{href, label}`. */
export const recent = () => places("recent");

/** Put an item at the head of the recent ones; views call it with what they show. */
export function visited(href, label) {
  const item = { href: href.slice(0, LONGEST), label: label.slice(0, 80) };
  if (isPlace(item)) store("recent", [item, ...recent().filter((other) => other.href !== item.href)].slice(0, MOST.recent));
}

/** Saved views: `{href, label}`. */
export const pinned = () => places("pinned");

/** Save a view, or forget it if it is saved; whether it is saved now. */
export function togglePin(href, label) {
  const others = pinned().filter((item) => item.href !== href);
  const on = others.length === pinned().length;
  const item = { href, label: label.slice(0, 80) };
  store("pinned", on && isPlace(item) ? [item, ...others].slice(0, MOST.pinned) : others);
  return on && isPlace(item);
}

/** Ids of the genomes to be compared, at most eight. */
export function compared() {
  const found = load("compare", []);
  return Array.isArray(found) ? found.filter((id) => /^[0-9a-f]{6,64}$/.test(id)).slice(0, MOST.compare) : [];
}

/** Set the genomes to be compared. */
export const compareOnly = (ids) => store("compare", ids.slice(0, MOST.compare));

/** Take a genome into the comparison, or out of it: "added", "removed" or "full". */
export function toggleCompare(id) {
  const ids = compared();
  if (ids.includes(id)) {
    compareOnly(ids.filter((other) => other !== id));
    return "removed";
  }
  if (ids.length >= MOST.compare) return "full";
  compareOnly([...ids, id]);
  return "added";
}

/** Whether single keys do something. */
export const keysOn = () => load("keys", true) !== false;

/** Switch the keys on or off. */
export const switchKeys = (on) => store("keys", Boolean(on));

/** Remember the theme; the script in the head of the page reads it as it is. */
export function keepTheme(name) {
  try {
    localStorage.setItem(`${PREFIX}theme`, name);
  } catch {
    // Then the next page begins with the system's.
  }
}

// Elements without strings of HTML: names, properties and children; text is always text.

const SVG = "http://www.w3.org/2000/svg";

/** The first element that matches, within `root`. */
export const $ = (selector, root = document) => root.querySelector(selector);

/** All elements that match, as an array. */
export const all = (selector, root = document) => [...root.querySelectorAll(selector)];

function furnish(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, to] of Object.entries(value)) element.style.setProperty(key, String(to));
    else if (name === "dataset") Object.assign(element.dataset, value);
    else element.setAttribute(name === "className" ? "class" : name, value === true ? "" : String(value));
  }
  add(element, children);
  return element;
}

/** Append children: elements, text, or lists of them; null and false are left out. */
export function add(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

/** Replace what an element holds. */
export function fill(element, ...children) {
  element.replaceChildren();
  return add(element, children);
}

/** An HTML element: `h("a", {href: "/", onclick: fn, dataset: {id}, style: {width: "3px"}}, "text", child)`. */
export const h = (tag, props, ...children) => furnish(document.createElement(tag), props, children);

/** An SVG element, by the same rules. */
export const svg = (tag, props, ...children) => furnish(document.createElementNS(SVG, tag), props, children);

const ICONS = {
  overview: "M2.5 2.5h4.5v4.5h-4.5zM9 2.5h4.5v4.5h-4.5zM2.5 9h4.5v4.5h-4.5zM9 9h4.5v4.5h-4.5z",
  pareto: "M2.5 2v11.5h11.5M5 5v3.5h3v2.5h5",
  lineage: "M3 8h3m0-4.5v9M6 3.5h4m-4 9h4M10 2v3m0 0h3.5M10 2h3.5M10 11v3h3.5M10 11h3.5",
  genomes: "M4 2c0 6 8 6 8 12M12 2c0 6-8 6-8 12M5 4.5h6M5 11.5h6",
  compare: "M8 2v12M2.5 5h3v6h-3zM10.5 3.5h3v7.5h-3z",
  peers: "M8 2.2a1.6 1.6 0 1 0 .01 0M3.3 10.8a1.6 1.6 0 1 0 .01 0M12.7 10.8a1.6 1.6 0 1 0 .01 0M7.2 5.2l-3 5.4M8.8 5.2l3 5.4M5 12.4h6",
  tasks: "M2.5 4h1m2.5 0h8M2.5 8h1m2.5 0h8M2.5 12h1m2.5 0h8",
  resources: "M2 8.5h2.5l2-5 3 9 2-4h2.5",
  builder: "M2.5 6h3.5v4h-3.5zM10 2.5h3.5v3.5h-3.5zM10 10h3.5v3.5h-3.5zM6 8h2V4.2h2M8 8v3.8h2",
  export: "M8 2.5v7.5m-3.2-3l3.2 3.2 3.2-3.2M2.5 13.5h11",
  lab: "M6 2.5h4M7 2.5v4L3 13h10L9 6.5v-4M5 10h6",
  check: "M2.5 8.5l3.5 3.5 7.5-8",
  cross: "M3.5 3.5l9 9m0-9l-9 9",
  up: "M8 13V3m-4 4l4-4 4 4",
  plus: "M8 3v10M3 8h10",
  search: "M7 2.5a4.5 4.5 0 1 0 .01 0M10.3 10.3l3.2 3.2",
  download: "M8 2.5v7.5m-3.2-3l3.2 3.2 3.2-3.2M2.5 13.5h11",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  play: "M4.5 3l8 5-8 5z",
  pause: "M5 3v10M11 3v10",
  stop: "M4 4h8v8H4z",
  theme: "M8 2.2a5.8 5.8 0 1 0 .01 0M8 2.2v11.6",
  keyboard: "M2 4.5h12v7.5h-12zM4.5 7h.5m2 0h.5m2 0h.5M5.5 9.5h5",
  pin: "M4 2.5h8v11l-4-3-4 3z",
  menu: "M2.5 4.5h11M2.5 8h11M2.5 11.5h11",
};

/** A 16 px icon that is drawn in the colour of its text and read out by nobody. */
export const icon = (name) =>
  svg(
    "svg",
    {
      viewBox: "0 0 16 16",
      fill: "none",
      stroke: "currentColor",
      "stroke-width": 1.5,
      "stroke-linecap": "round",
      "stroke-linejoin": "round",
      "aria-hidden": "true",
    },
    svg("path", { d: ICONS[name] ?? ICONS.tasks }),
  );

/** The value of a CSS variable of the theme, such as `css("--accent")`. */
export const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Whether the person asked for less motion. */
export const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// "Copy as CSV, SVG or PNG": to the clipboard, or as a file where the browser gives none.

import { h } from "../dom.js";

const cell = (value) => {
  let text = value === null || value === undefined ? "" : String(value);
  // A spreadsheet runs a cell that begins like a formula, and text may be a stranger's.
  if (typeof value !== "number" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

/** A table as CSV (RFC 4180). */
export const asCsv = (header, rows) => [header, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";

function save(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = h("a", { href: url, download: name, hidden: true });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

async function give(blob, name) {
  try {
    if (!document.hasFocus()) throw new Error("the clipboard needs the focus");
    if (blob.type === "image/png") await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
    else await navigator.clipboard.writeText(await blob.text());
    return "Copied";
  } catch {
    // No clipboard without a secure address or the person's leave: then it becomes a file.
    save(blob, name);
    return "Saved";
  }
}

const png = (canvas) => new Promise((done) => canvas.toBlob(done, "image/png"));

/**
 * A button with three answers. `csv` gives `[header, rows]`, `svg` a document's text, `canvas` a canvas; each may be
 * asynchronous. `name` becomes the file's.
 */
export function copyMenu({ name, csv, svg = null, canvas = null }) {
  const told = h("span", { className: "told", role: "status" });
  const menu = h("details", { className: "copy" });
  const choose = (label, make) =>
    h(
      "button",
      {
        type: "button",
        onclick: async () => {
          const [blob, suffix] = await make();
          told.textContent = await give(blob, `${name}.${suffix}`);
          menu.open = false;
          menu.querySelector("summary").focus();
          setTimeout(() => (told.textContent = ""), 2000);
        },
      },
      label,
    );
  menu.append(
    h("summary", { className: "btn sm", title: `Copy ${name} as a table or picture` }, "Copy"),
    h(
      "div",
      { className: "menu" },
      choose("as CSV", async () => [new Blob([asCsv(...(await csv()))], { type: "text/csv" }), "csv"]),
      svg && choose("as SVG", async () => [new Blob([await svg()], { type: "image/svg+xml" }), "svg"]),
      canvas && choose("as PNG", async () => [await png(await canvas()), "png"]),
    ),
  );
  menu.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && menu.open) {
      menu.open = false;
      event.stopPropagation();
      menu.querySelector("summary").focus();
    }
  });
  menu.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !menu.contains(event.relatedTarget)) menu.open = false;
  });
  return h("span", { className: "copying" }, told, menu);
}

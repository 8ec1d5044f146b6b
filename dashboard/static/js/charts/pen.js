// One way to draw for the screen and for a file: the same calls paint a canvas or write an SVG document.

/** Draws on a 2D context in CSS pixels. */
export class CanvasPen {
  constructor(context, font) {
    this.context = context;
    this.font = font;
  }

  rect(x, y, width, height, { fill = null, stroke = null, alpha = 1 }) {
    const c = this.context;
    c.globalAlpha = alpha;
    if (fill) {
      c.fillStyle = fill;
      c.fillRect(x, y, width, height);
    }
    if (stroke) {
      c.strokeStyle = stroke;
      c.lineWidth = 1;
      c.strokeRect(x, y, width, height);
    }
    c.globalAlpha = 1;
  }

  /** A line through points given as one flat list x, y, x, y. */
  path(points, { stroke = null, fill = null, width = 1, alpha = 1, dash = null }) {
    const c = this.context;
    c.globalAlpha = alpha;
    c.beginPath();
    for (let i = 0; i < points.length; i += 2) c[i ? "lineTo" : "moveTo"](points[i], points[i + 1]);
    if (fill) {
      c.fillStyle = fill;
      c.fill();
    }
    if (stroke) {
      c.setLineDash(dash ?? []);
      c.strokeStyle = stroke;
      c.lineWidth = width;
      c.stroke();
      c.setLineDash([]);
    }
    c.globalAlpha = 1;
  }

  circle(x, y, radius, { fill = null, stroke = null, width = 1, alpha = 1 }) {
    const c = this.context;
    c.globalAlpha = alpha;
    c.beginPath();
    c.arc(x, y, radius, 0, 2 * Math.PI);
    if (fill) {
      c.fillStyle = fill;
      c.fill();
    }
    if (stroke) {
      c.strokeStyle = stroke;
      c.lineWidth = width;
      c.stroke();
    }
    c.globalAlpha = 1;
  }

  /** Many equal dots at x[i], y[i]: squares where there are too many for circles to be told from them. */
  dots(x, y, count, { radius, fill, alpha = 1 }) {
    const c = this.context;
    c.globalAlpha = alpha;
    c.fillStyle = fill;
    if (count > 4000) {
      for (let i = 0; i < count; i++) c.fillRect(x[i] - radius, y[i] - radius, 2 * radius, 2 * radius);
    } else {
      c.beginPath();
      for (let i = 0; i < count; i++) {
        c.moveTo(x[i] + radius, y[i]);
        c.arc(x[i], y[i], radius, 0, 2 * Math.PI);
      }
      c.fill();
    }
    c.globalAlpha = 1;
  }

  text(words, x, y, { fill, align = "start", size = 11, weight = 400 }) {
    const c = this.context;
    c.fillStyle = fill;
    c.textAlign = align === "middle" ? "center" : align;
    c.textBaseline = "alphabetic";
    c.font = `${weight} ${size}px ${this.font}`;
    c.fillText(words, x, y);
  }
}

const escape = (text) =>
  String(text).replace(/[&<>"']/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" })[c]);
const n = (value) => String(Math.round(value * 100) / 100);

/** Writes an SVG document; `document()` gives its text. */
export class SvgPen {
  constructor(width, height, font, background) {
    this.size = [width, height];
    this.font = font;
    this.parts = [`<rect width="${n(width)}" height="${n(height)}" fill="${escape(background)}"/>`];
  }

  #style({ fill = null, stroke = null, width = 1, alpha = 1, dash = null }) {
    const line = stroke ? ` stroke="${escape(stroke)}" stroke-width="${n(width)}"` : "";
    const dashed = dash ? ` stroke-dasharray="${dash.map(n).join(" ")}"` : "";
    return `fill="${fill ? escape(fill) : "none"}"${line}${dashed}${alpha < 1 ? ` opacity="${n(alpha)}"` : ""}`;
  }

  rect(x, y, width, height, style) {
    this.parts.push(`<rect x="${n(x)}" y="${n(y)}" width="${n(width)}" height="${n(height)}" ${this.#style(style)}/>`);
  }

  path(points, style) {
    let d = "";
    for (let i = 0; i < points.length; i += 2) d += `${i ? "L" : "M"}${n(points[i])} ${n(points[i + 1])}`;
    this.parts.push(`<path d="${d}" ${this.#style(style)}/>`);
  }

  circle(x, y, radius, style) {
    this.parts.push(`<circle cx="${n(x)}" cy="${n(y)}" r="${n(radius)}" ${this.#style(style)}/>`);
  }

  dots(x, y, count, { radius, fill, alpha = 1 }) {
    this.parts.push(`<g ${this.#style({ fill, alpha })}>`);
    for (let i = 0; i < count; i++) this.parts.push(`<circle cx="${n(x[i])}" cy="${n(y[i])}" r="${n(radius)}"/>`);
    this.parts.push("</g>");
  }

  text(words, x, y, { fill, align = "start", size = 11, weight = 400 }) {
    const anchor = align === "right" ? "end" : align;
    this.parts.push(
      `<text x="${n(x)}" y="${n(y)}" fill="${escape(fill)}" text-anchor="${anchor}" font-size="${size}" font-weight="${weight}">${escape(words)}</text>`,
    );
  }

  document() {
    const [width, height] = this.size;
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${n(width)}" height="${n(height)}" viewBox="0 0 ${n(width)} ${n(height)}" font-family="${escape(this.font)}">${this.parts.join("")}</svg>\n`;
  }
}

/** Draw a mark that tells by its shape what it stands for; `kind` is one of the names in MARKS. */
export function mark(pen, kind, x, y, radius, colour) {
  const r = radius;
  switch (kind) {
    case "front":
      return pen.circle(x, y, r, { fill: colour.accent, stroke: colour.panel, width: 1 });
    case "provisional":
      return pen.circle(x, y, r, { fill: colour.panel, stroke: colour.warn, width: 1.8 });
    case "refused":
      pen.path([x - r, y - r, x + r, y + r], { stroke: colour.bad, width: 1.8 });
      return pen.path([x - r, y + r, x + r, y - r], { stroke: colour.bad, width: 1.8 });
    case "baseline":
      return pen.path([x, y - r * 1.3, x + r * 1.3, y, x, y + r * 1.3, x - r * 1.3, y, x, y - r * 1.3], {
        fill: colour.panel,
        stroke: colour.info,
        width: 1.6,
      });
    default:
      return pen.circle(x, y, r * 0.6, { fill: colour.faint, alpha: 0.6 });
  }
}

/** What a result may stand as, with the words for legends and tables. */
export const MARKS = {
  front: "Front, confirmed",
  provisional: "Claimed, not yet verified",
  refused: "Refused claim",
  baseline: "Baseline",
  dominated: "Not on the front",
};

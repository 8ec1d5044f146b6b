// The two canvases of the tree, the camera, and pointer, wheel and arrow keys on them.

import { fit, held, pan, zoom } from "./camera.js";
import { lineOf } from "./model.js";
import { changesText } from "./panels.js";
import { paintChoice, paintTree } from "./painter.js";
import { makePicker } from "./picking.js";

const CLICK = 4; // pixels that a click may move
const STEP = 60;

/** The stage: `paint()`, `paintTop()`, `fit()`, `look(camera)`, `reveal(birth)`, `size()`, `followsAll()`. */
export function makeStage(box, tree, top, { choose, hovered, choice, state }) {
  let camera = null;
  let whole = true; // shows everything, and goes on to
  let size = { width: 0, height: 0 };
  let painted = { births: [], wedges: [] };
  let picker = null;
  let hover = -1;
  let waiting = 0;

  function measured() {
    const { width, height } = box.getBoundingClientRect();
    const ratio = devicePixelRatio || 1;
    if (width !== size.width || height !== size.height || tree.width !== Math.round(width * ratio)) {
      size = { width, height };
      for (const canvas of [tree, top]) {
        canvas.width = Math.round(width * ratio);
        canvas.height = Math.round(height * ratio);
      }
    }
    return size.width > 0 && size.height > 0;
  }

  function context(canvas) {
    const ratio = devicePixelRatio || 1;
    const found = canvas.getContext("2d");
    found.setTransform(ratio, 0, 0, ratio, 0, 0);
    return found;
  }

  function now() {
    waiting = 0;
    const view = state();
    if (!measured() || !view.model) return;
    if (whole || !camera) camera = fit(view.world, size);
    painted = paintTree(context(tree), view.model, camera, size, view.colours, view.painted, choice());
    picker = null;
    paintTop();
    if (!box.dataset.painted) performance.mark("lineage.painted");
    box.dataset.painted = String(Number(box.dataset.painted ?? 0) + 1);
  }

  function paint() {
    waiting ||= requestAnimationFrame(now);
  }

  function paintTop() {
    const view = state();
    if (!camera || !view.model) return;
    const line = view.at >= 0 ? lineOf(view.model, view.at) : [];
    const labels = new Map((view.detail?.line ?? []).filter((step) => step.changes.length && step.parents.length).map((step) => [step.at, changesText(step.changes)]));
    paintChoice(context(top), view.model, camera, size, view.theme, { line, hover, labels, found: view.found });
  }

  function move(next) {
    whole = false;
    camera = held(next, state().world, size);
    paint();
  }

  const at = (event) => {
    const area = box.getBoundingClientRect();
    return [event.clientX - area.left, event.clientY - area.top];
  };

  function hit(x, y) {
    const view = state();
    if (!camera || !view.model) return null;
    picker ??= makePicker(view.model, camera, size, painted);
    return picker(x, y);
  }

  const pointers = new Map();
  let from = null;
  tree.addEventListener("pointerdown", (event) => {
    tree.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, at(event));
    from = { at: at(event), camera, moved: false };
  });
  tree.addEventListener("pointermove", (event) => {
    const [x, y] = at(event);
    if (!pointers.has(event.pointerId)) {
      const found = hit(x, y);
      const birth = found?.birth ?? -1;
      if (birth !== hover) {
        hover = birth;
        paintTop();
      }
      hovered(found);
      return;
    }
    const before = pointers.get(event.pointerId);
    const others = [...pointers].filter(([id]) => id !== event.pointerId);
    pointers.set(event.pointerId, [x, y]);
    if (Math.hypot(x - from.at[0], y - from.at[1]) > CLICK) from.moved = true;
    if (!from.moved || !camera) return;
    if (others.length) {
      const [, [ox, oy]] = others[0];
      const by = Math.hypot(x - ox, y - oy) / Math.max(1, Math.hypot(before[0] - ox, before[1] - oy));
      move(zoom(camera, state().world, size, ox, oy, by));
    } else move(pan(camera, x - before[0], y - before[1]));
  });
  const up = (event) => {
    const click = from && !from.moved && pointers.size === 1;
    pointers.delete(event.pointerId);
    if (!click || event.type === "pointercancel") return;
    const found = hit(...at(event));
    if (found) choose(found.birth ?? found.clade);
  };
  tree.addEventListener("pointerup", up);
  tree.addEventListener("pointercancel", up);
  tree.addEventListener("pointerleave", () => {
    hover = -1;
    hovered(null);
    paintTop();
  });
  tree.addEventListener(
    "wheel",
    (event) => {
      if (!camera) return;
      event.preventDefault();
      const by = Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0016));
      const [x, y] = at(event);
      // With shift along births alone, with alt along slots alone.
      move(zoom(camera, state().world, size, x, y, event.altKey ? 1 : by, event.shiftKey ? 1 : by));
    },
    { passive: false },
  );
  tree.addEventListener("dblclick", (event) => camera && move(zoom(camera, state().world, size, ...at(event), 2)));
  tree.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || !camera) return;
    const arrows = { ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] };
    const middle = [size.width / 2, size.height / 2];
    if (arrows[event.key]) move(pan(camera, ...arrows[event.key]));
    else if (event.key === "+" || event.key === "=") move(zoom(camera, state().world, size, ...middle, 1.4));
    else if (event.key === "-") move(zoom(camera, state().world, size, ...middle, 1 / 1.4));
    else return;
    event.preventDefault();
  });

  return {
    paint,
    paintTop,
    paintNow: now,
    move,
    camera: () => camera,
    painted: () => painted,
    size: () => (measured(), size),
    followsAll: () => whole,
    fit() {
      whole = true;
      paint();
    },
    look: move,
    /** Move no more than it takes to see a birth. */
    reveal(i) {
      const { model } = state();
      if (!camera || i < 0) return;
      const [x, y] = [(model.birth[i] - camera.x) * camera.sx, (model.y[i] - camera.y) * camera.sy];
      const dx = x < 40 ? 40 - x : x > size.width - 40 ? size.width - 40 - x : 0;
      const dy = y < 40 ? 40 - y : y > size.height - 40 ? size.height - 40 - y : 0;
      if (dx || dy) move(pan(camera, dx, dy));
    },
  };
}

// What part of a tree is seen: births to the right, slots downwards. Pure.

/** Room around the tree for the axis and for labels at the tips, in pixels. */
export const MARGIN = { left: 18, right: 34, top: 30, bottom: 14 };

const CLOSEST = 60;

/** A camera that shows all of `world` ({birth0, birth1, height}) in `size` ({width, height}). */
export function fit(world, size) {
  const wide = Math.max(1, world.birth1 - world.birth0);
  const high = Math.max(1, world.height);
  const sx = Math.max(1e-9, (size.width - MARGIN.left - MARGIN.right) / wide);
  const sy = Math.max(1e-9, (size.height - MARGIN.top - MARGIN.bottom) / high);
  return { x: world.birth0 - MARGIN.left / sx, y: -MARGIN.top / sy, sx, sy };
}

/** A camera on a box of the world ({x0, x1, y0, y1}), with a margin, no closer than labels need. */
export function frame(box, world, size) {
  const whole = fit(world, size);
  const wide = Math.max(1, box.x1 - box.x0) * 1.2;
  const high = Math.max(1, box.y1 - box.y0) * 1.2;
  const sx = Math.max(whole.sx, Math.min(whole.sx * 400, CLOSEST, size.width / wide));
  const sy = Math.max(whole.sy, Math.min(CLOSEST, size.height / high));
  return { sx, sy, x: (box.x0 + box.x1) / 2 - size.width / 2 / sx, y: (box.y0 + box.y1) / 2 - size.height / 2 / sy };
}

/** The camera moved by pixels. */
export const pan = (camera, dx, dy) => ({ ...camera, x: camera.x - dx / camera.sx, y: camera.y - dy / camera.sy });

/** The camera with what lies at pixel (px, py) kept there, `byX` and `byY` times as near. */
export function zoom(camera, world, size, px, py, byX, byY = byX) {
  const whole = fit(world, size);
  const sx = Math.min(CLOSEST, Math.max(whole.sx * 0.8, camera.sx * byX));
  const sy = Math.min(CLOSEST, Math.max(whole.sy * 0.8, camera.sy * byY));
  return { sx, sy, x: camera.x + px / camera.sx - px / sx, y: camera.y + py / camera.sy - py / sy };
}

/** The camera held where some of the world is still seen. */
export function held(camera, world, size) {
  const seenX = size.width / camera.sx;
  const seenY = size.height / camera.sy;
  const clamp = (value, low, high) => Math.min(Math.max(value, Math.min(low, high)), Math.max(low, high));
  return {
    ...camera,
    x: clamp(camera.x, world.birth0 - seenX * 0.5, world.birth1 - seenX * 0.5),
    y: clamp(camera.y, -seenY * 0.5, world.height - seenY * 0.5),
  };
}

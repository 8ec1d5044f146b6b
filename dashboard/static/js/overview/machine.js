// What this machine does: meters from samples of the server, taken only while somebody looks.

import { fill, h } from "../dom.js";
import { getJson } from "../data.js";
import { format } from "../charts/scale.js";
import { trouble } from "../charts/refresh.js";

const EVERY_MS = 5000;

function meter(name, share, text) {
  const known = Number.isFinite(share);
  const value = known ? Math.round(100 * Math.min(1, Math.max(0, share))) : 0;
  const track = known
    ? h("span", { className: "trk", role: "meter", "aria-label": name, "aria-valuenow": value, "aria-valuemin": 0, "aria-valuemax": 100 }, h("b", { style: { width: `${value}%` } }))
    : h("span", { className: "dim" }, "not told");
  return h("div", { className: "meter" }, h("span", null, name), track, h("span", { className: "num" }, text));
}

function meters({ machine }, before) {
  const ticks = before && machine.all_ticks - before.machine.all_ticks;
  const busy = ticks > 0 ? (machine.busy_ticks - before.machine.busy_ticks) / ticks : NaN;
  const { memory } = machine;
  const used = memory ? memory.total_bytes - memory.available_bytes : NaN;
  const of = (bytes, total) => `${format(bytes, "bytes")} of ${format(total, "bytes")}`;
  return [
    meter("CPU", busy, Number.isFinite(busy) ? `${Math.round(100 * busy)} % of ${machine.cpus} cores` : `${machine.cpus} cores`),
    memory && meter("RAM", used / memory.total_bytes, of(used, memory.total_bytes)),
    machine.gpus.flatMap((gpu, i) => [
      meter(`GPU ${i}`, gpu.busy === null ? NaN : gpu.busy / 100, gpu.name),
      gpu.total_bytes ? meter("GPU memory", gpu.used_bytes / gpu.total_bytes, of(gpu.used_bytes, gpu.total_bytes)) : null,
    ]),
    h("p", { className: "dim" }, `Load ${machine.load.map((one) => one.toFixed(2)).join(", ")} over 1, 5 and 15 minutes.`),
  ];
}

/** Show this machine in `host`, and who works on it in `sub`; sampled every five seconds while the tab is seen. */
export function machine(host, sub) {
  let before = null;
  async function sample() {
    if (document.hidden) return;
    try {
      const now = await getJson("/api/resources/machine");
      fill(host, meters(now, before));
      const workers = now.machine.workers.length;
      sub.textContent = workers ? `${workers} ${workers === 1 ? "worker" : "workers"}` : "no worker runs";
      before = now;
    } catch (error) {
      trouble(host, error);
    }
  }
  sample();
  // The first share of CPU needs two samples; nobody should wait five seconds for it.
  setTimeout(sample, 1000);
  setInterval(sample, EVERY_MS);
}

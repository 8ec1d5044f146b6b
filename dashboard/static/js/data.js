// Questions to the server: JSON, and columns of numbers as typed arrays.

const TYPES = { i32: Int32Array, f32: Float32Array, f64: Float64Array, u8: Uint8Array };

/** What went wrong with a question: `status`, and what the server says to do `next`. */
export class ApiError extends Error {
  constructor(message, status, next = "") {
    super(message);
    this.status = status;
    this.next = next;
  }
}

async function ask(url, options) {
  let answer;
  try {
    answer = await fetch(url, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The dashboard does not answer.", 0, "Start it again: eqmesh dashboard serve");
  }
  if (answer.ok) return answer;
  let told = {};
  try {
    told = await answer.json();
  } catch {
    // Not every refusal is JSON; its status says enough.
  }
  throw new ApiError(told.error ?? `The server answered ${answer.status}.`, answer.status, told.next);
}

/** The JSON of a question. Throws ApiError; `signal` aborts it. */
export async function getJson(url, { signal } = {}) {
  return (await ask(url, { signal })).json();
}

/** The columns of a question: `{rows, ...extra, columns: {name: typed array}}`. */
export async function getColumns(url, { signal } = {}) {
  return unpack(await (await ask(url, { signal })).arrayBuffer());
}

/** Columns as `dashboard/columns.py` packs them; the arrays share the buffer. */
export function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const { columns, ...rest } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const from = 4 + length;
  const arrays = {};
  for (const { name, type, offset } of columns) arrays[name] = new TYPES[type](buffer, from + offset, rest.rows);
  return { ...rest, columns: arrays };
}

/** Give the node an order: `command("pause")`, `command("verify", {target: id})`. Throws ApiError with the reason. */
export async function command(name, body = {}) {
  const answer = await ask(`/command/${name}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  return answer.json();
}

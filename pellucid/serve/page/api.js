// The client of /api/v1: JSON, server-sent events, the token, waiting when the server is busy, giving up when told to.
//
//   const { methods } = await json("GET", "methods");
//   const { id, kind, result } = await stream("explain", { prompt }, { text: (delta) => ..., progress: (p) => ..., signal });
//
// A path without a leading "/" stands under /api/v1/. Every failure is an ApiError whose `message` is a sentence to show as
// it is; an aborted signal throws an AbortError (a DOMException), as fetch does.
import { w } from "./words.js";

export class ApiError extends Error {
  constructor(message, { type = "", status = 0 } = {}) {
    super(message);
    this.name = "ApiError";
    this.type = type;
    this.status = status; // HTTP status; 0: no answer at all
  }
}

/** True where something was cancelled and not wrong. */
export const aborted = (e) => e?.name === "AbortError";

const KEY = "pellucid-token";
let askToken = null; // set by the shell: a form; resolves when a new token was entered

/** Take the token out of the address (`/#token=...`), so that it is in no bookmark and no history. */
export function takeToken() {
  const found = /^#token=(.+)$/.exec(location.hash);
  if (!found) return;
  keepToken(decodeURIComponent(found[1]));
  history.replaceState(null, "", location.pathname + location.search);
}
export function keepToken(token) {
  try { sessionStorage.setItem(KEY, token); } catch { held = token; }
}
let held = null; // where storage is forbidden
const token = () => { try { return sessionStorage.getItem(KEY); } catch { return held; } };
export function onToken(f) { askToken = f; }

const url = (path) => (path.startsWith("/") ? path : `/api/v1/${path}`);

/** Sleep that an abort ends. */
function sleep(ms, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => { clearTimeout(timer); reject(new DOMException("aborted", "AbortError")); };
    const timer = setTimeout(() => { signal?.removeEventListener("abort", stop); resolve(); }, ms);
    if (signal?.aborted) stop(); else signal?.addEventListener("abort", stop, { once: true });
  });
}

async function failure(response) {
  let error = null;
  try { ({ error } = await response.json()); } catch { /* not JSON: said below */ }
  return new ApiError(error?.message ?? `${w().odd} (${response.status})`, { type: error?.type, status: response.status });
}

/**
 * The response of a request that succeeded. `body`: plain data, sent as JSON; or a Blob, sent as it is. Options: `signal`;
 * `accept`; `busy(seconds)`, called when the server has no room and the page will ask again.
 */
export async function request(method, path, body, { signal, accept = "application/json", busy } = {}) {
  for (;;) {
    const headers = { Accept: accept };
    if (token()) headers.Authorization = `Bearer ${token()}`;
    const raw = body instanceof Blob;
    if (body !== undefined && body !== null) headers["Content-Type"] = raw ? "application/octet-stream" : "application/json";
    let response;
    try {
      response = await fetch(url(path), { method, headers, signal, cache: "no-store",
        body: body === undefined || body === null ? undefined : raw ? body : JSON.stringify(body) });
    } catch (e) {
      if (aborted(e)) throw e;
      throw new ApiError(w().lost);
    }
    if (response.status === 429) {
      const seconds = Math.min(60, Math.max(1, Number(response.headers.get("Retry-After")) || 1));
      await response.body?.cancel();
      busy?.(seconds);
      await sleep(1000 * seconds, signal);
    } else if (response.status === 401 && askToken) {
      await response.body?.cancel();
      await askToken(Boolean(token()));
    } else if (!response.ok) {
      throw await failure(response);
    } else {
      return response;
    }
  }
}

/** The JSON body of a request; null where the answer is empty. */
export async function json(method, path, body, options) {
  const response = await request(method, path, body, options);
  try {
    const text = await response.text();
    return text ? JSON.parse(text) : null;
  } catch (e) {
    if (aborted(e)) throw e;
    throw new ApiError(w().odd);
  }
}

/** [event, data] of each server-sent event of a body, as they come. */
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += value;
      const blocks = rest.split(/\r?\n\r?\n/);
      rest = blocks.pop();
      for (const block of blocks) {
        let name = "message";
        const data = [];
        for (const line of block.split(/\r?\n/)) {
          if (line.startsWith("event:")) name = line.slice(6).trim();
          else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
        }
        if (data.length) yield [name, JSON.parse(data.join("\n"))];
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // a broken connection cannot be closed again
  }
}

/**
 * Run a request and hear of it while it runs: `text(delta)`, `progress({stage, done, total, seconds_left})`,
 * `queued(place)`, `busy(seconds)`, `job(id)`. Aborting `signal` closes the connection, which stops the computing.
 * Resolves to {id, kind, result}.
 */
export async function stream(path, body, { text, progress, queued, busy, job, signal } = {}) {
  let running = null;
  try {
    const response = await request("POST", path, body, { signal, busy, accept: "text/event-stream" });
    if (!response.headers.get("Content-Type")?.includes("text/event-stream")) return await response.json();
    for await (const [name, data] of events(response.body)) {
      if (name === "job") { running = data.id; job?.(data.id); }
      else if (name === "text") text?.(data.delta);
      else if (name === "progress") progress?.(data);
      else if (name === "queued") queued?.(data.place);
      else if (name === "error") throw new ApiError(data.error.message, { type: data.error.type, status: 200 });
      else if (name === "result") return data;
    }
  } catch (e) {
    if (aborted(e) || signal?.aborted) {
      // Closing the connection is enough, but for a proxy that keeps it open: so say it too, and do not wait.
      if (running) request("POST", `jobs/${encodeURIComponent(running)}/cancel`, {}).catch(() => {});
      throw aborted(e) ? e : new DOMException("aborted", "AbortError");
    }
    if (e instanceof ApiError) throw e;
    throw new ApiError(e instanceof SyntaxError ? w().odd : w().cut);
  }
  throw new ApiError(w().cut);
}

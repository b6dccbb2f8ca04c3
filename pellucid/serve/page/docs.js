// The API as a page, drawn from /openapi.json: addresses, fields with their types and bounds, answers, a command to paste.
import { h } from "./dom.js";
import { json, takeToken } from "./api.js";

takeToken();
document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
const root = document.getElementById("api");

/** A sentence with its `code` set as such. */
const prose = (text) => text.split(/`+/).map((part, k) => (k % 2 ? h("code", null, part) : part));

/** A schema in one line: its type, choices and bounds. */
function type(schema, all) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.anyOf) return schema.anyOf.map((s) => type(s, all)).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((v) => JSON.stringify(v)).join(" | ");
  if (schema.type === "array") return `[${schema.prefixItems ? schema.prefixItems.map((s) => type(s, all)).join(", ") : type(schema.items, all)}]`;
  const bounds = [["≥", schema.minimum], [">", schema.exclusiveMinimum], ["≤", schema.maximum], ["<", schema.exclusiveMaximum]]
    .filter(([, v]) => v !== undefined).map(([sign, v]) => `${sign} ${v}`);
  return [schema.type ?? "any", ...bounds].join(" ");
}

const resolved = (schema, all) => (schema?.$ref ? all[schema.$ref.split("/").at(-1)] : schema);

function fields(schema, all) {
  const rows = Object.entries(schema?.properties ?? {}).map(([name, s]) => h("tr", null,
    h("td", null, h("code", null, name), schema.required?.includes(name) ? " *" : ""),
    h("td", null, h("code", null, type(s, all))),
    h("td", null, s.default === undefined ? "" : h("code", null, JSON.stringify(s.default)))));
  if (!rows.length) return null;
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "fields" }, h("table", null,
    h("thead", null, h("tr", null, ["field (* needed)", "type", "default"].map((x) => h("th", { scope: "col" }, x)))),
    h("tbody", null, rows)));
}

/** A body with the fields that are needed, as plain as can be. */
function example(schema, all) {
  const found = {};
  for (const name of schema?.required ?? []) {
    const s = resolved(schema.properties[name], all);
    const one = resolved(s.anyOf?.[0] ?? s, all);
    const message = { role: "user", content: "What is the capital of France?" };
    found[name] = one.type === "array" ? [one.items?.$ref ? message : "…"] : one.type === "integer" ? 1
      : name === "prompt" || name === "question" ? "What is the capital of France?" : "The capital of France is Paris.";
  }
  return found;
}

function operation(path, verb, about, all) {
  const content = about.requestBody?.content ?? {};
  const body = resolved(content["application/json"]?.schema, all);
  const query = (about.parameters ?? []).map((p) => h("tr", null, h("td", null, h("code", null, p.name), p.required ? " *" : ""),
    h("td", null, h("code", null, `${p.in}: ${type(p.schema, all)}`)),
    h("td", null, p.schema.default === undefined ? "" : h("code", null, JSON.stringify(p.schema.default)))));
  const data = body ? ` \\\n  -H 'content-type: application/json' \\\n  -d '${JSON.stringify(example(body, all)).replaceAll("'", "'\\''")}'`
    : content["application/octet-stream"] ? " \\\n  --data-binary @report.pdf" : "";
  const method = verb === "delete" ? " -X DELETE" : "";
  const answers = Object.entries(about.responses).map(([status, r]) => h("tr", null, h("td", null, h("code", null, status)), h("td", null, prose(r.description))));
  return h("details", null,
    h("summary", null, h("span", { class: "verb" }, verb.toUpperCase()), h("code", null, path), h("span", { class: "quiet" }, prose((about.description ?? "").split(/(?<=\.)\s/)[0]))),
    h("div", { class: "inside" },
      about.description && h("p", null, prose(about.description)),
      h("pre", { tabindex: "0", "aria-label": "command" }, `curl -s${method} ${location.origin}${path}${data}`),
      query.length ? h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "parameters" }, h("table", null, h("tbody", null, query))) : null,
      fields(body, all),
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "answers" }, h("table", null, h("tbody", null, answers)))));
}

try {
  const api = await json("GET", "/openapi.json");
  const all = api.components?.schemas ?? {}, groups = new Map();
  for (const [path, verbs] of Object.entries(api.paths)) {
    for (const [verb, about] of Object.entries(verbs)) {
      const tag = about.tags?.[0] ?? "other";
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(operation(path, verb, about, all));
    }
  }
  root.replaceChildren(
    h("h1", null, `${api.info.title} ${api.info.version}`), h("p", null, prose(api.info.description)),
    h("p", { class: "hint" }, "The same as data: ", h("a", { href: "/openapi.json" }, "/openapi.json")),
    ...[...groups].flatMap(([tag, list]) => [h("h2", null, tag), ...list]));
} catch (e) {
  root.replaceChildren(h("p", { class: "error", role: "alert" }, e.message));
}

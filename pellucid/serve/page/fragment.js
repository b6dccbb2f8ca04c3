// The server's own view of a result (GET traces/{id}/fragment), inside the page: its markup, which the server has escaped,
// in a shadow root of its own, with the style and the behaviour that saved files have (lens.css, lens.js).
//
//   await show(root, "traces/abc/fragment", app);
import { request } from "./api.js";
import { h } from "./dom.js";

let tools = null; // the style sheet and lens.js, once

function load() {
  return (tools ??= Promise.all([
    fetch("/static/lens.css").then((r) => r.text()),
    new Promise((resolve, reject) => {
      document.head.append(h("script", { src: "/static/lens.js", onload: resolve, onerror: () => reject(new Error("lens.js")) }));
    }),
  ]).then(([css]) => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(css + OWN);
    return sheet;
  }));
}

// Inside the page the document's own rules of lens.css (html, body) match nothing; these stand in for them.
const OWN = `
:host { display: block; font: .9375rem/1.6 var(--sans, system-ui, sans-serif); color: var(--ink); container-type: inline-size; }
h2 { font-size: 1.0625rem; font-weight: 600; margin: 0 0 .5rem; } h3 { font-size: .9375rem; font-weight: 600; margin: 1.25rem 0 .25rem; }
.grid th:first-child, .grid td:first-child, .matrix tbody th, label.choose { background: var(--card); }
th { color: var(--muted); opacity: 1; } .quiet { color: var(--muted); opacity: 1; } figcaption { opacity: 1; color: var(--muted); }
.tree small { opacity: 1; color: var(--muted); } .tree .dropped { opacity: 1; color: var(--muted); }
#tip { position: sticky; inset: auto; bottom: 0; background: var(--card); border-top: 1px solid var(--line); }
.choose button { color: var(--ink); background: var(--button); border: 1px solid var(--line); border-radius: .5rem; padding: .2rem .75rem;
  min-height: 2rem; cursor: pointer; }
.choose button[aria-pressed=true] { background: var(--ink); color: var(--card); border-color: var(--ink); font-weight: 400; }
[data-t]:focus, [data-t]:hover, button:focus-visible, .flow button.here { outline: 2px solid var(--accent); }
.flow { padding: .25rem 0 .5rem; }
.c0 { color: light-dark(#2f6fbb, #79aef0); } .c1 { color: light-dark(#a9540f, #f09a5b); } .c2 { color: light-dark(#1f7a49, #68c795); }
.c3 { color: light-dark(#a64d9b, #db8fd2); } .c4 { color: light-dark(#716306, #d3c04f); } .c5 { color: light-dark(#5c6069, #a8b0bb); }
`;

let listening = false;
const shown = new Map(); // root -> path, drawn again when the language changes

/** Show a view in `root`, in place of what was there. `path` must answer with markup of the server's own: it is parsed. */
export async function show(root, path, app) {
  if (!listening) app.on("lang", () => { for (const [r, p] of shown) if (r.isConnected) show(r, p, app); else shown.delete(r); });
  listening = true;
  shown.set(root, path);
  const where = `${path}${path.includes("?") ? "&" : "?"}lang=${app.lang()}`;
  const [sheet, html] = await Promise.all([load(), request("GET", where, null, { accept: "text/html" }).then((r) => r.text())]);
  const host = h("div", { class: "fragment" });
  const shadow = host.attachShadow({ mode: "open" });
  shadow.adoptedStyleSheets = [sheet];
  shadow.innerHTML = html;
  root.replaceChildren(host);
  globalThis.pellucidLens(shadow);
  return host;
}

// The shell: tabs, language, theme, model, permalinks; and `app`, what each tab is given.
//
// A tab is a module, loaded when it is first shown, whose default export is
//   { id, name: {en, zh}, mount(root, app), open(entry) }
// `mount` fills its panel once; `open` shows a stored result {id, kind, result, title, model, created}.
//
// app.lang()                        "en" | "zh"
// app.t({en, zh})                   the words of a tab in the reader's language
// app.on(event, f)                  "lang", "theme", "model"; "shown" with a tab's id
// app.theme()                       "light" | "dark"
// app.model()                       the model's name, or null for the server's default
// app.run(path, body, {text, progress, queued, busy, signal})  -> {id, kind, result}; body.model is filled in
// app.work(root, path, body, {text}) -> the same with progress, Cancel and errors shown in `root`; null where cancelled or failed
// app.busy(root)                    a progress bar in `root`: {element, signal, progress, queued, busy, done()}
// app.get(path, options), app.send(method, path, body, options)   JSON; paths under /api/v1/ where not absolute
// app.trace(trace)                  -> a <pellucid-trace> that shows it, which follows theme and language
// app.fragment(root, path)          the server's own view of a result (its path without lang=), in `root`
// app.link(id), app.tools(id, kinds)  a permalink; a row of buttons: copy link, save as ...
// app.show(tab), app.open(entry)    switch to a tab; show a stored result in the tab of its kind
// app.say(message)                  told to screen readers, politely
// app.error(root, e), app.clear(root)   an error in `root` (a cancelled request is none); nothing there
import { ApiError, aborted, json, keepToken, onToken, request, stream, takeToken } from "./api.js";
import { choice, download, field, h, icon, relabel } from "./dom.js";
import { lang, setLang, stage, w } from "./words.js";

const TABS = [
  { id: "explain", file: "./explain.js", kinds: ["trace", "comparison"] },
  { id: "highlight", file: "./highlight.js", kinds: ["relevance"] },
  { id: "lens", file: "./lenstab.js", kinds: ["next", "decodings", "surprisal", "logit_lens", "anatomy"] },
  { id: "chat", file: "./chat.js", kinds: ["why"] },
  { id: "documents", file: "./documents.js", kinds: ["cited", "passages"] },
  { id: "history", file: "./history.js", kinds: [] },
];
const heard = {};
const emit = (event, value) => { for (const f of heard[event] ?? []) f(value); };

// ---- theme ----------------------------------------------------------------------------------------------------

const THEME = "pellucid-theme", system = matchMedia("(prefers-color-scheme: dark)");
let kept = null;
try { kept = localStorage.getItem(THEME); } catch { /* storage is forbidden: follow the system */ }
const theme = () => (kept === "dark" || kept === "light" ? kept : system.matches ? "dark" : "light");
function paint() {
  document.documentElement.dataset.theme = theme();
  emit("theme", theme());
}
system.addEventListener("change", paint);
paint(); // before anything is drawn: this script blocks the first paint

// ---- what tabs are given --------------------------------------------------------------------------------------

let model = null;
const spoken = h("p", { class: "sr", role: "status", "aria-live": "polite" });

function say(message) {
  spoken.textContent = "";
  requestAnimationFrame(() => { spoken.textContent = message; }); // the same sentence twice is told twice
}

function error(root, e) {
  if (aborted(e)) return;
  if (!(e instanceof ApiError)) console.error(e); // a mistake of the page's own
  clear(root);
  root.append(h("p", { class: "error", role: "alert" }, e.message));
}

function clear(root) {
  for (const old of root.querySelectorAll(":scope > .error, :scope > .busy")) old.remove();
}

function busy(root) {
  clear(root);
  const abort = new AbortController();
  const name = h("span", { class: "stage" }, w().starting), share = h("span", { class: "share" }), left = h("span", { class: "left" });
  const bar = h("progress", { max: 1, "aria-label": () => w().starting });
  const element = h("div", { class: "busy" }, h("div", { class: "line" }, name, share, left,
    h("button", { type: "button", class: "quiet", onclick: () => { abort.abort(); say(w().cancelled); } }, () => w().cancel)), bar);
  let told = "";
  const tell = (text) => {
    if (text === told) return;
    told = text;
    name.textContent = text;
    bar.setAttribute("aria-label", text);
    say(text);
  };
  const vague = () => { bar.removeAttribute("value"); share.textContent = left.textContent = ""; };
  root.append(element);
  return {
    element, signal: abort.signal, abort: () => abort.abort(), done: () => element.remove(),
    queued: (place) => { vague(); tell(w().queued(place)); },
    busy: (seconds) => { vague(); tell(w().busy(seconds)); },
    progress: ({ stage: at, done, total, seconds_left: seconds }) => {
      tell(stage(at));
      if (!total) { vague(); return; }
      bar.value = Math.min(1, done / total);
      share.textContent = `${Math.floor(100 * bar.value)}%`;
      left.textContent = seconds === null || seconds === undefined ? "" : w().left(w().seconds(seconds));
    },
  };
}

const run = (path, body, options) => stream(path, { model, ...body }, options);

const working = new WeakMap(); // what runs in a root: a new one there ends the old one
async function work(root, path, body, { text } = {}) {
  working.get(root)?.abort();
  const shown = busy(root);
  working.set(root, shown);
  try {
    return await run(path, body, { text, progress: shown.progress, queued: shown.queued, busy: shown.busy, signal: shown.signal });
  } catch (e) {
    if (working.get(root) === shown) error(root, e);
    return null;
  } finally {
    shown.done();
    if (working.get(root) === shown) working.delete(root);
  }
}

async function fragment(root, path) {
  const { show: draw } = await import("./fragment.js");
  return draw(root, path, app);
}

/** The component of render/assets, and its style as it wants it in a page: text with a name, which its shadow roots share. */
let viewer = null;
const view = () => (viewer ??= fetch("/static/view.css").then((r) => r.text()).then((css) => new Promise((resolve, reject) => {
  document.head.append(h("script", { type: "text/plain", id: "pellucid-css" }, css));
  document.head.append(h("script", { src: "/static/view.js", onload: resolve, onerror: () => reject(new ApiError(w().lost)) }));
})));

async function trace(data) {
  await view();
  const element = h("pellucid-trace", { inside: true, theme: theme(), lang: lang() });
  element.trace = data;
  return element;
}
const restyle = (name, value) => { for (const e of document.querySelectorAll("pellucid-trace, .fragment")) e.setAttribute(name, value); };

const link = (id) => `${location.origin}/r/${encodeURIComponent(id)}`;

async function save(id, as) {
  const response = await request("GET", `traces/${encodeURIComponent(id)}/export?as=${as}&lang=${lang()}`, null, { accept: "*/*" });
  const name = /filename="?([^";]+)"?/.exec(response.headers.get("Content-Disposition") ?? "")?.[1] ?? `pellucid-${id}.${as}`;
  download(await response.blob(), name);
  say(w().saved);
}

/** Copy a permalink and save a stored result: a row of buttons. */
function tools(id, kinds = ["json", "html", "png"]) {
  const note = h("span", { class: "note" });
  const copy = h("button", { type: "button", onclick: async () => {
    try {
      await navigator.clipboard.writeText(link(id));
      note.textContent = w().copied;
    } catch { // not a secure context, or forbidden: the link itself, to be copied by hand
      const shown = h("input", { readonly: true, value: link(id), "aria-label": w().linkIs });
      note.replaceChildren(shown);
      shown.select();
    }
    say(w().copied);
  } }, icon("link"), () => w().copy);
  const saves = kinds.map((as) => h("button", { type: "button", "aria-label": () => `${w().save} ${as.toUpperCase()}`, onclick: async () => {
    note.textContent = "";
    try { await save(id, as); } catch (e) { note.textContent = e.message; }
  } }, icon("save"), as.toUpperCase()));
  return h("div", { class: "tools" }, copy, ...saves, note);
}

const app = {
  lang, theme, say, error, clear, busy, run, work, trace, view, fragment, link, tools, save,
  t: (words) => words[lang()],
  on: (event, f) => { (heard[event] ??= []).push(f); },
  model: () => model,
  get: (path, options) => json("GET", path, undefined, options),
  send: (method, path, body, options) => json(method, path, body, options),
  show: (id) => show(id, true),
  open: (entry) => open(entry),
};

// ---- tabs -----------------------------------------------------------------------------------------------------

let current = null;

async function show(id, push = false) {
  const tab = TABS.find((t) => t.id === id) ?? TABS[0];
  if (push && (current !== tab.id || location.pathname !== "/")) history.pushState(null, "", `/#${tab.id}`);
  current = tab.id;
  for (const t of TABS) {
    const on = t === tab;
    t.button.setAttribute("aria-selected", String(on));
    t.button.tabIndex = on ? 0 : -1;
    t.panel.hidden = !on;
  }
  tab.button.scrollIntoView({ block: "nearest", inline: "nearest" });
  title();
  tab.ready ??= load(tab);
  await tab.ready;
  performance.mark("pellucid-ready"); // what is shown can be used: the tests measure when
  emit("shown", tab.id);
  return tab;
}

async function load(tab) {
  tab.root.replaceChildren(h("p", { class: "quiet wait" }, () => w().loading));
  try {
    tab.module = (await import(tab.file)).default;
    tab.root.replaceChildren();
    tab.module.mount(tab.root, app);
  } catch (e) {
    tab.module = tab.ready = null; // another try when it is shown again
    console.error(e);
    tab.root.replaceChildren(h("p", { class: "error", role: "alert" }, () => w().noTab));
  }
}

function title() {
  document.title = `${w().tabs[current] ?? ""} · Pellucid`;
}

/** A stored result, in the tab of its kind; the history shows what no other tab does. */
async function open(entry, push = true) {
  if (push && entry.id) history.pushState(null, "", `/r/${encodeURIComponent(entry.id)}`);
  const tab = await show(TABS.find((t) => t.kinds.includes(entry.kind))?.id ?? "history");
  await tab.module?.open?.(entry);
  say(w().result);
}

async function route() {
  const stored = /^\/r\/([^/]+)$/.exec(location.pathname)?.[1];
  if (!stored) { await show(location.hash.slice(1) || TABS[0].id); return; }
  try {
    await open(await json("GET", `traces/${stored}`), false); // it stands in the address as it is to be asked for
  } catch (e) {
    const tab = await show("history");
    error(tab.root, e.status === 404 ? new ApiError(w().missing, { status: 404 }) : e);
  }
}

function bar() {
  for (const t of TABS) {
    t.button = h("button", { type: "button", role: "tab", id: `tab-${t.id}`, "aria-controls": `panel-${t.id}`, onclick: () => show(t.id, true) },
      () => w().tabs[t.id]);
    t.panel = h("section", { role: "tabpanel", id: `panel-${t.id}`, class: `panel ${t.id}`, "aria-labelledby": `tab-${t.id}`, hidden: true },
      h("h1", { class: "sr" }, () => w().tabs[t.id]), t.root = h("div", { class: "stack" }));
  }
  return h("div", { class: "tabs", role: "tablist", "aria-label": () => w().parts, onkeydown: (e) => {
    const at = TABS.findIndex((t) => t.button === e.target), n = TABS.length;
    const to = { ArrowRight: (at + 1) % n, ArrowLeft: (at + n - 1) % n, Home: 0, End: n - 1 }[e.key];
    if (at < 0 || to === undefined) return;
    e.preventDefault();
    TABS[to].button.focus();
    show(TABS[to].id, true);
  } }, ...TABS.map((t) => t.button));
}

// ---- the page -------------------------------------------------------------------------------------------------

/** Asked when the server wants a token: a small form; resolves when one was entered. */
let asking = null;
onToken((wrong) => (asking ??= new Promise((resolve) => {
  const input = h("input", { type: "password", autocomplete: "off", required: true });
  const box = h("dialog", { class: "ask", "aria-label": () => w().token, oncancel: (e) => e.preventDefault() },
    h("form", { method: "dialog", onsubmit: () => { keepToken(input.value.trim()); box.close(); box.remove(); asking = null; resolve(); } },
      h("p", null, () => w().tokenAsk), wrong ? h("p", { class: "error", role: "alert" }, () => w().tokenBad) : null,
      field(() => w().token, input), h("div", { class: "row end" }, h("button", { class: "primary" }, () => w().enter))));
  document.body.append(box);
  box.showModal();
})));

async function models(place) {
  let all;
  try { ({ models: all } = await json("GET", "models")); } catch (e) { error(place, e); return; }
  model = (all.find((m) => m.default) ?? all[0])?.name ?? null;
  const note = (m) => (m.loaded ? m.name : () => `${m.name} (${w().notLoaded})`);
  if (all.length > 1) {
    place.append(h("label", { class: "model" }, h("span", { class: "sr" }, () => w().model),
      choice(all.map((m) => [m.name, note(m)]), model, (name) => { model = name; emit("model", name); })));
  } else if (model) place.append(h("span", { class: "model", title: () => w().model }, model));
  emit("model", model);
}

function speak(value) {
  if (value) setLang(value);
  document.documentElement.lang = lang() === "zh" ? "zh-CN" : "en";
  relabel();
  if (current) title();
  if (value) emit("lang", value);
}

takeToken();
const mark = h("button", { type: "button", class: "brand", "aria-label": "Pellucid", onclick: () => show(TABS[0].id, true) },
  h("span", { class: "dot", "aria-hidden": "true" }), "pellucid");
const place = h("div", { class: "models" });
const other = h("button", { type: "button", class: "quiet", lang: () => (lang() === "zh" ? "en" : "zh-CN"), title: () => w().otherTip,
  onclick: () => speak(lang() === "zh" ? "en" : "zh") }, () => w().other);
const shade = h("button", { type: "button", class: "quiet only", "aria-label": () => (theme() === "dark" ? w().light : w().dark),
  title: () => (theme() === "dark" ? w().light : w().dark), onclick: () => {
    kept = theme() === "dark" ? "light" : "dark";
    try { localStorage.setItem(THEME, kept); } catch { /* not remembered, then */ }
    paint();
  } });
const drawShade = () => { shade.replaceChildren(icon(theme() === "dark" ? "sun" : "moon")); relabel(); };
app.on("theme", drawShade);
app.on("theme", (value) => restyle("theme", value));
app.on("lang", (value) => restyle("lang", value));
const tabs = bar();
document.body.prepend(
  h("a", { class: "skip", href: "#content", onclick: (e) => { e.preventDefault(); content.focus(); } }, () => w().skip),
  h("header", { class: "top" }, h("div", { class: "inner" }, mark, tabs, h("div", { class: "settings" }, place, other, shade))));
const content = h("main", { id: "content", tabindex: "-1" }, ...TABS.map((t) => t.panel));
document.body.append(content, spoken);
drawShade();
speak(null);
addEventListener("popstate", route);
models(place);
route();

// History: what this server has kept, newest first; each result with its link, its files, and a way to be rid of it.
import { ask, choice, debounced, field, h, icon } from "./dom.js";

const WORDS = {
  en: {
    search: "Search", searchAsk: "Words of a prompt, a text, a model", kind: "Kind", all: "Everything", list: "Stored results",
    kinds: { trace: "Explanation", comparison: "Comparison", flow: "Flow graph", relevance: "Highlight", next: "Next tokens", decodings: "Decoding",
      surprisal: "Surprisal", logit_lens: "Logit lens", anatomy: "Anatomy", why: "Why", cited: "Answer from documents", passages: "Passages", classification: "Classification" },
    none: "Nothing is stored yet. Every result stands here once it is made.", nothing: "Nothing stored fits.", more: "Show more",
    drop: (t) => `Delete “${t}”`, dropOne: (t) => `Delete “${t}”? Its link will lead nowhere.`, dropAll: "Delete everything", dropEvery: "Delete every stored result? Their links will lead nowhere.",
    yes: "Delete", no: "Keep", gone: "Deleted.", files: "Files", filesOf: (t) => `Link and files of “${t}”`, back: "Back to the list", untitled: "without a title",
    count: (n, more) => `${n}${more ? "+" : ""} ${n === 1 ? "result" : "results"}`,
  },
  zh: {
    search: "搜索", searchAsk: "提示、文本或模型中的词", kind: "种类", all: "全部", list: "已存结果",
    kinds: { trace: "解释", comparison: "比较", flow: "流向图", relevance: "高亮", next: "下一个词元", decodings: "解码",
      surprisal: "意外度", logit_lens: "Logit 透镜", anatomy: "结构", why: "为什么", cited: "文档问答", passages: "段落", classification: "分类" },
    none: "还没有存任何结果。每个结果完成后都会出现在这里。", nothing: "没有符合的结果。", more: "显示更多",
    drop: (t) => `删除“${t}”`, dropOne: (t) => `删除“${t}”？它的链接将失效。`, dropAll: "全部删除", dropEvery: "删除全部已存结果？它们的链接都将失效。",
    yes: "删除", no: "保留", gone: "已删除。", files: "文件", filesOf: (t) => `“${t}”的链接与文件`, back: "返回列表", untitled: "无标题",
    count: (n, more) => `${n}${more ? "+" : ""} 个结果`,
  },
};

let app, w, form, status, list, more, viewer, board, cursor = null, asked = 0, seen = [], current = null;

function mount(root, given) {
  app = given;
  w = () => app.t(WORDS);
  form = {
    search: h("input", { type: "search", autocomplete: "off", placeholder: () => w().searchAsk, oninput: debounced(() => load(), 250) }),
    kind: choice([["", () => w().all], ...Object.keys(WORDS.en.kinds).map((k) => [k, () => w().kinds[k]])], "", () => load()),
  };
  status = h("div", { class: "status" });
  list = h("ol", { class: "stored", "aria-label": () => w().list });
  more = h("button", { type: "button", hidden: true, onclick: () => load(cursor) }, () => w().more);
  const dropAll = h("button", { type: "button", class: "quiet", onclick: async () => {
    if (!await ask(w().dropEvery, w().yes, w().no)) return;
    await drop("traces");
  } }, icon("bin"), () => w().dropAll);
  board = h("div", { class: "stack" },
    h("form", { class: "row finder", role: "search", onsubmit: (e) => { e.preventDefault(); load(); } },
      h("div", { class: "grow" }, field(() => w().search, form.search)), field(() => w().kind, form.kind), dropAll),
    list, h("div", { class: "row" }, more));
  viewer = h("div", { class: "stack", hidden: true });
  root.append(status, board, viewer);
  app.on("shown", (tab) => { if (tab === "history" && !location.pathname.startsWith("/r/")) { close(); load(); } });
  app.on("lang", () => { draw(); if (current) head(); });
}

/** The first page of what fits, or the next one. */
async function load(before = null) {
  const mine = ++asked, query = new URLSearchParams({ limit: "30" });
  if (form.search.value.trim()) query.set("q", form.search.value.trim());
  if (form.kind.value) query.set("kind", form.kind.value);
  if (before) query.set("before", before);
  try {
    const { results, next } = await app.get(`traces?${query}`);
    if (mine !== asked) return; // an answer that came too late
    app.clear(status);
    seen = before ? [...seen, ...results] : results;
    cursor = next;
    draw();
    app.say(w().count(seen.length, Boolean(next)));
    if (before) list.children[seen.length - results.length]?.querySelector("a").focus();
  } catch (e) {
    if (mine === asked) app.error(status, e);
  }
}

function draw() {
  more.hidden = !cursor;
  if (!seen.length) {
    list.replaceChildren(h("li", { class: "empty" }, form.search.value || form.kind.value ? w().nothing : w().none));
    return;
  }
  const time = new Intl.DateTimeFormat(app.lang() === "zh" ? "zh-CN" : "en", { dateStyle: "medium", timeStyle: "short" });
  list.replaceChildren(...seen.map((e) => item(e, time)));
}

const moment = (created) => new Date(typeof created === "number" ? 1000 * created : created);
const size = (n) => (n < 1e6 ? `${Math.max(1, Math.round(n / 1e3))} kB` : `${(n / 1e6).toFixed(1)} MB`);

function item(e, time) {
  const title = e.title || w().untitled, files = h("div", { hidden: true });
  const toggle = h("button", { type: "button", class: "quiet only", "aria-expanded": "false", "aria-label": w().filesOf(title), title: w().files, onclick: () => {
    if (!files.firstChild) files.append(app.tools(e.id));
    files.hidden = !files.hidden;
    toggle.setAttribute("aria-expanded", String(!files.hidden));
  } }, icon("save"));
  const bin = h("button", { type: "button", class: "quiet only", "aria-label": w().drop(title), title: w().yes, onclick: async () => {
    if (await ask(w().dropOne(title), w().yes, w().no)) await drop(`traces/${encodeURIComponent(e.id)}`);
  } }, icon("bin"));
  return h("li", null,
    h("a", { href: app.link(e.id), onclick: (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return; // a new tab, then
      event.preventDefault();
      follow(e.id);
    } }, title),
    h("div", { class: "buttons" }, toggle, bin),
    h("p", { class: "hint" }, h("span", { class: "badge" }, w().kinds[e.kind] ?? e.kind), h("time", { datetime: moment(e.created).toISOString() }, time.format(moment(e.created))),
      h("span", null, e.model), h("span", null, size(e.bytes))),
    files);
}

async function follow(id) {
  try { await app.open(await app.get(`traces/${encodeURIComponent(id)}`)); } catch (e) { app.error(status, e); }
}

async function drop(path) {
  try {
    await app.send("DELETE", path);
    app.say(w().gone);
    await load();
    form.search.focus();
  } catch (e) { app.error(status, e); }
}

/** What no other tab shows: the server's own view of it. */
async function open(entry) {
  current = entry;
  board.hidden = true;
  viewer.hidden = false;
  const place = h("div", { class: "card" });
  viewer.replaceChildren(h("div"), place, app.tools(entry.id));
  head();
  app.clear(status);
  try { await app.fragment(place, `traces/${encodeURIComponent(entry.id)}/fragment`); } catch (e) { app.error(status, e); }
}

function head() {
  viewer.firstChild.replaceWith(h("div", { class: "row" }, h("button", { type: "button", onclick: () => { close(); app.show("history"); } }, w().back)));
}

function close() {
  current = null;
  board.hidden = false;
  viewer.hidden = true;
  viewer.replaceChildren();
}

export default { id: "history", name: { en: "History", zh: "历史" }, mount, open };

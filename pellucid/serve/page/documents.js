// The tab Documents: ask an indexed folder. Each sentence of the answer carries the numbers of the passages that it was
// measured to rest on; a click opens the passage in its document, at the sentence.
import { area, choice, field, h, icon } from "./dom.js";
import { cut, number, num, shaded, sheet, signed, whole } from "./pieces.js";
import { documentReader } from "./reader.js";

await sheet("tabs.css");

const words = {
  en: {
    title: "Documents", lead: "Ask a folder of documents. Every sentence of the answer says which passages it rests on, by measuring what happens without them.",
    none: "This server has no index. Make one of a folder, and start the server with it:",
    ask: "Ask", find: "Find passages", question: "Question", placeholder: "What would you like to know?", index: "Index", collection: "Collection",
    count: (d, p) => `${d} documents, ${p} passages`, passages: "Passages", tokens: "Tokens at most", options: "Options", fresh: "New conversation",
    follow: "Questions are read as a conversation: this one may build on those below.",
    cite: (n, d, x) => `Passage ${n}, ${d}: without it the sentence loses ${x} nats`, unsupported: "rests on nothing retrieved",
    confidence: "Confidence", support: (x) => `${x} % of the answer rests on passages`, searched: (q) => `Searched for: ${q}`,
    facts: (c) => `The passages make the answer ${num(c.gain)} nats a token likelier; with them it has ${num(c.logprob)} nats a token.`,
    calibration: (s) => `Calibrated on: ${s}.`, claimed: "The model’s own marks",
    held: (c) => `[${c.number}] in sentence ${c.sentence + 1}: ${c.held ? "held by the computed citations" : c.exists ? "the sentence does not rest on that passage" : "there is no such passage"}`,
    why: "How this is known", found: "Passages", open: "Open in the document", score: (x) => `score ${x}`, nothing: "Nothing was found.",
    nats: "nats", writing: "The model is writing; what its answer rests on comes after.", result: "Answer", mark: "Sentences that the answer rests on are shaded.",
  },
  zh: {
    title: "文档", lead: "向一个文档文件夹提问。回答的每句话都标出它依据哪些段落，这是通过测量去掉段落后的变化得到的。",
    none: "这个服务器没有索引。先为一个文件夹建立索引，再带着它启动服务器：",
    ask: "提问", find: "查找段落", question: "问题", placeholder: "想知道什么？", index: "索引", collection: "集合",
    count: (d, p) => `${d} 个文档，${p} 个段落`, passages: "段落数", tokens: "最多词元数", options: "选项", fresh: "新的对话",
    follow: "问题按对话来读：这一个可以接着下面的问。",
    cite: (n, d, x) => `第 ${n} 段，${d}：去掉它，这句话损失 ${x} 奈特`, unsupported: "不以任何检索到的内容为据",
    confidence: "可信度", support: (x) => `回答的 ${x} % 以段落为据`, searched: (q) => `检索用的问题：${q}`,
    facts: (c) => `段落使回答每词元增加 ${num(c.gain)} 奈特；有段落时每词元 ${num(c.logprob)} 奈特。`,
    calibration: (s) => `校准所用：${s}。`, claimed: "模型自己写的引用",
    held: (c) => `第 ${c.sentence + 1} 句中的 [${c.number}]：${c.held ? "与计算出的引用一致" : c.exists ? "该句并不以此段落为据" : "没有这个段落"}`,
    why: "这是怎么知道的", found: "段落", open: "在文档中打开", score: (x) => `得分 ${x}`, nothing: "没有找到内容。",
    nats: "奈特", writing: "模型正在写；回答的依据随后给出。", result: "回答", mark: "着色的是回答所依据的句子。",
  },
};

let app, indexes = [], reader;
let thread = []; // {question, entry, index}: newest last
const t = () => app.t(words);
const parts = {};

// ---- asking ------------------------------------------------------------------------------------------------------

const index = () => indexes.find((i) => i.name === parts.index.value) ?? indexes[0];
const path = () => `rag/${encodeURIComponent(index().name)}`;
const where = () => (index().collections.length > 1 && parts.collection.value ? { collection: parts.collection.value } : {});

async function ask() {
  const question = parts.text.value.trim();
  if (!question) { parts.text.focus(); return; }
  const name = index().name;
  parts.live.hidden = false;
  parts.live.replaceChildren(h("h2", null, question), h("p", { class: "written" }, document.createTextNode(""), h("span", { class: "caret" })),
    h("p", { class: "note" }, () => t().writing));
  const written = parts.live.querySelector(".written").firstChild;
  const history = thread.filter((x) => x.entry.kind === "cited" && x.index === name)
    .map(({ entry: { result } }) => ({ question: result.question, answer: result.answer }));
  const entry = await app.work(parts.work, `${path()}/ask`, { question, passages: whole(parts.passages), max_new_tokens: whole(parts.most),
    history, ...where() }, { text: (delta) => written.appendData(delta) });
  parts.live.hidden = true;
  if (!entry) return;
  parts.text.value = "";
  thread.push({ question, entry, index: name });
  draw();
  app.say(entry.result.answer);
}

async function find() {
  const query = parts.text.value.trim();
  if (!query) { parts.text.focus(); return; }
  const name = index().name;
  const entry = await app.work(parts.work, `${path()}/search`, { query, k: whole(parts.passages), ...where() });
  if (!entry) return;
  thread.push({ question: query, entry, index: name });
  draw();
}

// ---- what is drawn -----------------------------------------------------------------------------------------------

function draw() {
  parts.thread.replaceChildren(...[...thread].reverse().map((x, k) => (x.entry.kind === "cited" ? answered(x, k === 0) : listed(x))));
  parts.follow.hidden = thread.length === 0;
}

/** The strongest citation of each passage's sentences, for the shade of the passages. */
function dropsOf(sentences) {
  const drops = {};
  for (const s of sentences) for (const c of s.citations) for (const p of c.sentences) {
    const kept = (drops[c.number] ??= new Map());
    const key = `${p.start} ${p.end}`;
    if (!(kept.get(key)?.drop >= p.drop)) kept.set(key, p);
  }
  return drops;
}

function answered({ entry, index }, newest) {
  const { result } = entry;
  const searched = result.standalone !== result.question ? h("p", { class: "note" }, () => t().searched(result.standalone)) : null;
  return h("article", { class: "card stack answered", "aria-label": () => t().result },
    h("h2", null, result.question), searched,
    ...result.notes.map((n) => h("p", { class: "note" }, n)),
    result.sentences.length ? h("p", { class: "written reply" }, sentences(result, index)) : h("p", { class: "written reply" }, result.answer || (() => t().nothing)),
    result.confidence ? confidence(result) : null,
    result.passages.length ? h("details", { class: "found", open: newest }, h("summary", null, () => `${t().found} (${result.passages.length})`),
      h("p", { class: "hint" }, () => t().mark), passages(result.passages, dropsOf(result.sentences), index)) : null,
    entry.id ? app.tools(entry.id, ["json", "csv", "html", "png"]) : null);
}

/** The answer: after each sentence the numbers of what it rests on, or that it rests on nothing. */
function sentences(result, index) {
  const out = [];
  let at = 0;
  for (const s of result.sentences) {
    if (s.start > at) out.push(cut(result.answer, at, s.start));
    at = s.end;
    const text = cut(result.answer, s.start, s.end);
    if (!s.supported) {
      out.push(h("span", { class: "unsupported" }, text), " ", h("small", { class: "flag" }, () => t().unsupported));
      continue;
    }
    out.push(h("span", { class: "sentence" }, text), h("sup", null, s.citations.map((c) => {
      const found = result.passages[c.number - 1], best = c.sentences[0];
      const button = h("button", { type: "button", class: "cite", "aria-label": () => t().cite(c.number, found.passage.document, num(c.drop)),
        title: () => t().cite(c.number, found.passage.document, num(c.drop)),
        onclick: () => reader.open({ index, found, start: best?.start, end: best?.end }, button) }, String(c.number));
      return button;
    })));
  }
  if (at < Array.from(result.answer).length) out.push(cut(result.answer, at));
  return out;
}

function confidence(result) {
  const c = result.confidence;
  const bar = h("span", { class: "meter", "aria-hidden": "true" });
  bar.style.setProperty("--share", c.value);
  return h("div", { class: "confidence" },
    h("p", { class: "row" }, h("span", null, () => t().confidence), bar, h("b", null, c.value.toFixed(2)),
      h("span", { class: "quiet" }, () => t().support(Math.round(100 * c.support)))),
    h("details", null, h("summary", null, () => t().why), h("p", { class: "note" }, () => t().facts(c), " ", () => (c.calibration ? t().calibration(c.calibration) : "")),
      result.claimed.length ? h("p", { class: "label" }, () => t().claimed) : null, result.claimed.map((x) => h("p", { class: "note" }, () => t().held(x)))));
}

function passages(found, drops, index) {
  const most = Math.max(1e-9, ...Object.values(drops).flatMap((m) => [...m.values()].map((p) => p.drop)));
  return h("ol", { class: "passages" }, found.map((f, n) => {
    const own = f.passage, shades = [...(drops[n + 1]?.values() ?? [])];
    const open = h("button", { type: "button", class: "quiet", "aria-label": () => `${t().open}: ${n + 1}, ${own.document}`,
      onclick: () => reader.open({ index, found: f, start: shades[0]?.start, end: shades[0]?.end }, open) }, icon("open"), () => t().open);
    return h("li", null, h("div", { class: "row" }, h("b", null, `${n + 1}`), h("span", { class: "grow name" }, own.document, own.heading ? h("span", { class: "quiet" }, ` · ${own.heading}`) : null),
      h("span", { class: "note" }, () => t().score(num(f.score))), open),
    h("p", { class: "written quote" }, shaded(own.text, shades.map((p) => ({ start: p.start, end: p.end, share: p.drop / most, title: `${signed(p.drop)} ${t().nats}` })))));
  }));
}

function listed({ question, entry, index }) {
  const found = entry.result.found;
  return h("article", { class: "card stack answered" }, h("h2", null, question),
    found.length ? passages(found, {}, index) : h("p", null, () => t().nothing), entry.id ? app.tools(entry.id, ["json", "csv", "html"]) : null);
}

// ---- the tab -----------------------------------------------------------------------------------------------------

function collections() {
  const all = index().collections;
  parts.collection.replaceChildren(...all.map((c) => h("option", { value: c.name }, c.name)));
  parts.collection.parentElement.hidden = all.length < 2;
  const sum = (key) => all.reduce((n, c) => n + c[key], 0);
  parts.count.data = t().count(sum("documents"), sum("passages"));
}

async function load() {
  try { ({ indexes } = await app.get("rag")); } catch (e) { app.error(parts.work, e); return; }
  parts.form.hidden = indexes.length === 0;
  parts.none.hidden = indexes.length > 0;
  if (!indexes.length) return;
  parts.index.replaceChildren(...indexes.map((i) => h("option", { value: i.name }, i.name)));
  parts.index.parentElement.hidden = indexes.length < 2;
  collections();
}

function mount(root, given) {
  app = given;
  reader = documentReader(app);
  parts.text = area({ rows: 1, placeholder: () => t().placeholder, "aria-label": () => t().question, onkeydown: (e) => {
    if (e.key === "Enter" && !e.shiftKey && !e.isComposing) { e.preventDefault(); ask(); }
  } });
  parts.index = choice([], "", collections);
  parts.collection = choice([], "");
  parts.passages = number(3, 1, 20);
  parts.most = number(64, 8, 512);
  parts.count = document.createTextNode("");
  parts.work = h("div");
  parts.live = h("article", { class: "card stack answered", hidden: true });
  parts.thread = h("div", { class: "stack" });
  parts.follow = h("div", { class: "row", hidden: true }, h("p", { class: "hint grow" }, () => t().follow),
    h("button", { type: "button", class: "quiet", onclick: () => { thread = []; reader.close(); draw(); parts.text.focus(); } }, () => t().fresh));
  parts.none = h("div", { class: "card empty", hidden: true }, h("p", null, () => t().none),
    h("pre", { tabindex: "0" }, h("code", null, "pellucid rag index docs/ --out kb\npellucid serve --kb kb")));
  parts.form = h("form", { class: "card composer", hidden: true, onsubmit: (e) => { e.preventDefault(); ask(); } },
    h("div", { class: "ask" }, parts.text),
    h("div", { class: "controls" }, field(() => t().index, parts.index), field(() => t().collection, parts.collection),
      field(() => t().passages, parts.passages), field(() => t().tokens, parts.most), h("span", { class: "note" }, parts.count),
      h("div", { class: "row buttons" }, h("button", { type: "button", onclick: find }, icon("search"), () => t().find),
        h("button", { class: "primary" }, () => t().ask))));
  root.append(h("div", { class: "stack" }, h("div", null, h("h1", null, () => t().title), h("p", { class: "lead" }, () => t().lead)),
    h("div", { class: "desk" }, h("div", { class: "stack" }, parts.none, parts.form, parts.work, parts.live, parts.follow, parts.thread), reader.element)));
  app.on("lang", () => { if (indexes.length) collections(); });
  parts.ready = load();
}

/** A stored answer or search. Where it is not said which index it came from, the only one is meant. */
async function open(entry) {
  await parts.ready;
  const index = entry.request?.index ?? (indexes.length === 1 ? indexes[0].name : null);
  thread = [{ question: entry.result.question ?? entry.result.query, entry, index }];
  draw();
}

export default { id: "documents", name: { en: "Documents", zh: "文档" }, mount, open };

// The tab Lens: what a model could have said next, what strategies make of it, where a text surprises it, what its layers
// would say, and what it is made of. One text, five views of it.
import { choice, chosen, field, h, area, segmented } from "./dom.js";
import { number, sheet, whole } from "./pieces.js";
import { nextTable } from "./nexttable.js";

await sheet("tabs.css");

const words = {
  en: {
    title: "Lens", lead: {
      next: "What the model could say next, step by step, and how likely each word is. Choose another, and it goes on from there.",
      decodings: "The same beginning under several decoding strategies, and the tree that a beam search looked through.",
      surprisal: "How much each token of a text surprised the model, in bits.",
      logit_lens: "What the model would say if it stopped at each of its layers.",
      anatomy: "What the model is made of, and the shapes of a run.",
    },
    views: { next: "Next tokens", decodings: "Strategies", surprisal: "Surprise", logit_lens: "Layers", anatomy: "Anatomy" },
    view: "View", text: "Text", message: "Message", go: "Look", form: "Read as", raw: "a text to go on with", chat: "a message in a chat",
    steps: "Tokens", topK: "Candidates", strategy: "Strategy", seed: "Seed", strategies: "Strategies", others: "Others, separated by commas",
    placeholder: "The capital of France is",
  },
  zh: {
    title: "透视", lead: {
      next: "模型接下来可能说什么，逐步给出，并标明每个词有多大可能。选另一个，它就从那里继续。",
      decodings: "同一个开头，用几种解码策略继续；还有束搜索所看过的树。",
      surprisal: "一段文字的每个词元让模型有多意外（比特）。",
      logit_lens: "如果停在某一层，模型会说什么。",
      anatomy: "模型由什么组成，以及一次运行中各张量的形状。",
    },
    views: { next: "下一个词元", decodings: "解码策略", surprisal: "意外度", logit_lens: "逐层", anatomy: "结构" },
    view: "视图", text: "文本", message: "消息", go: "查看", form: "读作", raw: "要续写的文本", chat: "对话中的消息",
    steps: "词元数", topK: "候选数", strategy: "策略", seed: "种子", strategies: "策略", others: "其他策略，用逗号分开",
    placeholder: "The capital of France is",
  },
};

const VIEWS = { next: "next", decodings: "decode", surprisal: "surprisal", logit_lens: "lens", anatomy: "anatomy" };
const SINGLE = ["greedy", "temperature:0.7", "top_p:0.9", "top_k:50", "min_p:0.1", "typical:0.9", "beam:4", "contrastive:0.6"];
const MANY = ["greedy", "beam:4", "top_p:0.9", "temperature:0.7", "contrastive:0.6"];
const START = "The capital of France is";

let app, view = "next";
const t = () => app.t(words);
const results = {}; // by view: {element, entry}
const parts = {};

function options() {
  const read = segmented(() => t().form, [["raw", () => t().raw], ["chat", () => t().chat]], "raw", () => {});
  const steps = number(10, 1, 200), topK = number(5, 1, 20), seed = number(0, 0, 999999);
  const strategy = choice(SINGLE.map((s) => [s, s]), "greedy");
  const boxes = MANY.map((s, k) => h("label", { class: "check" }, h("input", { type: "checkbox", value: s, checked: k < 3 }), s));
  const others = h("input", { autocomplete: "off", spellcheck: "false", placeholder: "min_p:0.1, top_k:20+temperature:0.7" });
  const width = { steps: field(() => t().steps, steps), topK: field(() => t().topK, topK), seed: field(() => t().seed, seed),
    strategy: field(() => t().strategy, strategy), others: field(() => t().others, others) };
  width.others.classList.add("grow");
  const checks = h("fieldset", { class: "field" }, h("legend", null, () => t().strategies), h("div", { class: "row" }, boxes));
  Object.assign(parts, { read, steps, topK, seed, strategy, boxes, others });
  const form = h("div", { class: "field" }, h("span", { class: "label" }, () => t().form), read);
  const of = { next: [form, width.steps, width.topK, width.strategy, width.seed], decodings: [form, width.steps, width.seed, checks, width.others],
    logit_lens: [form], surprisal: [], anatomy: [] };
  const all = [form, width.steps, width.topK, width.strategy, width.seed, checks, width.others];
  return { all, choose: () => { for (const e of all) e.hidden = !of[view].includes(e); } };
}

/** The request of the view, from the fields. */
function body() {
  const prompt = parts.text.value || START, raw = chosen(parts.read) === "raw";
  const common = { prompt, raw, steps: whole(parts.steps), seed: whole(parts.seed) };
  if (view === "next") return { ...common, top_k: whole(parts.topK), strategy: parts.strategy.value };
  if (view === "decodings") {
    const own = parts.others.value.split(",").map((s) => s.trim()).filter(Boolean);
    return { ...common, strategies: [...parts.boxes.map((b) => b.firstChild).filter((b) => b.checked).map((b) => b.value), ...own] };
  }
  return { surprisal: { text: prompt }, anatomy: { sentence: prompt }, logit_lens: { prompt, raw } }[view];
}

async function look() {
  const place = results[view];
  if (view === "next") { place.done = (await place.table.start(body())) || place.done; return; }
  const at = view, entry = await app.work(place.work, VIEWS[at], body());
  if (entry) await fill(at, entry);
}

/** Show a result in its view: the server's own markup of it. */
async function fill(at, entry) {
  const place = results[at];
  place.entry = entry;
  try {
    await app.fragment(place.shown, `traces/${encodeURIComponent(entry.id)}/fragment`);
    place.tools.replaceChildren(app.tools(entry.id, ["json", "csv", "html", "png"]));
  } catch (e) { app.error(place.work, e); }
}

function turn(to) {
  view = to;
  chosen(parts.views, to);
  parts.lead.data = t().lead[view];
  parts.shape.choose();
  for (const [name, place] of Object.entries(results)) place.element.hidden = name !== view;
}

function mount(root, given) {
  app = given;
  parts.text = area({ placeholder: () => t().placeholder, "aria-label": () => t().text, onkeydown: (e) => {
    if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) { e.preventDefault(); look(); }
  } });
  parts.text.value = START;
  parts.lead = document.createTextNode("");
  parts.views = segmented(() => t().view, Object.keys(VIEWS).map((v) => [v, () => t().views[v]]), view, turn);
  parts.shape = options();
  for (const name of Object.keys(VIEWS)) {
    const table = name === "next" ? nextTable(app) : null;
    const work = h("div"), shown = h("div", { class: "card view" }), tools = h("div");
    results[name] = { table, work, shown, tools, entry: null,
      element: table ? table.element : h("div", { class: "stack", hidden: true }, work, shown, tools) };
  }
  root.append(h("div", { class: "stack" },
    h("div", null, h("h1", null, () => t().title), h("p", { class: "lead" }, parts.lead)),
    h("div", { class: "wide" }, parts.views),
    h("form", { class: "card composer", onsubmit: (e) => { e.preventDefault(); look(); } },
      h("div", { class: "ask" }, parts.text),
      h("div", { class: "controls" }, parts.shape.all, h("button", { class: "primary" }, () => t().go))),
    ...Object.values(results).map((r) => r.element)));
  turn(view);
  app.on("lang", () => { parts.lead.data = t().lead[view]; });
}

/** A stored result: its view, the text that it was of, and what was asked for. */
async function open(entry) {
  turn(entry.kind);
  const { result, request } = entry;
  const asked = request?.prompt ?? request?.text ?? request?.sentence ?? result.prompt ?? result.text ?? result.sentence;
  parts.text.value = typeof asked === "string" ? asked : asked.at(-1).content;
  if (request && "raw" in request) chosen(parts.read, request.raw ? "raw" : "chat");
  if (view === "next") results.next.table.open(entry, request ?? null); else await fill(entry.kind, entry);
}

export default { id: "lens", name: { en: "Lens", zh: "透视" }, mount, open };

// Explain: a prompt or a chat, the model's answer as it is written, and which part of the prompt caused each part of it.
import { ApiError } from "./api.js";
import { area, choice, chosen, field, follow, fresh, h, icon, relabel, segmented } from "./dom.js";

const WORDS = {
  en: {
    form: "What to explain", as: "Kind of prompt", text: "Text", chat: "Chat", prompt: "Prompt", ask: "Ask something, or paste a text that the model goes on with …",
    roles: { system: "System", user: "User", assistant: "Assistant" }, role: "Role", message: (n) => `Message ${n}`, add: "Add a message", drop: (n) => `Remove message ${n}`,
    method: "Method", auto: "Choose for me", budget: "Budget", budgets: { fast: "Fast", balanced: "Balanced", thorough: "Thorough" }, run: "Explain", keys: "Ctrl + Enter",
    options: "Options", target: "Answer of your own", targetHint: "Explained instead of what the model would say.",
    instead: "Why not …", insteadHint: "Another answer: what speaks for the one and against the other.",
    objective: "Objective", unit: "Unit", units: { token: "Tokens", word: "Words", sentence: "Sentences", paragraph: "Paragraphs" },
    length: "Longest answer (tokens)", raw: "Without the chat template", compare: "Compare with", compareHint: "Methods side by side, and how far they agree.",
    answer: "Answer", empty: "Ask, and see which words the answer came from.", examples: ["What is the capital of France?",
      "Anna gave Ben the book because he wanted to read it. Who wanted to read?", "My sister lives in Rome and my brother in Oslo. In which country does my sister live?"],
    needed: "Write a prompt first.", result: "The explanation is there. Move over the answer with the arrow keys.",
    flow: "Flow graph", flowTitle: "Which token fed which", agreement: "How far the methods agree", spearman: "Rank correlation (Spearman)",
    overlap: (k) => `Shared among the ${k} strongest`, shaded: "Each is shaded by its own scale.", link: "Link and files",
  },
  zh: {
    form: "要解释的内容", as: "提示的形式", text: "文本", chat: "对话", prompt: "提示", ask: "提一个问题，或粘贴一段让模型续写的文字……",
    roles: { system: "系统", user: "用户", assistant: "助手" }, role: "角色", message: (n) => `第 ${n} 条消息`, add: "添加消息", drop: (n) => `移除第 ${n} 条消息`,
    method: "方法", auto: "替我选择", budget: "预算", budgets: { fast: "快速", balanced: "均衡", thorough: "彻底" }, run: "解释", keys: "Ctrl + Enter",
    options: "选项", target: "自定答案", targetHint: "解释这个答案，而不是模型自己会说的。",
    instead: "为什么不是……", insteadHint: "另一个答案：什么支持前者、反对后者。",
    objective: "目标函数", unit: "单位", units: { token: "词元", word: "词", sentence: "句子", paragraph: "段落" },
    length: "答案最长词元数", raw: "不用聊天模板", compare: "与之比较", compareHint: "几种方法并排显示，以及它们有多一致。",
    answer: "答案", empty: "提个问题，看看答案来自哪些词。", examples: ["法国的首都是哪里？", "What is the capital of France?",
      "My sister lives in Rome and my brother in Oslo. In which country does my sister live?"],
    needed: "请先写提示。", result: "解释已完成。可用方向键在答案中移动。",
    flow: "流向图", flowTitle: "哪个词元影响了哪个", agreement: "各方法的一致程度", spearman: "秩相关（Spearman）",
    overlap: (k) => `最强的 ${k} 个中的重合`, shaded: "每种方法按自己的标尺着色。", link: "链接与文件",
  },
};
const UNITS = ["token", "word", "sentence", "paragraph"];
const NEEDING = ["contrast", "kl", "pcxmi"]; // objectives that a choice alone does not say enough for

let app, w, root, form, status, results;
const state = { chat: false };

function mount(place, given) {
  [app, root] = [given, place];
  w = () => app.t(WORDS);
  status = h("div", { class: "status" });
  results = h("div", { class: "results" });
  root.append(composer(), results, status); // progress stands under the answer: the text does not jump when it goes
  welcome();
  if (matchMedia("(pointer: fine)").matches && document.activeElement === document.body) form.prompt.focus({ preventScroll: true });
  methods();
  (globalThis.requestIdleCallback ?? setTimeout)(() => app.view().catch(() => {})); // there when the first answer is
}

// ---- what is asked --------------------------------------------------------------------------------------------

function composer() {
  form = {
    prompt: area({ rows: 3, "aria-label": () => w().prompt, placeholder: () => w().ask }),
    turns: h("ol", { class: "turns" }),
    kind: segmented(() => w().as, [["text", () => w().text], ["chat", () => w().chat]], "text", (v) => asChat(v === "chat")),
    method: choice([["saliency", "saliency"]], "saliency", showBudget),
    budget: choice(["fast", "balanced", "thorough"].map((b) => [b, () => w().budgets[b]]), "balanced"),
    target: area({ rows: 1 }), instead: h("input", { type: "text", autocomplete: "off" }),
    objective: choice([["logprob", "logprob"]], "logprob"), unit: choice(UNITS.map((u) => [u, () => w().units[u]]), "token"),
    length: h("input", { type: "number", min: 1, max: 512, value: 48, inputmode: "numeric" }),
    raw: h("input", { type: "checkbox" }), methods: h("div", { class: "methods" }),
  };
  form.budgetField = field(() => w().budget, form.budget);
  form.budgetField.hidden = true;
  form.add = h("button", { type: "button", class: "quiet", onclick: () => { turn(next()); form.turns.lastChild.querySelector("textarea").focus(); } },
    icon("add"), () => w().add);
  form.chat = h("div", { class: "stack", hidden: true }, form.turns, h("div", null, form.add));
  const compare = h("fieldset", null, h("legend", null, () => w().compare), h("p", { class: "hint" }, () => w().compareHint), form.methods);
  form.options = h("details", null, h("summary", null, () => w().options), h("div", { class: "options" },
    h("div", { class: "grid" }, field(() => w().target, form.target, () => w().targetHint), field(() => w().instead, form.instead, () => w().insteadHint)),
    h("div", { class: "grid" }, field(() => w().objective, form.objective), field(() => w().unit, form.unit), field(() => w().length, form.length)),
    h("label", { class: "check" }, form.raw, h("span", null, () => w().raw)), compare));
  return h("form", { class: "card composer", "aria-label": () => w().form, onsubmit: (e) => { e.preventDefault(); run(); },
    onkeydown: (e) => { if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) { e.preventDefault(); run(); } } },
    h("div", { class: "ask" }, h("div", { class: "row" }, form.kind), form.prompt, form.chat),
    h("div", { class: "controls" }, field(() => w().method, form.method), form.budgetField,
      h("button", { class: "primary", title: () => w().keys }, () => w().run)),
    form.options);
}

async function methods() {
  let found;
  try { found = await app.get("methods"); } catch (e) { app.error(status, e); return; }
  const names = found.methods.map((m) => m.name), kept = form.method.value;
  const select = choice([["auto", () => w().auto], ...names.map((n) => [n, n])], kept, showBudget);
  form.method.replaceChildren(...select.children);
  form.method.value = kept;
  const objective = choice(found.objectives.map((o) => o.name ?? o).filter((o) => !NEEDING.includes(o)).map((o) => [o, o]), "logprob");
  form.objective.replaceChildren(...objective.children);
  form.objective.value = "logprob";
  form.methods.replaceChildren(...names.map((n) => h("label", { class: "check" }, h("input", { type: "checkbox", value: n }), h("span", null, n))));
}

function showBudget() { form.budgetField.hidden = form.method.value !== "auto"; }

function asChat(chat) {
  if (chat === state.chat) return;
  state.chat = chat;
  chosen(form.kind, chat ? "chat" : "text");
  form.prompt.hidden = chat;
  form.chat.hidden = !chat;
  if (chat && !form.turns.children.length) turn("user", form.prompt.value);
  else if (!chat && !form.prompt.value) form.prompt.value = messages().findLast((m) => m.role === "user")?.content ?? "";
}

const next = () => (messages(true).at(-1)?.role === "user" ? "assistant" : "user");

/** One message of a chat. */
function turn(role, content = "") {
  let item = null;
  const nth = () => [...form.turns.children].indexOf(item) + 1;
  const text = area({ rows: 1, "aria-label": () => w().message(nth()) });
  text.value = content;
  item = h("li", { class: "turn" },
    choice(["system", "user", "assistant"].map((r) => [r, () => w().roles[r]]), role), text,
    h("button", { type: "button", class: "quiet only", "aria-label": () => w().drop(nth()), onclick: () => {
      const near = item.previousSibling ?? item.nextSibling;
      item.remove();
      relabel(); // the others' numbers
      if (near) near.querySelector("textarea").focus(); else { turn("user"); form.turns.querySelector("textarea").focus(); }
    } }, icon("close")));
  follow(item.querySelector("select"), (s) => s.setAttribute("aria-label", w().role));
  form.turns.append(item);
  relabel();
}

function messages(all = false) {
  const list = [...form.turns.children].map((li) => ({ role: li.querySelector("select").value, content: li.querySelector("textarea").value }));
  return all ? list : list.filter((m) => m.content.trim());
}

function request() {
  const target = form.target.value || null, instead = form.instead.value || null;
  return {
    prompt: state.chat ? messages() : form.prompt.value, target, raw: form.raw.checked && !state.chat, unit: form.unit.value,
    objective: instead ? "contrast" : form.objective.value, instead_of: instead, max_new_tokens: Number(form.length.value) || 48, per_token: true,
  };
}

// ---- what comes back ------------------------------------------------------------------------------------------

function welcome() {
  const example = (k) => h("button", { type: "button", onclick: () => { asChat(false); form.prompt.value = w().examples[k]; form.prompt.dispatchEvent(new Event("input")); run(); } },
    () => w().examples[k]);
  results.replaceChildren(h("div", { class: "empty" }, h("p", null, () => w().empty), h("div", { class: "row" }, [0, 1, 2].map(example))));
}

/** The answer while it is written, laid out as the explanation that will take its place. */
function streaming(prompt) {
  const text = document.createTextNode(""), caret = h("span", { class: "caret", "aria-hidden": "true" });
  const asked = typeof prompt === "string" ? [["user", prompt]] : prompt.map((m) => [m.role, m.content]);
  const card = h("div", { class: "stream", hidden: true },
    h("section", { class: "card", "aria-label": () => w().prompt }, asked.map(([role, said]) => [
      h("h2", null, () => (asked.length > 1 ? w().roles[role] ?? role : w().prompt)), h("p", { class: "written", translate: "no" }, said)])),
    h("section", { class: "card answer", "aria-label": () => w().answer, "aria-busy": "true" },
      h("h2", null, () => w().answer), h("p", { class: "written", translate: "no" }, text, caret)));
  return { card, add: (delta) => { card.hidden = false; text.data += delta; },
    end: () => { caret.remove(); card.lastChild.removeAttribute("aria-busy"); } };
}

async function run() {
  const body = request(), others = [...form.methods.querySelectorAll("input:checked")].map((i) => i.value).filter((n) => n !== form.method.value);
  app.clear(status);
  if (!body.prompt.length || (typeof body.prompt === "string" && !body.prompt.trim())) {
    app.error(status, new ApiError(w().needed));
    (state.chat ? form.turns.querySelector("textarea") : form.prompt).focus();
    return;
  }
  const live = streaming(body.prompt);
  results.replaceChildren(live.card);
  const auto = form.method.value === "auto";
  const found = others.length && !auto
    ? await app.work(status, "compare", { ...body, methods: [form.method.value, ...others] }, { text: live.add })
    : await app.work(status, "explain", { ...body, method: form.method.value, budget: auto ? form.budget.value : null }, { text: live.add });
  live.end();
  if (!found) { // cancelled, or wrong: what was written stays
    if (live.card.isConnected && live.card.hidden) welcome();
    return;
  }
  if (live.card.isConnected) await show(found);
}

async function show({ id, kind, result }) {
  if (kind === "comparison") results.replaceChildren(...await comparison(result), id ? app.tools(id) : "");
  else results.replaceChildren(await app.trace(result), id ? tools(id) : "");
  app.say(w().result);
}

/** Link, files, and the flow graph of a stored result. */
function tools(id) {
  const row = app.tools(id), place = h("section", { class: "card", "aria-label": () => w().flowTitle, hidden: true }), wait = h("div");
  const flow = h("button", { type: "button", "aria-pressed": "false", onclick: async () => {
    place.hidden = flow.getAttribute("aria-pressed") === "true";
    flow.setAttribute("aria-pressed", String(!place.hidden));
    if (place.hidden || place.firstChild) return;
    place.hidden = true;
    const found = await app.work(wait, "flow", { id });
    if (!found) { flow.setAttribute("aria-pressed", "false"); return; }
    try { await app.fragment(place, `traces/${encodeURIComponent(found.id)}/fragment`); } catch (e) { app.error(wait, e); }
    place.hidden = !place.firstChild;
  } }, () => w().flow);
  row.prepend(flow);
  return h("div", { class: "stack" }, row, wait, place);
}

async function comparison({ traces, agreement: a }) {
  const table = (caption, rows) => h("table", null, h("caption", null, caption),
    h("thead", null, h("tr", null, h("td"), ...a.methods.map((m) => h("th", { scope: "col" }, m)))),
    h("tbody", null, ...rows.map((r, i) => h("tr", null, h("th", { scope: "row" }, a.methods[i]), ...r.map((x) => h("td", null, x === null ? "–" : x.toFixed(2)))))));
  const head = h("section", { class: "card stack" }, h("h2", null, () => w().agreement),
    h("div", { class: "agreement pane", tabindex: "0", role: "group", "aria-label": () => w().agreement },
      table(() => w().spearman, a.spearman), table(() => w().overlap(a.top_k), a.overlap)), h("p", { class: "hint" }, () => w().shaded));
  const panels = await Promise.all(traces.map(async (t) => {
    const id = fresh("method");
    return h("section", { "aria-labelledby": id }, h("h2", { id }, t.method.name), await app.trace(t));
  }));
  return [traces.length > 1 ? head : "", h("div", { class: "side" }, ...panels)];
}

/** A stored result: its question comes back into the form too. */
async function open(entry) {
  const trace = entry.kind === "comparison" ? entry.result.traces[0] : entry.result;
  app.clear(status);
  if (trace.prompt.messages && !trace.prompt.text) {
    form.turns.replaceChildren();
    for (const m of trace.prompt.messages) turn(m.role, m.content);
    asChat(true);
  } else {
    asChat(false);
    form.prompt.value = trace.prompt.text ?? "";
  }
  form.raw.checked = trace.prompt.raw;
  form.target.value = trace.answer.generated ? "" : trace.answer.text;
  if (![...form.method.options].some((o) => o.value === trace.method.name)) form.method.append(h("option", { value: trace.method.name }, trace.method.name));
  form.method.value = trace.method.name;
  showBudget();
  await show(entry);
}

export default { id: "explain", name: { en: "Explain", zh: "解释" }, mount, open };

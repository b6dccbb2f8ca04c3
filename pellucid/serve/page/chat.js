// The tab Chat: a conversation whose answers stream, and under each of them "why": what it rests on, laid over the
// conversation by message, sentence and token.
import { area, choice, chosen, field, h, segmented } from "./dom.js";
import { number, sheet, signed, visible, walkable, whole } from "./pieces.js";
import { overlay, trusted } from "./why.js";

await sheet("tabs.css");

const words = {
  en: {
    title: "Chat", lead: "Talk with the model, and ask of any answer why: which messages, sentences and tokens it rests on.",
    say: "Your message", placeholder: "Write a message", keys: "Enter sends it, Shift+Enter begins a new line.", send: "Send", stop: "Stop", clear: "Clear",
    options: "Options", system: "Instruction", systemHint: "Goes before the conversation, as the system message.", strategy: "Strategy",
    most: "Tokens at most", seed: "Seed", why: "Why?", again: "Hide", talk: "Conversation",
    roles: { system: "Instruction", user: "You", assistant: "Model", tool: "Tool" },
    stopped: "Stopped.", length: (n) => `Cut after ${n} tokens.`, writing: "The model is writing …", cleared: "The conversation is empty.",
    rests: "What this answer rests on most", level: "Shade by", sentence: "Sentences", token: "Tokens", nats: "nats", none: "no score",
    worth: (x) => `${x} nats`, worthTip: "Nats that the answer’s log-probability falls by without this message",
    byMessage: "Message", bySentence: "Sentence", byToken: "Tokens", method: (m) => `Tokens by the method ${m}.`,
    explained: "Explained answer", empty: "Nothing has been said yet.", try: ["What is the capital of France?", "Tell me a short story about a lighthouse."],
    whole: "This model reads the conversation as one text:",
  },
  zh: {
    title: "对话", lead: "与模型对话，并可对任何回答问“为什么”：它依据了哪些消息、句子和词元。",
    say: "你的消息", placeholder: "写一条消息", keys: "回车发送，Shift+回车换行。", send: "发送", stop: "停止", clear: "清空",
    options: "选项", system: "指令", systemHint: "作为系统消息放在对话之前。", strategy: "策略",
    most: "最多词元数", seed: "种子", why: "为什么？", again: "收起", talk: "对话",
    roles: { system: "指令", user: "你", assistant: "模型", tool: "工具" },
    stopped: "已停止。", length: (n) => `在 ${n} 个词元后截断。`, writing: "模型正在写……", cleared: "对话已清空。",
    rests: "这个回答最主要的依据", level: "着色单位", sentence: "句子", token: "词元", nats: "奈特", none: "没有得分",
    worth: (x) => `${x} 奈特`, worthTip: "去掉这条消息时，回答的对数概率下降多少（奈特）",
    byMessage: "消息", bySentence: "句子", byToken: "词元", method: (m) => `词元得分所用方法：${m}。`,
    explained: "所解释的回答", empty: "还没有说话。", try: ["法国的首都是哪里？", "讲一个关于灯塔的小故事。"],
    whole: "这个模型把对话当作一段文本来读：",
  },
};

let app, why = null, level = "token", running = null;
let turns = []; // {role, content, note}
const t = () => app.t(words);
const parts = {};

// ---- saying ------------------------------------------------------------------------------------------------------

function messages(upTo = turns.length) {
  const system = parts.system.value.trim();
  return [...(system ? [{ role: "system", content: system }] : []), ...turns.slice(0, upTo).map(({ role, content }) => ({ role, content }))];
}

async function send() {
  const text = parts.text.value.trim();
  if (!text || running) return;
  parts.text.value = "";
  parts.text.dispatchEvent(new Event("input"));
  why = null;
  turns.push({ role: "user", content: text });
  const body = { messages: messages(), decoding: { strategy: parts.strategy.value, max_new_tokens: whole(parts.most), seed: whole(parts.seed) } };
  const answer = { role: "assistant", content: "", live: true };
  turns.push(answer);
  running = new AbortController();
  draw();
  app.clear(parts.errors);
  const status = (s) => { parts.status.textContent = s; };
  status(t().writing);
  try {
    const { result } = await app.run("generate", body, {
      signal: running.signal, text: (delta) => { answer.content += delta; grow(delta); },
      queued: (n) => status(n ? `… ${n}` : t().writing), progress: () => status(t().writing) });
    answer.content = result.text;
    if (result.end === "length") answer.note = () => t().length(body.decoding.max_new_tokens);
    app.say(answer.content);
  } catch (e) {
    if (running.signal.aborted && answer.content) answer.note = () => t().stopped;
    else { // nothing was said: the message goes back to where it was written
      turns.splice(-2);
      parts.text.value = text;
    }
    app.error(parts.errors, e);
  } finally {
    running = null;
    answer.live = false;
    status("");
    draw();
    parts.text.focus();
  }
}

/** More of the answer, at its end, without drawing the rest anew. */
function grow(delta) {
  const near = innerHeight + scrollY > document.documentElement.scrollHeight - 120;
  parts.list.querySelector(".live .written")?.firstChild.appendData(delta);
  if (near) scrollTo(0, document.documentElement.scrollHeight);
}

async function ask(at) {
  const asked = messages(at + 1);
  const place = parts.list.querySelector(`[data-turn="${at}"] .work`);
  const entry = await app.work(place, "why", { messages: asked });
  if (entry) { explain(at, entry); app.say(t().rests); }
}

function explain(at, entry) {
  why = { at, entry, over: overlay(entry.result) };
  draw();
  parts.list.querySelector(".because")?.scrollIntoView({ block: "nearest" });
}

function clear() {
  running?.abort();
  turns = [];
  why = null;
  draw();
  app.say(t().cleared);
  parts.text.focus();
}

// ---- what is drawn -----------------------------------------------------------------------------------------------

function draw() {
  const first = why?.entry.result.messages[0], system = first?.role === "system" ? first : null; // as it was when it was asked
  const rows = turns.map((one, at) => turn(one, at, why?.over.placed && at < why.at ? at + (system ? 1 : 0) : null));
  if (system) rows.unshift(turn(system, -1, why.over.placed ? 0 : null));
  parts.list.replaceChildren(...rows);
  parts.none.hidden = rows.length > 0;
  parts.list.hidden = rows.length === 0;
  parts.clear.disabled = rows.length === 0;
  parts.send.hidden = running !== null;
  parts.stop.hidden = running === null;
  parts.tip.hidden = !why;
  parts.walk();
}

/** One message; `k`: its number among those that the answer was explained by, or null. */
function turn(one, at, k) {
  const over = k === null ? null : why.over;
  const score = over?.score(k) ?? null;
  const mine = why?.at === at;
  const text = h("p", { class: "written" }, over ? over.nodes(k, level, t()) : one.content);
  if (one.live) text.replaceChildren(document.createTextNode(one.content), h("span", { class: "caret" }));
  const worth = score === null ? null : h("span", { class: "worth", title: () => t().worthTip }, () => t().worth(signed(score)));
  worth?.style.setProperty("--share", Math.abs(score / over.most).toFixed(3));
  const row = h("li", { class: `said ${one.role}${one.live ? " live" : ""}${mine ? " explained" : ""}${why && at > why.at ? " later" : ""}`, "data-turn": at },
    h("div", { class: "row" }, h("h2", null, () => t().roles[one.role] ?? one.role), worth), text,
    one.note ? h("p", { class: "note" }, one.note) : null);
  if (one.role === "assistant" && !one.live && one.content.trim()) {
    row.append(h("div", { class: "row" }, h("button", { type: "button", class: "ask-why", "aria-expanded": String(mine), onclick: () => {
      if (!mine) { ask(at); return; }
      why = null;
      draw();
      parts.list.querySelector(`[data-turn="${at}"] .ask-why`).focus();
    } }, () => (mine ? t().again : t().why))), h("div", { class: "work" }));
    if (mine) row.append(because());
  }
  return row;
}

/** Under the explained answer: how to shade, what is strongest, how far to trust it. */
function because() {
  const { over, entry } = why, result = entry.result;
  const top = result.messages.map((m, k) => ({ m, score: over.score(k) })).filter((x) => x.score !== null).sort((a, b) => b.score - a.score)[0];
  const short = (s) => { const all = Array.from(visible(s.trim())); return all.length > 90 ? `${all.slice(0, 88).join("")} …` : all.join(""); };
  const sentence = over.strongest("sentence", 1)[0];
  const fact = (name, ...value) => [h("dt", null, name), h("dd", null, ...value)];
  const element = h("section", { class: "because", "aria-label": () => t().rests },
    h("div", { class: "row" }, h("h3", null, () => t().rests), over.placed ? segmented(() => t().level,
      [["token", () => t().token], ["sentence", () => t().sentence]], level, (v) => {
        level = v;
        draw();
        chosen(parts.list.querySelector(".because .segmented"), v);
        parts.list.querySelector(".because .segmented input:checked").focus();
      }) : null),
    over.placed ? h("dl", { class: "facts" },
      top ? fact(() => t().byMessage, h("b", null, signed(top.score)), " ", short(top.m.content)) : null,
      sentence ? fact(() => t().bySentence, h("b", null, signed(sentence.score)), " ", short(sentence.text)) : null,
      fact(() => t().byToken, over.strongest("token", 6).map((p) => [h("span", { class: "chip" }, visible(p.text.trim()), " ", h("b", null, signed(p.score))), " "]))) : null,
    h("p", { class: "note" }, () => trusted(over.trust, app.lang()), " ", () => (over.method ? t().method(over.method) : "")),
    entry.id ? app.tools(entry.id, ["json", "html"]) : null);
  if (!over.placed && entry.id) {
    const place = h("div");
    element.append(h("p", { class: "note" }, () => t().whole), place);
    app.fragment(place, `traces/${encodeURIComponent(entry.id)}/fragment`).catch((e) => app.error(element, e));
  }
  return element;
}

function mount(root, given) {
  app = given;
  parts.text = area({ rows: 1, class: "message", placeholder: () => t().placeholder, title: () => t().keys, "aria-label": () => t().say, onkeydown: (e) => {
    if (e.key === "Enter" && !e.shiftKey && !e.isComposing) { e.preventDefault(); send(); }
  } });
  parts.system = area({ rows: 1 });
  parts.strategy = choice(["greedy", "temperature:0.7", "top_p:0.9", "top_k:50", "min_p:0.1"].map((s) => [s, s]), "greedy");
  parts.most = number(128, 1, 1024);
  parts.seed = number(0, 0, 999999);
  parts.list = h("ol", { class: "talk", "aria-label": () => t().talk });
  parts.errors = h("div");
  parts.status = h("p", { class: "note", role: "status" });
  parts.tip = h("output", { class: "tip", "aria-live": "polite", hidden: true });
  parts.send = h("button", { class: "primary" }, () => t().send);
  parts.stop = h("button", { type: "button", class: "primary stop", hidden: true, onclick: () => running?.abort() }, () => t().stop);
  parts.clear = h("button", { type: "button", class: "quiet", onclick: clear }, () => t().clear);
  parts.none = h("div", { class: "empty" }, h("p", null, () => t().empty), h("div", { class: "row" }, [0, 1].map((k) => h("button", { type: "button",
    onclick: () => { parts.text.value = t().try[k]; send(); } }, () => t().try[k]))));
  root.append(h("div", { class: "stack narrow" },
    h("div", null, h("h1", null, () => t().title), h("p", { class: "lead" }, () => t().lead)),
    h("details", { class: "card options-card" }, h("summary", null, () => t().options), h("div", { class: "options" },
      field(() => t().system, parts.system, () => t().systemHint),
      h("div", { class: "row" }, field(() => t().strategy, parts.strategy), field(() => t().most, parts.most), field(() => t().seed, parts.seed)))),
    parts.none, parts.list, parts.errors,
    h("form", { class: "card foot", onsubmit: (e) => { e.preventDefault(); send(); } },
      parts.tip, h("div", { class: "row" }, h("div", { class: "grow" }, parts.text), parts.send, parts.stop, parts.clear), parts.status)));
  parts.walk = walkable(parts.list, parts.tip);
  draw();
  app.on("lang", draw);
}

/** A stored explanation: its conversation, with it. */
function open(entry) {
  running?.abort();
  const { messages: before, answer } = entry.result;
  const system = before[0]?.role === "system" ? 1 : 0;
  parts.system.value = system ? before[0].content : "";
  turns = [...before.slice(system).map(({ role, content }) => ({ role, content })), { role: "assistant", content: answer }];
  explain(turns.length - 1, entry);
}

export default { id: "chat", name: { en: "Chat", zh: "对话" }, mount, open };

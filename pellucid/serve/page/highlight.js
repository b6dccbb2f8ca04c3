// Highlight: is a text about a query, and which of its words are. Updated as the query changes; an earlier request is given up.
import { area, debounced, field, h, icon, segmented } from "./dom.js";

const WORDS = {
  en: {
    form: "Query and text", query: "Query", queryAsk: "What are you looking for?", text: "Text", textAsk: "Paste a text, or drop a .txt, .md or .pdf file here …",
    file: "Open a file", run: "Highlight", unit: "Show scores by", units: { token: "Tokens", word: "Words", sentence: "Sentences" },
    threshold: "Show from", found: "What was found", about: "about the query", calibrated: (x) => `${x} nats beside a text about nothing`,
    answers: "The model's answer", answersHint: "The likeliest first tokens of what it says when it is asked for the query.", top: "Strongest words",
    empty: "Give a query and a text: what the text says about the query lights up.", example: "Try an example",
    exampleQuery: "capital gains", exampleText: "Cats sleep for most of the day.\n\nThe tax on capital gains rose to 25 % in spring. Profit from shares that are sold "
      + "after a year is taxed at the lower rate.\n\nThe museum opens at nine.",
    cut: (n) => `Only the first ${n} characters were read.`, score: "score", keep: "Keep and link", dropped: (name) => `${name} was read.`,
    made: (r) => `${r.model.name} · ${r.method} · ${r.seconds.toFixed(1)} s`,
  },
  zh: {
    form: "查询与文本", query: "查询", queryAsk: "想找什么？", text: "文本", textAsk: "粘贴文本，或把 .txt、.md、.pdf 文件拖到这里……",
    file: "打开文件", run: "高亮", unit: "得分单位", units: { token: "词元", word: "词", sentence: "句子" },
    threshold: "显示下限", found: "结果", about: "与查询相关", calibrated: (x) => `与无关文本相差 ${x} 奈特`,
    answers: "模型的回答", answersHint: "就查询提问时，它最可能说出的首个词元。", top: "最相关的词",
    empty: "给出查询和文本：与查询有关的内容会亮起来。", example: "试一个例子",
    exampleQuery: "资本利得", exampleText: "猫一天大部分时间都在睡觉。\n\n今年春天，资本利得税升到了百分之二十五。持有一年以上的股票，卖出的收益按较低的税率征税。\n\n博物馆九点开门。",
    cut: (n) => `只读了前 ${n} 个字符。`, score: "得分", keep: "保存并取得链接", dropped: (name) => `已读取 ${name}。`,
    made: (r) => `${r.model.name} · ${r.method} · ${r.seconds.toFixed(1)} 秒`,
  },
};
const LEVELS = 20, WAIT = 350;

let app, w, form, status, place, shown = null, by = "word", from = 0;

function mount(root, given) {
  app = given;
  w = () => app.t(WORDS);
  const later = debounced(() => run(false), WAIT);
  form = {
    query: h("input", { type: "search", autocomplete: "off", placeholder: () => w().queryAsk, oninput: later }),
    text: area({ rows: 8, placeholder: () => w().textAsk, oninput: later, "aria-label": () => w().text }),
    file: h("input", { type: "file", accept: ".txt,.md,.markdown,.html,.pdf,.py", hidden: true, onchange: () => { read(form.file.files[0]); form.file.value = ""; } }),
  };
  status = h("div", { class: "status" });
  place = h("div", { class: "stack" });
  root.append(
    h("form", { class: "highlighting", "aria-label": () => w().form, onsubmit: (e) => { e.preventDefault(); run(true); },
      onkeydown: (e) => { if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) { e.preventDefault(); run(true); } } },
      h("div", { class: "asked" },
        h("div", { class: "row" }, h("div", { class: "grow" }, field(() => w().query, form.query)), h("button", { class: "primary" }, () => w().run)),
        h("div", { class: "card dropping" }, form.text, h("div", { class: "row" },
          h("button", { type: "button", class: "quiet", onclick: () => form.file.click() }, icon("file"), () => w().file), form.file))),
      h("section", { class: "card found", "aria-label": () => w().found }, place, status)));
  const drop = root.querySelector(".dropping");
  root.addEventListener("dragover", (e) => { if (e.dataTransfer.types.includes("Files")) { e.preventDefault(); drop.classList.add("over"); } });
  root.addEventListener("dragleave", (e) => { if (!root.contains(e.relatedTarget)) drop.classList.remove("over"); });
  root.addEventListener("drop", (e) => {
    drop.classList.remove("over");
    if (!e.dataTransfer.files.length) return;
    e.preventDefault();
    read(e.dataTransfer.files[0]);
  });
  app.on("lang", () => { if (shown) draw(); });
  welcome();
}

function welcome() {
  shown = null;
  place.replaceChildren(h("div", { class: "empty" }, h("p", null, () => w().empty), h("div", { class: "row" },
    h("button", { type: "button", onclick: () => { form.query.value = w().exampleQuery; form.text.value = w().exampleText; run(true); } }, () => w().example))));
}

/** A file's text, as the server reads it. */
async function read(file) {
  if (!file) return;
  const wait = app.busy(status);
  try {
    const { text } = await app.send("POST", `text?name=${encodeURIComponent(file.name)}`, file, { signal: wait.signal });
    form.text.value = text;
    app.say(w().dropped(file.name));
    wait.done();
    if (form.query.value.trim()) run(true); else form.query.focus();
  } catch (e) {
    wait.done();
    app.error(status, e);
  }
}

/** Ask; what is only a step of typing is not kept in the history. */
async function run(keep) {
  const query = form.query.value.trim(), text = form.text.value;
  if (!query || !text.trim()) {
    if (keep) (query ? form.text : form.query).focus();
    return;
  }
  const found = await app.work(status, "relevance", { query, text, keep });
  if (!found) return;
  app.clear(status);
  shown = found;
  draw();
  app.say(`${percent(found.result.degree)} ${w().about}`);
}

// ---- what was found -------------------------------------------------------------------------------------------

const percent = (p) => (p >= 0.9995 ? "> 99.9 %" : p > 0 && p < 0.0005 ? "< 0.1 %" : `${(100 * p).toFixed(p > 0.99 || p < 0.01 ? 1 : 0)} %`);
const num = (x) => String(Number(x.toPrecision(3))).replace("-", "−");

function draw() {
  const { id, result: r } = shown, letters = Array.from(r.text);
  const text = h("div", { class: "written text", lang: "", dir: "auto", translate: "no" });
  const slider = h("input", { type: "range", min: 0, max: 95, step: 5, value: Math.round(100 * from), oninput: () => {
    from = Number(slider.value) / 100;
    slider.setAttribute("aria-valuetext", `${slider.value} %`);
    shade();
  } });
  const shade = () => text.replaceChildren(...pieces(letters, parts(r, letters, by)));
  shade();
  const meter = h("meter", { min: 0, max: 1, value: r.degree, "aria-label": w().about });
  const tools = id ? app.tools(id) : r.tokens.length ? h("div", { class: "tools" },
    h("button", { type: "button", onclick: () => run(true) }, icon("link"), w().keep)) : "";
  place.replaceChildren(
    h("div", { class: "degree" }, h("b", null, percent(r.degree)), h("span", null, w().about), meter,
      h("small", { class: "quiet" }, w().calibrated(`${r.calibrated > 0 ? "+" : ""}${num(r.calibrated)}`))),
    h("div", { class: "row controls" },
      segmented(() => w().unit, ["token", "word", "sentence"].map((u) => [u, w().units[u]]), by, (u) => { by = u; shade(); }),
      h("label", { class: "threshold" }, h("span", null, w().threshold), slider)),
    text, r.cut_at === null ? "" : h("p", { class: "hint" }, w().cut(r.cut_at)),
    h("div", { class: "more" }, strongest(r, letters), answers(r)), tools, h("p", { class: "hint" }, w().made(r)));
}

/** The ranges of words: as the package's own (trace/segments), a mark or a Chinese character is one by itself. */
const CJK = "\\u3040-\\u30ff\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff";
const RUN = `(?:(?![${CJK}])[\\p{L}\\p{N}\\p{M}_])+`;
const WORD = new RegExp(`[${CJK}]|\\p{Nd}+(?:[.,:]\\p{Nd}+)*%?|${RUN}(?:['’-]${RUN})*|[^\\p{L}\\p{N}\\p{M}_\\s]`, "gu");
const SENTENCE = /[^\n]*?(?:[.!?]+["'”’)\]»」』）】]*(?=\s)|[。！？；][。！？；]*["'”’)\]»」』）】]*|\n|$)/gu;

function ranges(letters, pattern) {
  const text = letters.join(""), found = [];
  const at = new Uint32Array(text.length + 1); // from JavaScript's places to characters
  let k = 0, i = 0;
  for (const c of letters) { for (let n = 0; n < c.length; n += 1) at[i++] = k; k += 1; }
  at[i] = k;
  for (const m of text.matchAll(pattern)) {
    const body = m[0].trim();
    if (!body) continue;
    const start = m.index + m[0].indexOf(body);
    found.push([at[start], at[start + body.length]]);
  }
  return found;
}

/** Tokens, or words with the sums and sentences with the means of their tokens' scores, by share of characters. */
function parts(r, letters, unit) {
  if (unit === "token") return r.tokens;
  const mean = unit === "sentence", { tokens } = r;
  let k = 0;
  return ranges(letters, mean ? SENTENCE : WORD).map(([start, end]) => {
    while (k < tokens.length && tokens[k].end <= start) k += 1;
    let total = 0, weight = 0;
    for (let i = k; i < tokens.length && tokens[i].start < end; i += 1) {
      const t = tokens[i], share = (Math.min(t.end, end) - Math.max(t.start, start)) / (t.end - t.start);
      if (t.score !== null && share > 0) { total += share * t.score; weight += share; }
    }
    return { start, end, score: weight === 0 ? null : mean ? total / weight : total };
  });
}

/** The whole text in order, line breaks kept; the blanks before a token are not shaded. */
function pieces(letters, all) {
  const top = all.reduce((m, p) => Math.max(m, p.score ?? 0), 0), out = [];
  const slice = (a, b) => letters.slice(a, b).join("");
  let at = 0;
  for (const p of all) {
    if (p.end <= at) continue;
    const start = Math.max(p.start, at);
    if (start > at) out.push(slice(at, start));
    const text = slice(start, p.end), body = text.trimStart(), share = top > 0 ? Math.max(0, p.score ?? 0) / top : 0;
    at = p.end;
    const level = share >= from ? Math.round(LEVELS * share) : 0;
    if (!level || !body) { out.push(text); continue; }
    out.push(text.slice(0, text.length - body.length));
    const mark = h("mark", { title: `${w().score} ${num(p.score)}` }, body);
    mark.style.setProperty("--at", (0.032 * level).toFixed(3));
    out.push(mark);
  }
  out.push(slice(at));
  return out;
}

/** The strongest words in a list: what the shades say, without colour. */
function strongest(r, letters) {
  const best = parts(r, letters, "word").map((p) => ({ ...p, text: letters.slice(p.start, p.end).join("") }))
    .filter((p) => p.score > 0 && /[\p{L}\p{N}]/u.test(p.text)).sort((a, b) => b.score - a.score).slice(0, 8);
  return list(w().top, best.map((p) => [p.text, p.score / best[0].score, num(p.score)]));
}

function answers(r) {
  if (!r.answer.length) return "";
  return list(w().answers, r.answer.slice(0, 5).map((a) => [a.text.trim() || "␣", a.probability, percent(a.probability)]), w().answersHint);
}

function list(title, rows, hint = "") {
  if (!rows.length) return "";
  return h("section", { class: "bars" }, h("h2", null, title), h("ol", null, rows.map(([text, share, value]) => {
    const bar = h("span", { class: "bar" });
    bar.style.width = `${100 * Math.min(1, share)}%`;
    return h("li", null, h("bdi", { translate: "no" }, text), h("span", { class: "value" }, value), h("span", { class: "track" }, bar));
  })), hint ? h("p", { class: "hint" }, hint) : "");
}

function open(entry) {
  form.query.value = entry.result.query;
  form.text.value = entry.result.text;
  app.clear(status);
  shown = entry;
  draw();
}

export default { id: "highlight", name: { en: "Highlight", zh: "高亮" }, mount, open };

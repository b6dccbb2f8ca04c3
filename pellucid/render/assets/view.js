// <pellucid-trace> draws one explanation, in schema pellucid.trace/1 (docs/trace-schema.md).
//
//   document.querySelector("pellucid-trace").trace = await response.json();
//
// or, in a page that carries its trace, a child script of type "application/json" that holds it. (This file must not
// spell a script's end tag, not even in a comment: html.py puts it into a page, and a test looks.)
//
// Attributes: theme="light|dark" and lang="en|zh" (else the reader's own), page (the document is this trace's page),
// inside (a part of a larger page, which has the title, the theme and the language).
// Whatever a model or a user wrote becomes a text node or a plain attribute, never markup; there is no eval and no
// inline handler, so the page can forbid every other script (see html.py). Tokens have no listeners of their own:
// each kind of event is heard once, and a hover only changes the class names of tokens whose shade changed.
"use strict";
(() => {
  const LEVELS = 20; // steps of shade; view.css has one rule each
  const TOP = 10, CAUSES = 5;
  const MANY = 4; // of more tokens than these, the probabilities are told together
  const CHUNK = 500; // tokens restyled in one go
  const ROLES = ["template", "special"]; // the frame: not written by the user
  const script = document.currentScript;

  const WORDS = {
    en: {
      title: "What made the model say this", prompt: "Prompt", answer: "Answer",
      generated: "generated", given: "given by the user", explained: "explained: the marked part",
      roles: { system: "System", user: "User", assistant: "Assistant", tool: "Tool",
        first: "First text", second: "Second text", question: "Question", context: "Context" },
      unit: "Show scores by", token: "Tokens", word: "Words", sentence: "Sentences", frame: (n) => `Template (${n})`,
      frameTip: "Show the tokens of the chat template and the special tokens", other: "中文",
      theme: { light: "Light", dark: "Dark" }, themeTip: (x) => `Switch to the ${x} theme`,
      hint: "Point at a token, tap it, or move with the arrow keys. Click to pin it; Esc lets go. "
        + "Drag over several tokens of the answer, or hold Shift and move, to see what caused them together.",
      pinned: "Pinned. Click it again or press Esc to let go.", place: (n, of) => `${n} of ${of} by size`,
      score: "Score", probability: "Probability", rank: "Rank", entropy: "Entropy", piece: "Token",
      length: "Tokens", joint: "Log-probability",
      alternatives: "Likeliest tokens here", causes: "What caused it", effects: "What it caused",
      parts: "Strongest parts of the prompt", alone: (name) => `Explained by itself: ${name}`,
      top: "Strongest in the prompt", noMatrix: ["Which tokens caused this one was not computed: only the whole answer "
        + "is explained here. Ask for it with ", " in Python, or ", " on the command line."],
      outside: "This token lies outside the explained part of the answer, so it has no scores.",
      unseen: "not visible to this token", unseenTotal: "no score: the answer could not see it",
      nothing: "Nothing visible to it has a score.", gap: "not part of any token that the model read",
      legend: { base: "Score of each prompt token", row: "What caused", column: "What was caused by" },
      minus: "− against", plus: "+ for", clip: "template tokens may be beyond the scale",
      nats: "nats", logits: "logits", prob: "of probability", perNorm: "per unit of embedding norm", plain: "score",
      trust: "How far to trust it",
      fall: (x, y, each) => `${x < 0 ? "raised" : "lowered"} ${y} by ${num(Math.abs(x))} nats${each}`,
      trustLine: (t, fall) => `Taking out the ${t.removed} highest-scored of ${t.candidates} prompt tokens `
        + `${fall(t.top_drop, "the log-probability of the answer", " per token")}. Taking out as many at random `
        + `${fall(t.random_drop, "it", "")} (mean of ${t.random_drops.length} ${t.random_drops.length === 1 ? "draw" : "draws"}).`,
      ratio: (x) => `That is ${x} times the effect of chance.`, chance: "No better than chance: do not rely on these scores.",
      noTrust: "Trust was not measured", passes: (f, b) => `${f} forward and ${b} backward passes`,
      parameters: "parameters", on: "on", precision: { full: "full precision", fast: "fast precision (bfloat16)" },
      generating: "generating", memory: "memory", seed: "seed", method: "Method", model: "Model", cost: "Cost", made: "Made",
      table: "The same as a table", text: "Text", role: "Role", chars: "characters", blank: "space", line: "line break",
      bad: "This is not a trace that this page can draw: it reads pellucid.trace/1.",
    },
    zh: {
      title: "是什么让模型这样说", prompt: "提示", answer: "答案",
      generated: "由模型生成", given: "由用户给定", explained: "解释的是标出的部分",
      roles: { system: "系统", user: "用户", assistant: "助手", tool: "工具",
        first: "第一段文本", second: "第二段文本", question: "问题", context: "上下文" },
      unit: "得分单位", token: "词元", word: "词", sentence: "句子", frame: (n) => `模板（${n}）`,
      frameTip: "显示聊天模板的词元和特殊词元", other: "English",
      theme: { light: "浅色", dark: "深色" }, themeTip: (x) => `切换到${x}主题`,
      hint: "指向或点按一个词元，或用方向键移动。点击可固定，按 Esc 取消。"
        + "在答案中拖过多个词元，或按住 Shift 移动，可以看到它们共同的成因。",
      pinned: "已固定。再点一次或按 Esc 取消。", place: (n, of) => `按大小排第 ${n}，共 ${of} 个`,
      score: "得分", probability: "概率", rank: "排名", entropy: "熵", piece: "词元",
      length: "词元数", joint: "对数概率",
      alternatives: "此处最可能的词元", causes: "它的成因", effects: "它引起了什么",
      parts: "提示中影响最大的段落", alone: (name) => `单独解释：${name}`,
      top: "提示中最强的词元", noMatrix: ["没有计算是哪些词元引起了它：这里只解释了整个答案。要得到它，请在 Python 中用 ",
        "，或在命令行用 ", "。"],
      outside: "这个词元在所解释的部分之外，没有得分。",
      unseen: "这个词元看不到的部分", unseenTotal: "没有得分：答案看不到它",
      nothing: "它能看到的部分都没有得分。", gap: "模型没有读到这一段",
      legend: { base: "提示中每个词元的得分", row: "成因：", column: "结果：" },
      minus: "− 反对", plus: "+ 支持", clip: "模板词元可能超出标尺",
      nats: "奈特", logits: "logit", prob: "概率", perNorm: "每单位嵌入范数", plain: "分",
      trust: "可信程度",
      fall: (x, y, each) => `${y}${each}${x < 0 ? "上升" : "下降"} ${num(Math.abs(x))} 奈特`,
      trustLine: (t, fall) => `拿掉得分最高的 ${t.removed} 个提示词元（共 ${t.candidates} 个），`
        + `${fall(t.top_drop, "答案的对数概率", "平均每词元")}；随机拿掉同样多个，${fall(t.random_drop, "", "")}`
        + `（${t.random_drops.length} 次的平均）。`,
      ratio: (x) => `前者是随机的 ${x} 倍。`, chance: "并不优于随机：不要依赖这些得分。",
      noTrust: "没有测量可信程度", passes: (f, b) => `前向 ${f} 次，反向 ${b} 次`,
      parameters: "参数", on: "于", precision: { full: "全精度", fast: "快速精度（bfloat16）" },
      generating: "生成", memory: "内存", seed: "种子", method: "方法", model: "模型", cost: "开销", made: "时间",
      table: "以表格显示", text: "文字", role: "角色", chars: "字符", blank: "空格", line: "换行",
      bad: "这不是本页能显示的结果：本页读取 pellucid.trace/1。",
    },
  };

  /** Three significant digits, without an exponent where a reader can do without. */
  function num(x) {
    const a = Math.abs(x);
    if (a !== 0 && (a < 1e-3 || a >= 1e5)) return x.toExponential(2).replace("e+", "e").replaceAll("-", "−");
    return String(Number(x.toPrecision(3))).replace("-", "−");
  }
  const signed = (x) => (x > 0 ? "+" : "") + num(x);
  const percent = (p) => (p >= 0.9995 ? ">99.9" : p > 0 && p < 0.0005 ? "<0.1" : (100 * p).toFixed(1)) + "%";
  const bytes = (n) => (n >= 1e9 ? `${(n / 1e9).toFixed(1)} GB` : `${Math.round(n / 1e6)} MB`);
  const count = (n) => (n >= 1e9 ? `${num(n / 1e9)}B` : n >= 1e6 ? `${num(n / 1e6)}M` : String(n));

  /** An element. Children that are strings become text nodes: nothing is ever parsed as markup. */
  function h(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes ?? {})) {
      if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((c) => c !== null && c !== undefined && c !== ""));
    return element;
  }

  /** A token in a list or a heading: its outer blanks and its line breaks visible, but quiet. */
  function quoted(text) {
    const [, before, middle, after] = /^( *)(.*?)( *)$/su.exec(text);
    const blank = (s) => (s ? h("i", { "aria-hidden": "true" }, "␣".repeat(s.length)) : null);
    return h("bdi", { class: "tok", lang: "", translate: "no" }, blank(before),
      middle.replaceAll("\n", "↵").replaceAll("\t", "⇥") || (text ? null : "∅"), blank(after));
  }

  /** The sum of what could be seen; null where nothing could. */
  function sum(values) {
    let s = null;
    for (const x of values) if (x !== null && x !== undefined) s = (s ?? 0) + x;
    return s;
  }

  /**
   * The number of the sentence that each code point stands in: a new one after a full stop with a blank behind it, after a
   * Chinese one, after a line break. Quotation marks that close and blanks belong to the sentence before them.
   */
  function sentencesOf(letters) {
    let number = 0, stop = false, ended = false;
    return letters.map((c) => {
      const blank = c.trim() === "", closer = /[”’」』）"')]/u.test(c);
      if (ended && !blank && !closer) { number += 1; ended = false; }
      if (/[。！？\n]/u.test(c) || (blank && stop)) ended = true;
      stop = /[.!?]/u.test(c) || (stop && closer);
      return number;
    });
  }

  /**
   * What is drawn as one piece: a token; or all tokens of a word or a sentence (`by`); and always all byte-level pieces
   * of one character, which carry the same offsets (or offsets that overlap, where a piece also holds the blank before
   * it). `textOf(message)` gives the code points that offsets count in.
   */
  function unitsOf(kind, tokens, by, textOf) {
    const units = [], numbers = new Map();
    const sentence = (t) => { // the one that its first letter stands in
      const message = t.message ?? null, letters = textOf(message);
      if (!numbers.has(message)) numbers.set(message, sentencesOf(letters));
      let at = t.start;
      while (at < t.end - 1 && letters[at].trim() === "") at += 1;
      return numbers.get(message)[Math.min(at, letters.length - 1)];
    };
    tokens.forEach((t, i) => {
      const message = t.message ?? null, placed = t.start !== null && t.start !== undefined;
      const frame = ROLES.includes(t.role), last = units[units.length - 1];
      const near = last && last.placed === placed && last.message === message;
      const key = by === "sentence" && placed ? sentence(t) : by === "token" ? i : t.word;
      const same = near && placed && t.start >= last.from
        && (t.start < last.end || (t.start === last.from && t.end === last.to));
      if (same || (near && last.key === key && last.frame === frame)) {
        last.tokens.push(i);
        last.raw += same ? "" : t.text;
        if (placed) Object.assign(last, { end: Math.max(last.end, t.end), from: t.start, to: t.end });
      } else {
        const { start, end, role } = t;
        units.push({ kind, index: units.length, tokens: [i], message, placed, frame, role, start, end, from: start,
          to: end, key, raw: t.text, text: "", element: null, name: "" });
      }
    });
    for (const u of units) u.text = (u.placed && textOf(u.message).slice(u.start, u.end).join("")) || u.raw;
    return units;
  }

  class PellucidTrace extends HTMLElement {
    #trace = null; #words = WORDS.en; #lang = null; #by = "token"; #drag = null; #anchor = null; #showFrame = false;
    #sources = []; #targets = []; #content = []; #order = new Map(); #unitOf = new WeakMap();
    #hover = null; #focus = null; #pin = null; #active = null; #leaving = 0; #frame = 0; #rest = 0; #total = [];

    constructor() {
      super();
      const root = this.attachShadow({ mode: "open" });
      addStyle(root);
      root.addEventListener("click", (e) => this.#click(e));
      root.addEventListener("pointerdown", (e) => this.#grab(e));
      root.addEventListener("pointermove", (e) => this.#stretch(e));
      for (const end of ["pointerup", "pointercancel"]) root.addEventListener(end, () => this.#drop());
      root.addEventListener("pointerover", (e) => this.#over(e));
      root.addEventListener("pointerout", () => { if (!this.#drag) this.#setHover(null); }); // an "over" that follows at once takes it back
      root.addEventListener("focusin", (e) => this.#focused(e.target));
      root.addEventListener("focusout", (e) => this.#focused(e.relatedTarget));
      root.addEventListener("keydown", (e) => this.#key(e));
      root.addEventListener("toggle", (e) => this.#fillTable(e.target), true); // toggle does not bubble
    }

    connectedCallback() {
      if (Object.hasOwn(this, "trace")) { // set before this script had run: hand it to the setter
        const { trace } = this;
        delete this.trace;
        this.trace = trace;
      }
      if (this.#trace) return;
      if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", () => this.#read());
      else this.#read();
    }

    static observedAttributes = ["lang"];
    attributeChangedCallback(_name, _old, value) {
      if (!this.#trace || !value) return;
      this.#lang = value.toLowerCase().startsWith("zh") ? "zh" : "en";
      this.#rebuild(null);
    }

    #read() {
      const child = this.querySelector('script[type="application/json"]');
      if (!child || this.#trace) return;
      try { this.trace = JSON.parse(child.textContent); } catch { this.trace = { schema: "" }; }
    }

    get trace() { return this.#trace; }
    set trace(trace) {
      this.#trace = trace;
      this.#pin = this.#hover = this.#focus = this.#drag = this.#anchor = null;
      this.#build();
    }

    // ---- drawing: once a trace, and again when the unit or the language changes ------------------------------

    #build() {
      const wanted = this.getAttribute("lang") || navigator.language || "en";
      this.#lang ??= wanted.toLowerCase().startsWith("zh") ? "zh" : "en";
      const t = this.#trace, root = this.shadowRoot, w = (this.#words = WORDS[this.#lang]);
      if (this.hasAttribute("page")) document.documentElement.lang = this.#lang === "zh" ? "zh-CN" : "en";
      const app = h("div", { class: "app", lang: this.#lang === "zh" ? "zh-CN" : "en" });
      root.querySelector(".app")?.remove(); // and not the style, which may be an element here
      root.append(app);
      if (t?.schema !== "pellucid.trace/1") { app.append(h("p", { class: "bad", role: "alert" }, w.bad)); return; }

      const letters = new Map(); // offsets count code points, JavaScript counts UTF-16 units
      const textOf = (message) => {
        if (!letters.has(message)) letters.set(message, Array.from(this.#written(message)));
        return letters.get(message);
      };
      const answer = Array.from(t.answer.text);
      this.#sources = unitsOf("source", t.sources, this.#by, textOf);
      this.#targets = unitsOf("target", t.targets, this.#by, () => answer);
      this.#total = this.#sources.map((u) => sum(u.tokens.map((i) => t.total[i])));
      const written = this.#sources.filter((u) => !u.frame);
      this.#content = written.length ? written : this.#sources;
      const size = (u) => Math.abs(this.#total[u.index] ?? 0);
      const ranked = [...this.#content].sort((a, b) => size(b) - size(a));
      this.#order = new Map(ranked.map((u, i) => [u, i + 1]));

      const inside = this.hasAttribute("inside"); // then landmarks are the page's own affair
      app.append(
        this.#header(),
        h(inside ? "div" : "main", { class: "main" },
          h("div", { class: "legend" }),
          h("section", { class: "card prompt" }, this.#promptBody(textOf, written.length === 0)),
          h("section", { class: "card answer" }, this.#answerBody(answer)),
          this.#trust()),
        h(inside ? "div" : "aside", { class: "inspector", role: inside ? "group" : null, "aria-label": w.causes }),
        h("section", { class: "top" }, h("h2", null, w.top), this.#list(ranked.slice(0, TOP).map((u) => [u, this.#total[u.index]]), "pin")),
        ...this.#parts(), ...this.#alone(),
        this.#footer(),
        h("p", { class: "sr", "aria-live": "polite" }));
      for (const group of [this.#sources, this.#targets]) {
        const first = group.find((u) => !this.#hidden(u));
        if (first) first.element.tabIndex = 0; // one stop for Tab, arrows inside: the roving tabindex
      }
      this.#active = undefined;
      this.#update();
    }

    #written(message) {
      const { text, messages } = this.#trace.prompt;
      return (message === null ? text : messages?.[message]?.content) ?? "";
    }

    #header() {
      const w = this.#words, frames = this.#sources.filter((u) => !u.placed).length;
      const dark = this.#theme() === "dark" ? "light" : "dark";
      const button = (act, value, label, pressed, tip) =>
        h("button", { type: "button", "data-act": act, "data-value": value, "aria-pressed": pressed, title: tip }, label);
      const inside = this.hasAttribute("inside");
      return h(inside ? "div" : "header", { class: "head" }, inside ? h("h2", { class: "sr" }, w.title) : h("h1", null, w.title),
        h("div", { class: "tools" },
          h("div", { class: "switch", role: "group", "aria-label": w.unit },
            ...["token", "word", "sentence"].map((by) => button("unit", by, w[by], String(this.#by === by)))),
          frames ? button("frame", "", w.frame(frames), String(this.#showFrame), w.frameTip) : null,
          ...(inside ? [] : [button("theme", dark, w.theme[dark], null, w.themeTip(w.theme[dark])), button("lang", "", w.other, null)])));
    }

    /**
     * One piece of text that can be pointed at. The blanks around a word stay outside of its shade: they would hang at
     * the end of a line as a sliver of colour. Nothing of the text is lost.
     */
    #piece(unit, extra) {
      const w = this.#words, blank = unit.text.trim() === "";
      const label = !blank ? unit.text : unit.text.includes("\n") ? w.line : w.blank;
      const t = unit.kind === "target" ? this.#trace.targets[unit.tokens[0]] : null;
      const value = t ? `${w.probability} ${percent(t.prob)}` : `${w.score} ${this.#score(this.#total[unit.index])}`;
      unit.base = ["u", unit.placed ? "" : "frame", blank && unit.text.includes("\n") ? "nl" : "", extra ?? "",
        unit.text === "" || (unit.placed && unit.start === unit.end) ? "zero" : ""].filter(Boolean).join(" ");
      const [, before, core, after] = blank ? ["", "", unit.text, ""] : /^(\s*)(.*?)(\s*)$/su.exec(unit.text);
      unit.element = h("span", { class: unit.base, role: "button", tabindex: "-1", "aria-pressed": "false",
        "aria-label": `${label}, ${value}` }, core);
      unit.name = unit.base;
      this.#unitOf.set(unit.element, unit);
      return [before, unit.element, after].filter(Boolean);
    }

    /** The prompt: a block a message; whatever no token covers is shown too, as it was written. */
    #promptBody(textOf, frameOnly) {
      const w = this.#words, t = this.#trace, read = new Map(), blocks = [];
      let block = null, frame = [];
      const gap = (text) => (text ? h("span", { class: text.trim() ? "gap" : null, title: text.trim() ? w.gap : null }, text) : null);
      const start = (message, role) => {
        block = { message, node: h("div", { class: role === null ? "message frames" : `message by-${ROLES.includes(role) ? "x" : role}` }) };
        const text = h("div", { class: "text", lang: "", dir: "auto", translate: "no" });
        if (role !== null) block.node.append(h("h3", null, message === null ? w.prompt : w.roles[role] ?? role));
        block.node.append(text);
        block.text = text;
        blocks.push(block);
      };
      const flush = () => { // frame tokens between messages make a block of their own
        if (!frame.length) return;
        start(undefined, null);
        block.text.append(...frame.flatMap((u) => this.#piece(u)));
        block = null;
        frame = [];
      };
      for (const u of this.#sources) {
        if (!u.placed) { frame.push(u); continue; }
        if (block && block.message === u.message) block.text.append(...frame.splice(0).flatMap((f) => this.#piece(f)));
        else { flush(); start(u.message, t.prompt.messages?.[u.message]?.role ?? "user"); }
        const at = read.get(u.message) ?? 0;
        if (u.start > at) block.text.append(gap(textOf(u.message).slice(at, u.start).join("")));
        read.set(u.message, Math.max(at, u.end));
        block.text.append(...this.#piece(u));
      }
      flush();
      for (const b of new Map(blocks.filter((b) => read.has(b.message)).map((b) => [b.message, b])).values()) {
        const rest = textOf(b.message).slice(read.get(b.message)).join("");
        if (rest) b.text.append(gap(rest));
      }
      (t.prompt.messages ?? []).forEach((m, i) => { // a template may leave a message out: say so, do not hide it
        if (read.has(i) || !m.content) return;
        const later = blocks.findIndex((b) => b.message > i);
        start(i, m.role);
        block.text.append(gap(m.content));
        if (later >= 0) blocks.splice(later, 0, blocks.pop());
      });
      if (frameOnly) this.#showFrame = true;
      const messages = new Set(blocks.filter((b) => read.has(b.message)).map((b) => b.message));
      const title = messages.size === 1 && messages.has(null) ? null : h("h2", null, w.prompt);
      const scroll = h("div", { class: this.#showFrame ? "scroll framed" : "scroll", role: "group", "aria-label": w.prompt });
      scroll.append(...blocks.map((b) => b.node));
      const both = document.createDocumentFragment();
      both.append(...[title, scroll].filter(Boolean));
      return both;
    }

    #answerBody(letters) {
      const w = this.#words, t = this.#trace, inSpan = new Set(t.span?.targets ?? []);
      const text = h("div", { class: "text", role: "group", "aria-label": w.answer, lang: "", dir: "auto", translate: "no" });
      let at = 0;
      for (const u of this.#targets) {
        if (u.start > at) text.append(letters.slice(at, u.start).join(""));
        at = Math.max(at, u.end);
        text.append(...this.#piece(u, u.tokens.some((i) => inSpan.has(i)) ? "span" : ""));
      }
      text.append(letters.slice(at).join(""));
      const both = document.createDocumentFragment();
      both.append(h("h2", null, w.answer, h("small", null, t.answer.generated ? w.generated : w.given),
        t.span ? h("small", { class: "mark" }, w.explained) : null), text);
      return both;
    }

    #trust() {
      const w = this.#words, { trust, trust_note: note } = this.#trace;
      if (!trust) return h("p", { class: "trust" }, h("b", null, w.noTrust), note ? ` — ${note}` : "");
      const better = trust.top_drop > trust.random_drop;
      return h("p", { class: "trust" }, h("b", null, w.trust), " ", w.trustLine(trust, w.fall), " ",
        !better ? h("strong", null, w.chance) : trust.ratio !== null ? h("strong", null, w.ratio(trust.ratio < 100 ? num(trust.ratio) : "100+")) : "");
    }

    /** A list of [unit, value], with bars on one scale. A button, because each line leads to its place in the text. */
    #list(entries, act) {
      const w = this.#words, max = Math.max(...entries.map(([, v]) => Math.abs(v ?? 0)), 1e-30);
      return h("ol", null, ...entries.map(([u, v]) => {
        const bar = h("span", { class: v < 0 ? "bar against" : "bar" });
        bar.style.width = `${(100 * Math.abs(v ?? 0)) / max}%`; // through the CSSOM: style attributes are forbidden
        return h("li", null, h("button", { type: "button", "data-act": act, "data-kind": u.kind, "data-value": u.index },
          quoted(u.text), h("span", { class: "value", title: v === null ? w.unseenTotal : null }, this.#score(v)), h("span", { class: "track" }, bar)));
      }));
    }

    /** Texts with scores, largest magnitude first, as bars that cannot be pointed at. */
    #bars(title, entries) {
      const some = [...entries].sort((a, b) => Math.abs(b[1] ?? 0) - Math.abs(a[1] ?? 0)).slice(0, TOP);
      const max = Math.max(...some.map(([, v]) => Math.abs(v ?? 0)), 1e-30);
      return h("section", { class: "top plain" }, h("h2", null, ...title), h("ol", null, ...some.map(([text, v]) => {
        const bar = h("span", { class: v < 0 ? "bar against" : "bar" });
        bar.style.width = `${(100 * Math.abs(v ?? 0)) / max}%`;
        return h("li", null, h("div", null, quoted(text), h("span", { class: "value" }, this.#score(v)), h("span", { class: "track" }, bar)));
      })));
    }

    /** The trace's own units (sentences, documents, ...), where it has any. */
    #parts() {
      const units = this.#trace.units ?? [];
      return units.length ? [this.#bars([this.#words.parts], units.map((u) => [u.text, u.score]))] : [];
    }

    /** Named parts of the answer, each with what mattered most for it alone. */
    #alone() {
      const { units, spans } = this.#trace;
      return (spans ?? []).map((s) => this.#bars(
        [this.#words.alone(s.name), " ", quoted(s.text)],
        units?.length ? units.map((u, i) => [u.text, s.unit_scores[i]])
          : this.#content.map((u) => [u.text, sum(u.tokens.map((i) => s.total[i]))])));
    }

    #score(v) { return v === null || v === undefined ? "—" : this.#trace.method.signed ? signed(v) : num(v); }

    #unit() {
      const w = this.#words, { objective, method } = this.#trace;
      const base = { logprob: w.nats, entropy: w.nats, cross_entropy: w.nats, contrast: w.nats, kl: w.nats, pcxmi: w.nats, log_odds: w.nats,
        logit: w.logits, margin: w.logits, prob: w.prob }[objective];
      if (!base || !["saliency", "input_x_gradient"].includes(method.name)) return w.plain;
      return method.name === "saliency" ? `${base} ${w.perNorm}` : base;
    }

    #footer() {
      const w = this.#words, t = this.#trace, { model, method, cost } = t;
      const line = (name, ...parts) => [h("dt", null, name), h("dd", null, parts.filter(Boolean).join(" · "))];
      const options = Object.entries(method.parameters ?? {}).map(([k, v]) => `${k}=${JSON.stringify(v)}`);
      return h(this.hasAttribute("inside") ? "div" : "footer", { class: "foot" },
        h("dl", null,
          ...line(w.model, model.name, model.parameters ? `${count(model.parameters)} ${w.parameters}` : "",
            model.source, model.revision, `${model.dtype} ${w.on} ${model.device}`),
          ...line(w.method, method.name, t.objective, w.precision[t.precision] ?? t.precision, ...options, `${w.seed} ${t.seed}`),
          ...line(w.cost, `${cost.seconds.toFixed(2)} s`, cost.generate_seconds ? `${w.generating} ${cost.generate_seconds.toFixed(2)} s` : "",
            w.passes(cost.forward_passes, cost.backward_passes), `${bytes(cost.peak_memory_bytes)} ${w.memory}`),
          ...line(w.made, t.created, `pellucid ${t.pellucid ?? ""}`, ...Object.entries(t.versions ?? {}).map(([k, v]) => `${k} ${v}`))),
        h("details", null, h("summary", null, w.table)));
    }

    /** The text alternative: built when it is opened, since a long prompt makes thousands of rows. */
    #fillTable(details) {
      if (details.tagName !== "DETAILS" || !details.open || details.querySelector("table")) return;
      const w = this.#words, t = this.#trace;
      const table = (caption, names, rows) => h("table", null, h("caption", null, caption),
        h("thead", null, h("tr", null, ...names.map((n) => h("th", { scope: "col" }, n)))),
        h("tbody", null, ...rows.map((r) => h("tr", null, ...r.map((c) => h("td", null, c))))));
      const first = (u) => t.targets[u.tokens[0]];
      details.append(h("div", { class: "tables" },
        table(w.prompt, ["#", w.text, w.role, w.score], this.#sources.map((u) => [String(u.tokens[0]), quoted(u.text),
          w.roles[u.role] ?? u.role, this.#score(this.#total[u.index])])),
        table(w.answer, ["#", w.text, w.probability, w.rank, w.entropy], this.#targets.map((u) => [String(u.tokens[0]),
          quoted(u.text), percent(first(u).prob), String(first(u).rank), num(first(u).entropy)]))));
    }

    // ---- scores ---------------------------------------------------------------------------------------------

    /** What caused this answer unit: a value for each source unit, then each target unit. Null: could not see. */
    #row(unit) {
      const { scores, sources } = this.#trace, rows = unit.tokens.map((i) => scores[i]);
      const cell = (u, offset) => {
        if (u.tokens.length === 1 && rows.length === 1) return rows[0][offset + u.tokens[0]];
        return sum(rows.flatMap((row) => u.tokens.map((i) => row[offset + i])));
      };
      return [this.#sources.map((u) => cell(u, 0)), this.#targets.map((u) => (this.#within(u, unit) ? null : cell(u, sources.length)))];
    }

    /** Is this unit the one that is pointed at, or a part of the span that is? */
    #within(u, active) { return active?.parts ? u.kind === "target" && active.parts.includes(u) : u === active; }

    /** Units of the answer from one to another, as one: its sources are the sum over its rows. */
    #span(a, b) {
      if (a === b) return a;
      const [from, to] = a.index < b.index ? [a, b] : [b, a];
      const parts = this.#targets.slice(from.index, to.index + 1), { text } = this.#trace.answer;
      return { kind: "target", parts, tokens: parts.flatMap((u) => u.tokens), text: Array.from(text).slice(from.start, to.end).join("") };
    }

    /** What this prompt unit caused: a value for each target unit. */
    #column(unit) {
      const { scores } = this.#trace;
      return this.#targets.map((u) => sum(u.tokens.flatMap((r) => unit.tokens.map((c) => scores[r][c]))));
    }

    // ---- what is pointed at ---------------------------------------------------------------------------------

    /** Draw the state: the pinned unit, else the one under the pointer, else the one in focus, else the whole answer. */
    #update() {
      const active = this.#pin ?? this.#hover ?? this.#focus;
      if (active === this.#active) return;
      this.#active = active;
      const { scores } = this.#trace, w = this.#words;
      let prompt = this.#total, answer = null, lead = w.legend.base, entries = null;
      const max = (values) => values.reduce((m, v) => Math.max(m, Math.abs(v ?? 0)), 0);
      const seen = (units, values) => units.map((u) => [u, values[u.index]]).filter(([, v]) => v !== null && v !== undefined);
      if (active && scores && active.kind === "target") {
        [prompt, answer] = this.#row(active);
        entries = [...seen(this.#content, prompt), ...seen(this.#targets, answer)];
        lead = w.legend.row;
      } else if (active && scores) {
        answer = this.#column(active);
        entries = seen(this.#targets, answer);
        lead = w.legend.column;
      }
      const base = max(this.#content.map((u) => this.#total[u.index]));
      const top = entries ? max(entries.map(([, v]) => v)) : base;
      const known = !entries || entries.length > 0; // a row without any number is told in words, not hatched all over
      this.#shade(this.#targets, known ? answer : null, top, active);
      this.#shadePrompt(known ? prompt : null, prompt === this.#total ? base : top, active);
      this.#legend(lead, top, active && entries ? active : null);
      this.#inspect(active, entries);
    }

    /** A browser restyles some 300 tokens in a millisecond: what is in view comes now, the rest of a long prompt after. */
    #shadePrompt(values, max, active) {
      clearTimeout(this.#rest);
      const all = this.#sources, [from, to] = all.length > 2 * CHUNK ? this.#inView() : [0, all.length], parts = [];
      for (let i = 0; i < from; i += CHUNK) parts.push([i, Math.min(i + CHUNK, from)]);
      for (let i = to; i < all.length; i += CHUNK) parts.push([i, i + CHUNK]);
      const step = () => {
        const part = parts.pop();
        if (!part) return;
        this.#shade(all.slice(...part), values, max, active);
        this.#rest = setTimeout(step);
      };
      this.#shade(all.slice(from, to), values, max, active);
      if (active?.kind === "source") this.#shade([active], values, max, active);
      if (parts.length) this.#rest = setTimeout(step);
    }

    /** The units of the prompt in view, as a range of indices: found by halving, since they stand in reading order. */
    #inView() {
      const pane = this.shadowRoot.querySelector(".scroll").getBoundingClientRect(), units = this.#content;
      const first = (test) => {
        let a = 0, b = units.length;
        while (a < b) {
          const middle = (a + b) >> 1;
          if (test(units[middle].element.getBoundingClientRect())) b = middle; else a = middle + 1;
        }
        return units[a]?.index ?? this.#sources.length;
      };
      const low = Math.min(pane.bottom, innerHeight);
      return [first((box) => box.bottom >= Math.max(pane.top, 0)), first((box) => box.top > low)];
    }

    #shade(units, values, max, active) {
      for (const u of units) {
        const v = values === null ? undefined : values[u.index];
        let name = u.base;
        const on = this.#within(u, active);
        if (on) name += active === this.#pin ? " active pinned" : " active";
        if (v === null && !on) name += " x";
        else if (v && max > 0) {
          const level = Math.min(LEVELS, Math.round((LEVELS * Math.abs(v)) / max)); // the frame may be beyond: clipped
          if (level) name += `${v < 0 ? " n" : " p"} l${level}`;
        }
        if (name === u.name) continue;
        u.element.className = u.name = name;
      }
    }

    #legend(lead, max, unit) {
      const w = this.#words, two = this.#trace.method.signed, unitName = this.#unit();
      const key = (name, ...of) => h("span", { class: name }, ...of);
      this.shadowRoot.querySelector(".legend").replaceChildren(
        h("p", { class: "what" }, lead, ...(unit ? [" ", quoted(unit.text)] : [])),
        key(max > 0 ? "scale" : "scale away", two ? num(-max) : "0", h("span", { class: two ? "ramp two" : "ramp", "aria-hidden": "true" }),
          two ? signed(max) : num(max), " ", unitName),
        two ? key("key", key("sign n l12", w.minus), key("sign p l12", w.plus)) : "",
        // always there, so that the text below does not jump when a token is pointed at
        this.#trace.scores ? key(unit?.kind === "target" ? "key" : "key away", key("swatch x"), w.unseen) : "",
        this.#showFrame ? key("key", w.clip) : "");
    }

    #inspect(unit, entries) {
      const w = this.#words, t = this.#trace, panel = this.shadowRoot.querySelector(".inspector");
      panel.classList.toggle("held", Boolean(this.#pin));
      panel.style.minHeight = `${panel.offsetHeight}px`; // grows, never shrinks: what stands below keeps its place
      if (!unit) { panel.replaceChildren(h("p", { class: "hint" }, w.hint)); return; }
      const short = unit.text.length > 160 ? `${unit.text.slice(0, 159)}…` : unit.text, long = unit.tokens.length > MANY || unit.parts;
      const nodes = [h("h2", { class: "token" }, quoted(short))];
      const facts = (...pairs) => h("dl", { class: "facts" }, ...pairs.flatMap(([k, v]) => [h("dt", null, k), h("dd", null, v)]));
      const best = entries && [...entries].sort(([, a], [, b]) => Math.abs(b) - Math.abs(a)).slice(0, CAUSES);
      const measured = (i) => facts([w.probability, percent(t.targets[i].prob)], [w.rank, String(t.targets[i].rank)],
        [w.entropy, `${num(t.targets[i].entropy)} ${w.nats}`]);
      if (unit.kind === "target" && unit.tokens.length === 1) nodes.push(measured(unit.tokens[0]));
      if (unit.kind === "target" && long) {
        nodes.push(facts([w.length, String(unit.tokens.length)],
          [w.joint, `${num(sum(unit.tokens.map((i) => t.targets[i].logprob)))} ${w.nats}`]));
      }
      if (unit.kind === "source") {
        const place = this.#order.get(unit), value = this.#total[unit.index];
        nodes.push(facts([w.score, value === null ? w.unseenTotal : `${this.#score(value)} ${this.#unit()}`]),
          h("p", { class: "quiet" }, [place ? w.place(place, this.#order.size) : null, w.roles[unit.role] ?? unit.role,
            unit.placed ? `${w.chars} ${unit.start}–${unit.end}` : null].filter(Boolean).join(" · ")));
      }
      if (!entries) {
        nodes.push(h("p", { class: "note" }, w.noMatrix[0], h("code", null, "per_token=True"), w.noMatrix[1],
          h("code", null, "--per-token"), w.noMatrix[2]));
      } else if (!entries.length) {
        const span = unit.kind === "target" && t.span && !unit.tokens.some((i) => t.span.targets.includes(i));
        nodes.push(h("p", { class: "note" }, span ? w.outside : w.nothing));
      } else {
        nodes.push(h("h3", null, unit.kind === "target" ? w.causes : w.effects), this.#list(best, "reveal"));
      }
      for (const i of unit.kind === "target" && !long ? unit.tokens : []) {
        if (unit.tokens.length > 1) nodes.push(h("h3", null, w.piece, " ", quoted(t.targets[i].text), ` #${t.targets[i].id}`), measured(i));
        nodes.push(...this.#alternatives(t.targets[i]));
      }
      if (this.#pin) nodes.push(h("p", { class: "quiet" }, w.pinned));
      panel.replaceChildren(...nodes);
      panel.scrollTop = 0;
      if (this.#focus === unit || this.#pin === unit) this.#say(unit, best);
    }

    #alternatives(target) {
      if (!target.alternatives.length) return [];
      return [h("h3", null, this.#words.alternatives), h("ol", { class: "alternatives" }, ...target.alternatives.slice(0, 5).map((a) => {
        const bar = h("span", { class: "bar" });
        bar.style.width = `${100 * a.prob}%`;
        return h("li", { class: a.id === target.id ? "chosen" : null }, quoted(a.text), h("span", { class: "value" }, percent(a.prob)),
          h("span", { class: "track" }, bar));
      }))];
    }

    /** For screen readers: on focus and on pin, never while a pointer passes. */
    #say(unit, best) {
      const w = this.#words, lead = unit.kind === "target" ? w.causes : w.effects;
      this.shadowRoot.querySelector(".sr").textContent =
        best?.length ? `${lead}: ${best.map(([u, v]) => `${u.text.trim()} ${this.#score(v)}`).join(", ")}` : "";
    }

    // ---- events ---------------------------------------------------------------------------------------------

    #click(event) {
      const button = event.target.closest("[data-act]"), token = event.target.closest(".u");
      if (token) {
        const unit = this.#unitOf.get(token), from = this.#pin?.parts?.[0] ?? this.#pin;
        const span = event.shiftKey && unit.kind === "target" && from?.kind === "target";
        this.#setPin(span ? this.#span(from, unit) : unit);
        if (this.#pin) token.scrollIntoView({ block: "nearest" }); // the panel may cover it on a narrow screen (scroll-margin)
        return;
      }
      if (!button) return;
      const { act, value, kind } = button.dataset;
      if (act === "pin" || act === "reveal") {
        const unit = (kind === "source" ? this.#sources : this.#targets)[Number(value)];
        if (act === "pin" && this.#pin !== unit) this.#setPin(unit);
        this.#reveal(unit);
      } else if (act === "frame") {
        this.#showFrame = !this.#showFrame;
        this.#rebuild(button);
      } else if (act === "unit") {
        this.#by = value;
        this.#rebuild(button);
      } else if (act === "lang") {
        this.#lang = this.#lang === "zh" ? "en" : "zh";
        this.#rebuild(button);
      } else if (act === "theme") {
        this.setAttribute("theme", value);
        this.#rebuild(button);
      }
    }

    /** Draw anew, and keep what the reader had: the pinned place, the scroll, the open table, the focus. */
    #rebuild(button) {
      const root = this.shadowRoot;
      if (!root.querySelector(".scroll")) { this.#build(); return; }
      const pin = this.#pin, scroll = root.querySelector(".scroll").scrollTop;
      const open = root.querySelector("details").open, nth = [...root.querySelectorAll("[data-act]")].indexOf(button);
      this.#pin = this.#hover = this.#focus = null;
      this.#build();
      if (pin) {
        const units = pin.kind === "source" ? this.#sources : this.#targets;
        const [first, last] = [pin.tokens[0], pin.tokens.at(-1)].map((i) => units.find((u) => u.tokens.includes(i)));
        this.#setPin(pin.parts ? this.#span(first, last) : first);
      }
      root.querySelector(".scroll").scrollTop = scroll;
      root.querySelector("details").open = open;
      root.querySelectorAll("[data-act]")[nth]?.focus();
    }

    #theme() {
      return this.getAttribute("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    }

    #over(event) {
      if (event.pointerType === "touch" || this.#drag) return; // a tap pins, by its click
      const token = event.target.closest(".u");
      this.#setHover(token ? this.#unitOf.get(token) : null);
    }

    /** At most one drawing a frame; leaving waits a little, so that crossing from line to line does not flicker. */
    #setHover(unit) {
      clearTimeout(this.#leaving);
      cancelAnimationFrame(this.#frame);
      if (unit) this.#frame = requestAnimationFrame(() => { this.#hover = unit; this.#update(); });
      else this.#leaving = setTimeout(() => { this.#hover = null; this.#update(); }, 120);
    }

    #focused(target) {
      const unit = (target && this.#unitOf.get(target)) ?? null;
      if (unit === this.#focus) return;
      if (unit) this.#rove(unit);
      this.#focus = unit?.element.matches(":focus-visible") ? unit : null; // a click pins; it does not also focus-show
      this.#update();
    }

    #rove(unit) {
      for (const u of unit.kind === "source" ? this.#sources : this.#targets) if (u.element.tabIndex === 0) u.element.tabIndex = -1;
      unit.element.tabIndex = 0;
    }

    /** A drag over the answer takes all tokens between where it began and where it is. It still selects text, to copy. */
    #grab(event) {
      const unit = this.#unitOf.get(event.target.closest(".u"));
      this.#drag = unit?.kind === "target" && event.isPrimary && event.button === 0 ? { from: unit, to: unit } : null;
    }

    #stretch(event) {
      if (!this.#drag) return;
      if (!event.buttons) { this.#drop(); return; } // let go of outside
      const at = this.shadowRoot.elementFromPoint(event.clientX, event.clientY)?.closest(".answer .u"); // a touch stays with its first
      const unit = at && this.#unitOf.get(at);
      if (!unit || unit === this.#drag.to) return;
      this.#drag.to = unit;
      clearTimeout(this.#leaving);
      cancelAnimationFrame(this.#frame);
      this.#frame = requestAnimationFrame(() => {
        if (!this.#drag) return;
        this.#pin = null;
        this.#hover = this.#span(this.#drag.from, this.#drag.to);
        this.#update();
      });
    }

    #drop() {
      const drag = this.#drag;
      this.#drag = null;
      if (!drag || drag.from === drag.to) return; // a click pins one
      cancelAnimationFrame(this.#frame);
      this.#setPin(this.#span(drag.from, drag.to));
    }

    #press(unit, on) { for (const u of unit?.parts ?? [unit]) u?.element.setAttribute("aria-pressed", String(on)); }

    #setPin(unit) {
      this.#press(this.#pin, false);
      this.#pin = !unit || unit === this.#pin ? null : unit;
      this.#press(this.#pin, true);
      if (unit && !this.#pin) this.#hover = null;
      this.#active = undefined;
      this.#update();
    }

    #reveal(unit) {
      const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      unit.element.scrollIntoView({ block: "nearest", behavior: calm ? "auto" : "smooth" });
      unit.element.animate?.([{ outlineColor: "currentColor", outlineWidth: "3px", outlineStyle: "solid", outlineOffset: "6px" },
        { outlineColor: "transparent", outlineWidth: "3px", outlineStyle: "solid", outlineOffset: calm ? "6px" : "1px" }], 1200);
    }

    #hidden(unit) { return !unit.placed && !this.#showFrame && unit.kind === "source"; }

    #key(event) {
      if (event.key === "Escape") {
        clearTimeout(this.#leaving);
        cancelAnimationFrame(this.#frame);
        this.#hover = this.#focus = this.#anchor = null;
        this.#setPin(null);
        return;
      }
      const unit = this.#unitOf.get(event.target);
      if (!unit || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        this.#setPin(unit);
        return;
      }
      const all = (unit.kind === "source" ? this.#sources : this.#targets).filter((u) => !this.#hidden(u)), at = all.indexOf(unit);
      const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key]
        ?? { ArrowDown: () => this.#vertical(all, at, 1), ArrowUp: () => this.#vertical(all, at, -1) }[event.key]?.();
      if (next === undefined) return;
      event.preventDefault();
      const to = all[Math.max(0, Math.min(all.length - 1, next))];
      const stretch = event.shiftKey && unit.kind === "target";
      if (stretch) this.#anchor ??= unit; else this.#anchor = null;
      to.element.focus();
      if (stretch) this.#setPin(this.#span(this.#anchor, to));
      else if (this.#pin?.parts) this.#setPin(null);
    }

    /** The unit nearest in the line above or below. */
    #vertical(all, at, step) {
      const box = (i) => all[i].element.getBoundingClientRect();
      const from = box(at);
      let best = null, line = null;
      for (let i = at + step; i >= 0 && i < all.length; i += step) {
        const to = box(i);
        if (Math.abs(to.top - from.top) < from.height / 2) continue;
        line ??= to.top;
        if (Math.abs(to.top - line) > from.height / 2) break; // one line further: enough
        if (best === null || Math.abs(to.left - from.left) < Math.abs(box(best).left - from.left)) best = i;
      }
      return best ?? at;
    }
  }

  /** The style: from the page where it carries one (html.py), else view.css beside this script (a server). */
  let sheet = null;
  function addStyle(root) {
    const inline = document.getElementById("pellucid-css");
    if (!inline) {
      root.append(h("link", { rel: "stylesheet", href: new URL("view.css", script?.src ?? location.href).href }));
      return;
    }
    try {
      if (!sheet) { sheet = new CSSStyleSheet(); sheet.replaceSync(inline.textContent); }
      root.adoptedStyleSheets = [sheet];
    } catch { root.append(h("style", null, inline.textContent)); } // browsers before 2023
  }

  /** In a notebook the page lives in a frame: be as tall as the content up to a limit, and follow its theme. */
  function fitFrame(element) {
    let frame = null, outside = null;
    try { frame = window.frameElement; outside = window.parent.document.body; } catch { return; }
    const box = frame?.parentElement;
    if (!box || !frame.hasAttribute("data-pellucid")) return;
    const kind = outside.dataset.vscodeThemeKind ?? "", jupyter = outside.dataset.jpThemeLight;
    if (jupyter) element.setAttribute("theme", jupyter === "false" ? "dark" : "light");
    else if (kind) element.setAttribute("theme", /dark|contrast$/.test(kind) ? "dark" : "light");
    const fit = () => {
      const app = element.shadowRoot.querySelector(".app");
      if (app) box.style.height = `${Math.min(Math.max(app.offsetHeight, 240), 860) + 2}px`;
    };
    element.style.minHeight = "0"; // not the window's height: here the window follows the element
    new ResizeObserver(fit).observe(element);
    fit();
  }

  if (!customElements.get("pellucid-trace")) customElements.define("pellucid-trace", PellucidTrace);
  const only = document.querySelector("pellucid-trace[page]");
  if (only) fitFrame(only);
})();

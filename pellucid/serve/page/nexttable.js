// The next-token table: the likeliest tokens of every step; choose another one, and the text goes on from there.
//
//   const table = nextTable(app); root.append(table.element); await table.start({ prompt, steps: 10, ... });
//
// What goes on is the list of the chosen tokens' ids (`begin` of POST /next), so that nothing is spelt anew: bytes of half a
// character, blanks and the tokens of a chat template stay what they were.
import { h, icon } from "./dom.js";
import { named, num, percent, token, visible } from "./pieces.js";

const words = {
  en: {
    said: "What it says", step: "Step", rank: (k) => `${k}.`, other: "Elsewhere", entropy: "Entropy", entropyTip: "in nats",
    total: "Total", totalTip: "log-probability of all that was said, in nats", back: "Step back", more: (n) => `${n} more tokens`,
    path: "The way here", start: "As the model chose", chose: (s, a, b) => `${s}: ${a} instead of ${b}`, further: (n) => `${n} more`,
    hint: "Choose any other token, and the text goes on from there. Arrow keys walk; Enter chooses.",
    ended: "The text ends here.", table: "Likeliest tokens at every step", rankOf: (r) => `rank ${r}`,
    label: (s, c) => `Step ${s}: ${named(c.text)}, ${percent(c.prob)}`, taken: "taken", yours: "your choice", model: "the model’s choice",
    lost: "This stored result does not say how it was asked for, so it cannot go on from here.",
  },
  zh: {
    said: "它说的", step: "步", rank: (k) => `第 ${k}`, other: "其他", entropy: "熵", entropyTip: "奈特",
    total: "累计", totalTip: "到此为止全部文字的对数概率（奈特）", back: "退一步", more: (n) => `再来 ${n} 个词元`,
    path: "走过的路", start: "模型自己的选择", chose: (s, a, b) => `${s}：选 ${a}，不选 ${b}`, further: (n) => `再来 ${n} 个`,
    hint: "选任何一个别的词元，文字就从那里继续。方向键移动，回车选择。",
    ended: "文字到此结束。", table: "每一步最可能的词元", rankOf: (r) => `第 ${r} 名`,
    label: (s, c) => `第 ${s} 步：${named(c.text)}，${percent(c.prob)}`, taken: "已选", yours: "你的选择", model: "模型的选择",
    lost: "这个已存结果没有记下当时的请求，所以不能从这里继续。",
  },
};

export function nextTable(app) {
  const t = () => app.t(words);
  const work = h("div"), shown = h("div", { class: "stack" }), element = h("div", { class: "stack" }, work, shown);
  let asked = null; // the request, without `begin`; null for a stored result that does not hold it
  let way = []; // [{begin, picks: steps that the reader chose, label, entry}], the last one is shown

  async function go(begin, picks, label, keep = way.length) {
    const entry = await app.work(work, "next", { ...asked, begin });
    if (!entry) return;
    way = [...way.slice(0, keep), { begin, picks, label, entry }];
    draw();
  }

  async function start(body) {
    asked = body;
    await go([], new Set(), null, 0);
    return way.length > 0;
  }

  const ids = (result) => result.steps.map((s) => s.chosen.id);

  async function choose(at, choice) {
    const { entry: { result }, picks } = way.at(-1), own = result.steps[at];
    const before = [...picks].filter((k) => k < at);
    await go([...ids(result).slice(0, at), choice.id], new Set([...before, at]),
      () => t().chose(at + 1, named(choice.text), named(own.chosen.text)));
    const place = shown.querySelector(`[data-at="${at}"][aria-pressed="true"]`);
    if (place) { roam(place); place.focus(); }
    app.say(visible(way.at(-1).entry.result.text));
  }

  async function more() {
    const { entry: { result }, picks } = way.at(-1), n = asked.steps;
    await go(ids(result), picks, () => t().further(n));
  }

  function back(to) {
    way = way.slice(0, to + 1);
    draw();
    shown.querySelector(".way button[aria-current]")?.focus();
  }

  // ---- what is drawn ------------------------------------------------------------------------------------------------

  function candidate(at, choice, step, picks) {
    const on = choice.id === step.chosen.id, mine = on && picks.has(at);
    const button = h("button", { type: "button", class: `candidate${mine ? " mine" : ""}`, "data-at": at, tabindex: "-1",
      "aria-pressed": String(on), disabled: !asked,
      "aria-label": () => `${t().label(at + 1, choice)}${mine ? `, ${t().yours}` : on ? `, ${t().taken}` : ""}`,
      title: () => `id ${choice.id}, logit ${num(choice.logit)}${mine ? `, ${t().yours}` : ""}`,
      onclick: () => { if (!on) choose(at, choice); } },
    token(choice.text), h("span", { class: "p" }, percent(choice.prob)));
    button.style.setProperty("--p", choice.prob.toFixed(4));
    return button;
  }

  function row(step, at, picks, k, others) {
    const known = step.choices.some((c) => c.id === step.chosen.id);
    const cells = step.choices.map((c) => h("td", { role: "cell" }, candidate(at, c, step, picks)));
    while (cells.length < k) cells.push(h("td", { role: "cell" }));
    return h("tr", { role: "row" },
      h("th", { scope: "row", role: "rowheader" }, String(step.step)), cells,
      others ? h("td", { role: "cell", class: "other" }, known ? null : candidate(at, step.chosen, step, picks),
        known ? null : h("span", { class: "note" }, () => t().rankOf(step.chosen.rank))) : null,
      h("td", { role: "cell", class: "n" }, step.entropy.toFixed(2)), h("td", { role: "cell", class: "n total" }, step.total.toFixed(2).replace("-", "−")));
  }

  function draw() {
    const { entry: { id, result }, picks } = way.at(-1);
    const k = Math.max(...result.steps.map((s) => s.choices.length));
    const others = result.steps.some((s) => !s.choices.some((c) => c.id === s.chosen.id));
    const head = (label, tip, name) => h("th", { scope: "col", role: "columnheader", class: name, title: tip }, label);
    const table = h("table", { class: "next", role: "table", "aria-label": () => t().table, onkeydown: keys, onfocusin: (e) => roam(e.target) },
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head(() => t().step),
        Array.from({ length: k }, (_, n) => head(() => t().rank(n + 1))), others ? head(() => t().other) : null,
        head(() => t().entropy, () => t().entropyTip, "n"), head(() => t().total, () => t().totalTip, "n total"))),
      h("tbody", { role: "rowgroup" }, result.steps.map((s, at) => row(s, at, picks, k, others))));
    const first = table.querySelector("button");
    if (first) first.tabIndex = 0;
    shown.replaceChildren(
      h("section", { class: "card stack", "aria-label": () => t().said },
        h("p", { class: "written said" }, h("span", { class: "quiet" }, result.prompt), text(result, picks)),
        result.ended ? h("p", { class: "note" }, () => t().ended) : null,
        h("div", { class: "row" },
          h("button", { type: "button", disabled: way.length < 2, onclick: () => back(way.length - 2) }, () => t().back),
          h("button", { type: "button", disabled: result.ended || !asked, onclick: more }, icon("add"), () => t().more(asked?.steps ?? 0))),
        way.length > 1 ? h("nav", { class: "way", "aria-label": () => t().path }, h("ol", null, way.map((w, n) => h("li", null,
          h("button", { type: "button", class: "quiet", "aria-current": n === way.length - 1 ? "step" : null, onclick: () => back(n) },
            w.label ?? (() => t().start)))))) : null),
      h("section", { class: "card" }, h("div", { class: "wide" }, table),
        h("p", { class: "hint" }, () => (asked ? t().hint : t().lost))),
      id ? app.tools(id, ["json", "csv", "html", "png"]) : h("span"));
  }

  /** The text in the tokens that were taken; those that the reader chose are marked. */
  function text(result, picks) {
    const all = Array.from(result.text), starts = result.steps.map((s) => Array.from(s.text).length);
    return result.steps.map((s, at) => {
      const part = all.slice(starts[at], starts[at + 1] ?? all.length).join("");
      return picks.has(at) ? h("mark", { title: () => t().yours }, part) : part;
    });
  }

  // ---- the keyboard -------------------------------------------------------------------------------------------------

  function roam(target) {
    if (!target.matches?.(".candidate")) return;
    for (const other of shown.querySelectorAll('.candidate[tabindex="0"]')) other.tabIndex = -1;
    target.tabIndex = 0;
  }

  function keys(e) {
    if (!e.target.matches(".candidate") || e.ctrlKey || e.metaKey || e.altKey) return;
    const row = e.target.closest("tr"), all = [...row.querySelectorAll(".candidate")], at = all.indexOf(e.target);
    const near = (r) => { const found = r?.querySelectorAll(".candidate") ?? []; return found[Math.min(at, found.length - 1)]; };
    const next = { ArrowRight: all[at + 1], ArrowLeft: all[at - 1], ArrowDown: near(row.nextElementSibling),
      ArrowUp: near(row.previousElementSibling), Home: all[0], End: all.at(-1) }[e.key];
    if (next) { e.preventDefault(); next.focus(); }
  }

  return {
    element, start,
    /** A stored result; `request`: what was asked for, where the server says so. */
    open(entry, request) {
      asked = request ? { ...request, begin: undefined } : null;
      const given = request?.begin?.length ?? 0;
      way = [{ begin: [], label: null, entry, picks: new Set(entry.result.steps.flatMap((s, at) => (at < given && s.chosen.rank > 1 ? [at] : []))) }];
      draw();
    },
  };
}

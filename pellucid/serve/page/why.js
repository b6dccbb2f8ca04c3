// What an answer of a conversation rests on (pellucid.why/1), laid over that conversation: by sentence and by token, with
// each message's own figure.
//
//   const over = overlay(result);
//   over.score(k)                  nats that message k is worth, null where it has no figure
//   over.nodes(k, "token", t)      the text of message k, shaded
//   over.strongest("token", 5)     [{text, message, score}]
import { cut, named, num, shaded, signed } from "./pieces.js";

/** Messages that hold text, in the order in which the level `message` counts them. */
const filled = (messages) => messages.flatMap((m, k) => (m.content.trim() ? [k] : []));

/** The parts of a level: [{message, start, end, text, score}]; those that stand in no message are left out. */
function partsOf(result, level) {
  const trace = result.traces[level];
  if (!trace) return [];
  if (level !== "token") return trace.units.map((u) => ({ message: u.message, start: u.start, end: u.end, text: u.text, score: u.score }));
  const found = [];
  trace.sources.forEach((s, i) => {
    if (s.message === null || s.start === null || trace.total[i] === null) return;
    const last = found.at(-1);
    if (last && last.message === s.message && s.start < last.end) { // pieces of one character count as one
      last.score += trace.total[i];
      last.end = Math.max(last.end, s.end);
    } else found.push({ message: s.message, start: s.start, end: s.end, text: s.text, score: trace.total[i] });
  });
  return found;
}

export function overlay(result) {
  const parts = { sentence: partsOf(result, "sentence"), token: partsOf(result, "token") };
  const most = Object.fromEntries(Object.entries(parts).map(([k, all]) => [k, Math.max(1e-9, ...all.map((p) => Math.abs(p.score ?? 0)))]));
  const scores = {};
  filled(result.messages).forEach((k, n) => { scores[k] = result.traces.message?.units[n]?.score ?? null; });
  const unit = { sentence: "nats", token: result.traces.token?.unit };
  return {
    /** Were the places of the parts counted in messages? A model that has no chat template reads one text. */
    placed: Object.values(result.traces).every((t) => t.prompt.messages !== null),
    score: (k) => scores[k] ?? null,
    most: Math.max(1e-9, ...Object.values(scores).map((x) => Math.abs(x ?? 0))),
    nodes: (k, level, tell) => shaded(result.messages[k].content, parts[level].filter((p) => p.message === k).map((p) => ({
      start: p.start, end: p.end, share: p.score === null ? null : p.score / most[level],
      tip: p.score === null ? tell.none : `${named(cut(result.messages[k].content, p.start, p.end))} ${signed(p.score)}${unit[level] === "nats" ? ` ${tell.nats}` : ""}` }))),
    strongest: (level, n) => parts[level].filter((p) => p.score !== null && p.text.trim()).sort((a, b) => b.score - a.score).slice(0, n),
    trust: result.traces.token?.trust ?? null,
    trustNote: result.traces.token?.trust_note ?? null,
    method: result.traces.token?.method.name ?? null,
  };
}

const trustWords = {
  en: {
    line: (t) => `Taking out the ${t.removed} highest-scored of ${t.candidates} tokens ${t.top_drop < 0 ? "raises" : "lowers"} the answer’s `
      + `log-probability by ${num(Math.abs(t.top_drop))} nats a token; as many at random, by ${num(t.random_drop)} (mean of ${t.random_drops.length}).`,
    ratio: (x) => `That is ${num(x)} times the effect of chance.`, chance: "No better than chance: do not rely on these scores.",
    not: "How far to trust the tokens was not measured.",
  },
  zh: {
    line: (t) => `拿掉得分最高的 ${t.removed} 个词元（共 ${t.candidates} 个），回答的对数概率平均每词元${t.top_drop < 0 ? "上升" : "下降"} `
      + `${num(Math.abs(t.top_drop))} 奈特；随机拿掉同样多个，下降 ${num(t.random_drop)} 奈特（${t.random_drops.length} 次的平均）。`,
    ratio: (x) => `前者是随机的 ${num(x)} 倍。`, chance: "并不优于随机：不要依赖这些得分。",
    not: "没有测量词元得分的可信程度。",
  },
};

/** How far to trust the token scores, in a sentence or two. */
export function trusted(trust, lang) {
  const t = trustWords[lang];
  if (!trust) return t.not;
  const better = trust.top_drop > 0 && (trust.ratio === null || trust.ratio > 1);
  return `${t.line(trust)} ${better ? (trust.ratio === null ? "" : t.ratio(trust.ratio)) : t.chance}`.trim();
}

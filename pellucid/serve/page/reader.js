// A whole document beside the answer that cites it, scrolled to the cited sentence.
//
//   const reader = documentReader(app); root.append(reader.element);
//   await reader.open({ index, found, start, end }, button);     // found: {passage}; places count in the passage's text
import { h, icon } from "./dom.js";
import { shaded } from "./pieces.js";

const words = {
  en: { none: "Click a citation, and its passage opens here, in the whole document, at the sentence.", close: "Close the document",
    cited: "Cited sentence", document: (d) => `Document ${d}`, alone: "The document cannot be read any more; this is the passage as it was found.",
    changed: "The document has changed since: this is the passage as it was found." },
  zh: { none: "点击一个引用，它的段落会在这里打开：整篇文档，停在那句话。", close: "关闭文档",
    cited: "所引的句子", document: (d) => `文档 ${d}`, alone: "文档已读不到；这是当时找到的段落。",
    changed: "文档此后有改动：这是当时找到的段落。" },
};

export function documentReader(app) {
  const t = () => app.t(words);
  const none = h("p", { class: "empty" }, () => t().none);
  const name = h("h2", null), note = h("p", { class: "note" }), body = h("div", { class: "written pane", tabindex: "0", role: "region" });
  const sheet = h("div", { class: "sheet", hidden: true }, h("div", { class: "row" }, h("div", { class: "grow" }, name),
    h("button", { type: "button", class: "quiet only", "aria-label": () => t().close, onclick: close }, icon("close"))), note, body);
  const element = h("aside", { class: "reader", onkeydown: (e) => { if (e.key === "Escape" && !sheet.hidden) { e.stopPropagation(); close(); } } },
    none, sheet);
  const texts = new Map();
  let from = null, turn = 0;

  function close() {
    sheet.hidden = true;
    none.hidden = false;
    document.documentElement.classList.remove("reading");
    from?.focus();
  }

  /** The document's text, null where there is none to be had. */
  async function textOf(index, { document: name, collection }) {
    const key = JSON.stringify([index, collection, name]);
    if (!texts.has(key)) {
      const query = new URLSearchParams({ document: name, ...(collection ? { collection } : {}) });
      texts.set(key, (await app.get(`rag/${encodeURIComponent(index)}/text?${query}`)).text);
    }
    return texts.get(key);
  }

  /** Open the passage `found` in its document, at its characters `start` to `end` (null: at the passage's beginning). */
  async function open({ index, found, start = null, end = null }, button) {
    const { passage } = found, mine = ++turn;
    let text = null, why = "";
    try {
      text = index === null ? null : await textOf(index, passage);
      why = text === null ? t().alone : "";
    } catch (e) { why = `${e.message} ${t().alone}`; }
    if (mine !== turn) return; // another one was asked for meanwhile
    let base = passage.start;
    if (text !== null && Array.from(text).slice(passage.start, passage.end).join("") !== passage.text) { text = null; why = t().changed; }
    if (text === null) { text = passage.text; base = 0; }
    const whole = { start: base, end: base + Array.from(passage.text).length, share: null, name: "passage" };
    const at = start === null ? null : { start: base + start, end: base + end, share: null, name: "cited" };
    const parts = at ? [{ ...whole, end: at.start }, at, { ...whole, start: at.end }] : [whole];
    const [, folder, file] = /^(.*\/)?([^/]*)$/su.exec(passage.document);
    name.replaceChildren(h("span", { class: "quiet" }, folder ?? ""), file);
    note.textContent = why;
    note.hidden = !why;
    body.setAttribute("aria-label", t().document(passage.document));
    body.replaceChildren(...shaded(text, parts.filter((p) => p.end > p.start)));
    const mark = body.querySelector(at ? ".cited" : ".passage");
    if (at && mark) { mark.setAttribute("role", "mark"); mark.setAttribute("aria-label", t().cited); }
    from = button;
    none.hidden = true;
    sheet.hidden = false;
    document.documentElement.classList.add("reading");
    body.focus({ preventScroll: true });
    body.scrollTop = mark ? mark.getBoundingClientRect().top - body.getBoundingClientRect().top + body.scrollTop - body.clientHeight / 3 : 0;
    app.say(mark?.textContent ?? "");
  }

  return { element, open, close };
}

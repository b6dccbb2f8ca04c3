// Small pieces that the tabs Lens, Chat and Documents share: tokens as readers see them, numbers, shaded text.
//
//   h("td", null, token(" Paris"), percent(0.31))
//   place.append(...shaded(text, [{ start: 0, end: 4, share: 0.8, tip: "+1.2" }]))
//
// Places in texts are counted in characters as Python counts them (code points), not in JavaScript's halves of pairs.
import { h } from "./dom.js";

/** A style sheet of the page's own, once; resolves when it is there. */
const sheets = {};
export function sheet(name) {
  return (sheets[name] ??= new Promise((resolve, reject) => {
    document.head.append(h("link", { rel: "stylesheet", href: `/static/${name}`, onload: resolve,
      onerror: () => reject(new Error(`${name} could not be loaded`)) }));
  }));
}

/** Control characters as signs; a line break is ↵. */
export const visible = (text) => text.replaceAll("\n", "↵").replaceAll("\t", "⇥")
  .replace(/[\u0000-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)));

/** A token by its name in a sentence, for labels that are read out. */
export const named = (text) => `“${visible(text).replaceAll(" ", "␣")}”`;

/** A token: its outer blanks to be seen, quietly. */
export function token(text) {
  const [, before, middle, after] = /^( *)(.*?)( *)$/su.exec(text);
  const blank = (s) => (s ? h("i", { "aria-hidden": "true" }, "␣".repeat(s.length)) : null);
  return h("bdi", { class: "tok", lang: "", translate: "no" }, blank(before), visible(middle) || (text ? null : "∅"), blank(after));
}

export const percent = (p) => (p >= 0.9995 ? ">99.9" : p > 0 && p < 0.0005 ? "<0.1" : (100 * p).toFixed(1)) + " %";

/** Three significant digits, with a true minus sign. */
export function num(x) {
  if (x === null || x === undefined) return "–";
  const a = Math.abs(x);
  if (a !== 0 && (a < 1e-3 || a >= 1e5)) return x.toExponential(2).replace("e+", "e").replaceAll("-", "−");
  return String(Number(x.toPrecision(3))).replace("-", "−");
}
export const signed = (x) => (x > 0 ? "+" : "") + num(x);

/** Whole text or part of it, in Python's characters. */
export const cut = (text, start, end) => Array.from(text).slice(start, end).join("");

/**
 * `text` as nodes, its `parts` [{start, end, share, tip, title, name}] shaded: `share` from -1 (against) to 1, null for no
 * shade; `tip`, what `walkable` tells of it; `name`, a class. A part that begins before the one in front of it ends is cut there, or
 * left out where nothing of it remains.
 */
export function shaded(text, parts) {
  const all = Array.from(text), out = [];
  let at = 0;
  for (const { start, end, share, tip, title, name } of [...parts].sort((a, b) => a.start - b.start)) {
    if (end <= at) continue;
    const from = Math.max(start, at);
    if (from > at) out.push(all.slice(at, from).join(""));
    const body = all.slice(from, end).join("");
    const blank = /^\s*/u.exec(body)[0]; // shaded blanks would blur where words begin
    if (blank) out.push(blank);
    if (body.length > blank.length) {
      const weak = share === null || share === undefined || Math.abs(share) < 0.02;
      const element = h("span", { class: ["shade", weak ? "" : share < 0 ? "against" : "for", name].filter(Boolean).join(" "),
        "data-tip": tip, tabindex: tip ? "-1" : null, title }, body.slice(blank.length));
      if (!weak) element.style.setProperty("--share", Math.min(1, Math.abs(share)).toFixed(3));
      out.push(element);
    }
    at = end;
  }
  if (at < all.length) out.push(all.slice(at).join(""));
  return out;
}

/**
 * What stands under the pointer or the focus in `root` is told in `output`; the arrow keys walk from part to part, and Tab
 * stops once. Call the function that it returns when the parts were drawn anew.
 */
export function walkable(root, output, selector = "[data-tip]") {
  const tell = (e) => { output.textContent = e?.dataset.tip ?? ""; };
  root.addEventListener("pointerover", (e) => { const at = e.target.closest(selector); if (at) tell(at); });
  root.addEventListener("focusin", (e) => {
    const at = e.target.closest(selector);
    if (!at) return;
    for (const other of root.querySelectorAll(`${selector}[tabindex="0"]`)) other.tabIndex = -1;
    at.tabIndex = 0;
    tell(at);
  });
  root.addEventListener("keydown", (e) => {
    const at = e.target.closest?.(selector), by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[e.key];
    if (!at || !by || e.ctrlKey || e.metaKey || e.altKey) return;
    const all = [...root.querySelectorAll(selector)];
    const next = all[all.indexOf(at) + by];
    if (next) { next.focus(); e.preventDefault(); }
  });
  return () => { tell(null); const first = root.querySelector(selector); if (first) first.tabIndex = 0; };
}

/** A whole number that a field holds, within its own bounds; its default where it holds none. */
export function whole(input) {
  const value = Math.round(Number(input.value));
  const ok = input.value !== "" && Number.isFinite(value);
  return Math.min(Number(input.max), Math.max(Number(input.min), ok ? value : Number(input.defaultValue)));
}

/** A field for a whole number. */
export const number = (value, min, max) => h("input", { type: "number", class: "small", inputmode: "numeric", value, min, max, step: 1 });

// Elements, made without markup.
//
//   h("button", { type: "button", class: "primary", onclick: run, title: () => w().tip }, () => w().run)
//
// Strings become text nodes: whatever a user or a model wrote is never parsed. A child or an attribute that is a function
// follows the language: it is called again when `relabel()` is (app.js does so when the reader switches).

const live = new Set(); // [WeakRef of a node, how to write it anew]

/** Keep something about a node in the reader's language: `write(node)` now, and whenever the language changes. */
export function follow(node, write) {
  live.add([new WeakRef(node), write]);
  write(node);
  return node;
}

/** Write every label again; nodes that are gone are forgotten. */
export function relabel() {
  for (const entry of live) {
    const node = entry[0].deref();
    if (node) entry[1](node); else live.delete(entry);
  }
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) { if (value) element.addEventListener(name.slice(2), value); }
    else if (typeof value === "function") follow(element, (e) => put(e, name, value()));
    else put(element, name, value);
  }
  element.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false && c !== "").map(
    (c) => (typeof c === "function" ? follow(document.createTextNode(""), (t) => { t.data = c(); }) : c)));
  return element;
}

function put(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else element.setAttribute(name, value === true ? "" : value);
}

/** An element with attributes (`onNAME` are listeners; null and false are left out) and children. */
export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);

const SVG = "http://www.w3.org/2000/svg";
/** The same for SVG. */
export const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

const ICONS = {
  close: "M5 5l10 10M15 5L5 15", add: "M10 4v12M4 10h12", link: "M8 12l4-4M9 6l1.5-1.5a3.2 3.2 0 0 1 5 5L14 11M11 14l-1.5 1.5a3.2 3.2 0 0 1-5-5L6 9",
  save: "M10 3v9M6 9l4 4 4-4M4 16h12", bin: "M4 6h12M8 6V4h4v2M6 6l.8 10h6.4L14 6", open: "M8 4h8v8M16 4L6 14",
  search: "M9 3.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11zM13 13l4 4", file: "M5 3h7l3 3v11H5zM12 3v3h3",
  sun: "M10 6.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7zM10 2v1.5M10 16.5V18M2 10h1.5M16.5 10H18M4.3 4.3l1 1M14.7 14.7l1 1M4.3 15.7l1-1M14.7 5.3l1-1",
  moon: "M16 12.2A6.5 6.5 0 0 1 7.8 4a6.5 6.5 0 1 0 8.2 8.2z",
};
/** A small drawing beside a label; it says nothing to a screen reader. */
export const icon = (name) => s("svg", { class: "icon", viewBox: "0 0 20 20", "aria-hidden": "true", focusable: "false" },
  s("path", { d: ICONS[name] }));

let serial = 0;
/** A fresh id, for labels and what they name. */
export const fresh = (stem = "e") => `${stem}-${++serial}`;

/** A control under its label, with a hint under it. `hint` may be null. */
export function field(label, control, hint = null) {
  control.id ||= fresh("field");
  const note = hint ? h("p", { class: "hint", id: fresh("hint") }, hint) : null;
  if (note) control.setAttribute("aria-describedby", note.id);
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, note);
}

/** A drop-down of [value, label] pairs; labels may be functions. */
export function choice(pairs, value, onchange) {
  const select = h("select", { onchange: onchange && (() => onchange(select.value)) },
    ...pairs.map(([v, label]) => h("option", { value: v, selected: v === value }, label)));
  return select;
}

/** One of few, side by side: native radio buttons, so arrow keys work. `label` names the group. */
export function segmented(label, pairs, value, onchange) {
  const name = fresh("segment");
  return h("div", { class: "segmented", role: "radiogroup", "aria-label": label },
    ...pairs.map(([v, text]) => h("label", null,
      h("input", { type: "radio", name, value: v, checked: v === value, onchange: () => onchange(v) }), h("span", null, text))));
}

/** Which radio button of a `segmented` is chosen; with a value, choose it. */
export function chosen(group, value) {
  const all = [...group.querySelectorAll("input")];
  if (value !== undefined) for (const i of all) i.checked = i.value === value;
  return all.find((i) => i.checked)?.value ?? null;
}

/** A text area that grows with what is in it, between `rows` lines and half the window. */
export function area(attributes) {
  const element = h("textarea", { spellcheck: "false", rows: 2, ...attributes });
  const fit = () => {
    if (CSS.supports("field-sizing", "content") || !element.isConnected) return; // then the style does it
    element.style.height = "auto";
    element.style.height = `${element.scrollHeight + 2}px`;
  };
  element.addEventListener("input", fit);
  return element;
}

/** Ask before something that cannot be taken back: true where the answer is yes. Esc and the backdrop say no. */
export function ask(question, yes, no) {
  return new Promise((answer) => {
    const box = h("dialog", { class: "ask", "aria-label": question, onclose: () => { box.remove(); answer(box.returnValue === "yes"); },
      onclick: (e) => { if (e.target === box) box.close("no"); } },
      h("p", null, question),
      h("div", { class: "row end" }, h("button", { type: "button", autofocus: true, onclick: () => box.close("no") }, no),
        h("button", { type: "button", class: "danger", onclick: () => box.close("yes") }, yes)));
    document.body.append(box);
    box.showModal();
  });
}

/** Hand the reader a file. */
export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  const a = h("a", { href: url, download: name });
  document.body.append(a);
  a.click();
  a.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** `f` once nothing has called it for `ms` milliseconds. */
export function debounced(f, ms) {
  let timer = 0;
  return (...values) => { clearTimeout(timer); timer = setTimeout(() => f(...values), ms); };
}

"use strict";
// The views of the lens: what stands under the pointer or the focus is told below; arrows walk; a flow follows its
// tokens. pellucidLens(root) does it for a document or a shadow root that holds such a view and its #tip; a saved page
// is one, and does it by itself.
globalThis.pellucidLens = (root) => {
  const tip = root.getElementById("tip");
  const all = [...root.querySelectorAll("[data-t]")];
  const place = new Map(all.map((e, k) => [e, k]));

  function tell(e) { tip.textContent = e ? e.dataset.t : ""; }

  root.addEventListener("pointerover", (e) => {
    const at = e.target.closest("[data-t]");
    if (at) tell(at);
  });
  root.addEventListener("focusin", (e) => {
    const at = e.target.closest("[data-t]");
    if (!at) return;
    // One stop for Tab: the token where one was last.
    for (const other of root.querySelectorAll("[data-t][tabindex='0']")) other.tabIndex = -1;
    at.tabIndex = 0;
    tell(at);
  });
  root.addEventListener("keydown", (e) => {
    if (e.key === "Escape") { tell(null); return; }
    const at = root.activeElement && root.activeElement.closest("[data-t]");
    if (!at || e.ctrlKey || e.metaKey || e.altKey) return;
    const cell = at.closest("td");
    let next = null;
    if (e.key === "ArrowRight" || e.key === "ArrowLeft") {
      next = all[place.get(at) + (e.key === "ArrowRight" ? 1 : -1)];
    } else if ((e.key === "ArrowDown" || e.key === "ArrowUp") && cell) {
      const row = cell.parentElement, table = row.parentElement;
      const other = table.rows[row.rowIndex - table.rows[0].rowIndex + (e.key === "ArrowDown" ? 1 : -1)];
      const there = other && other.cells[cell.cellIndex];
      next = there && (there.matches("[data-t]") ? there : there.querySelector("[data-t]"));
    }
    if (next) { next.focus(); e.preventDefault(); }
  });
  if (all.length) all[0].tabIndex = 0;

  for (const slider of root.querySelectorAll("input.steps")) {
    const steps = slider.dataset.steps.split(" ").map(Number);
    const frames = [...slider.closest("label").nextElementSibling.children];
    const charts = [...root.querySelectorAll("svg.chart")];
    const rows = [...root.querySelectorAll("table.grid tbody tr")];
    function choose() {
      const k = Number(slider.value);
      frames.forEach((f, n) => { f.hidden = n !== k; });
      rows.forEach((r, n) => r.classList.toggle("now", n === k && rows.length === steps.length));
      slider.nextElementSibling.textContent = steps[k].toLocaleString("en");
      slider.setAttribute("aria-valuetext", String(steps[k]));
      for (const chart of charts) {
        const [low, high, left, right] = chart.dataset.x.split(" ").map(Number);
        const x = left + (Math.min(Math.max(steps[k], low), high) - low) / (high - low) * (right - left);
        const line = chart.querySelector(".now");
        line.setAttribute("x1", x);
        line.setAttribute("x2", x);
      }
    }
    slider.addEventListener("input", choose);
    rows.forEach((r, n) => r.addEventListener("click", () => {
      if (rows.length === steps.length) { slider.value = n; choose(); }
    }));
    choose();
  }

  for (const flow of root.querySelectorAll(".flow")) {
    const nodes = [...flow.querySelectorAll("[data-n]")];
    const edges = JSON.parse(flow.dataset.edges);  // [source, target, share, positive]
    const svg = flow.querySelector("svg");
    const paths = edges.map(([, , share, positive]) => {
      const p = document.createElementNS("http://www.w3.org/2000/svg", "path");
      p.setAttribute("stroke-width", (0.5 + 3 * share).toFixed(2));
      p.setAttribute("stroke-opacity", (0.25 + 0.6 * share).toFixed(2));
      if (!positive) p.classList.add("neg");
      svg.append(p);
      return p;
    });

    function draw() {
      const origin = flow.getBoundingClientRect();
      const boxes = nodes.map((n) => n.getBoundingClientRect());
      const x = (b, share) => b.left + b.width * share - origin.left + flow.scrollLeft;
      const y = (b, share) => b.top + b.height * share - origin.top;
      const layout = flow.dataset.layout;
      if (layout === "arcs") {
        let widest = 0;
        for (const [s, t] of edges) widest = Math.max(widest, x(boxes[t], 0.5) - x(boxes[s], 0.5));
        const rise = Math.min(Math.max(widest / 3, 40), 260) + 10;
        const now = `${Math.round(rise)}px`;
        if (flow.style.getPropertyValue("--rise") !== now) { flow.style.setProperty("--rise", now); return draw(); }
      }
      edges.forEach(([s, t], k) => {
        const a = boxes[s], b = boxes[t];
        let d;
        if (layout === "arcs") {
          const from = x(a, 0.5), to = x(b, 0.5), top = y(a, 0);
          const high = Math.min(Math.max(Math.abs(to - from) / 3, 12), 260);
          d = `M${from} ${top}C${from} ${top - high * 1.3} ${to} ${top - high * 1.3} ${to} ${top}`;
        } else if (layout === "layers") {
          const second = nodes[s].classList.contains("second");
          const from = [x(a, 0.5), y(a, second ? 0 : 1)], to = [x(b, 0.5), y(b, 0)];
          const mid = second ? Math.min(from[1], to[1]) - 40 : (from[1] + to[1]) / 2;
          d = `M${from}C${from[0]} ${mid} ${to[0]} ${mid} ${to}`;
        } else {
          const second = nodes[s].classList.contains("second");
          const from = [x(a, 1), y(a, 0.5)], to = [x(b, second ? 1 : 0), y(b, 0.5)];
          const mid = second ? Math.max(from[0], to[0]) + 40 : (from[0] + to[0]) / 2;
          d = `M${from}C${mid} ${from[1]} ${mid} ${to[1]} ${to}`;
        }
        paths[k].setAttribute("d", d);
      });
    }

    function follow(n) {
      const here = n === null ? -1 : nodes.indexOf(n);
      const sources = new Set(), consequences = new Set();
      edges.forEach(([s, t], k) => {
        if (t === here) sources.add(s);
        if (s === here) consequences.add(t);
        paths[k].classList.toggle("off", here >= 0 && s !== here && t !== here);
      });
      nodes.forEach((node, k) => {
        node.classList.toggle("here", k === here);
        node.classList.toggle("source", sources.has(k));
        node.classList.toggle("consequence", consequences.has(k));
        node.classList.toggle("off", here >= 0 && k !== here && !sources.has(k) && !consequences.has(k));
      });
    }

    flow.addEventListener("pointerover", (e) => follow(e.target.closest("[data-n]")));
    flow.addEventListener("pointerleave", () => follow(null));
    flow.addEventListener("focusin", (e) => follow(e.target.closest("[data-n]")));
    flow.addEventListener("focusout", () => follow(null));
    for (const choice of flow.previousElementSibling.querySelectorAll("button")) {
      choice.addEventListener("click", () => {
        flow.dataset.layout = choice.value;
        for (const c of choice.parentElement.children) c.setAttribute("aria-pressed", String(c === choice));
        draw();
      });
    }
    new ResizeObserver(draw).observe(flow);
    draw();
  }
};
if (document.getElementById("tip")) globalThis.pellucidLens(document);

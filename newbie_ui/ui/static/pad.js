/* The position pad: one dot a character on 7 columns and 3 depths. Drag or arrow keys move it; the tag follows, and the
   other way round; which words mean which cell is known by the server (`newbie_ui.prompt.positions`). */
nb.pad = (function () {
  "use strict";
  const { h, fill, t } = nb;
  const COLUMNS = ["far_left", "left_side", "center_left", "center", "center_right", "right_side", "far_right"];

  /* make(onmove) → {node, draw(characters)}; a character is {number, name, cell: [column, depth] or null, muted}. */
  function make(onmove) {
    const labels = COLUMNS.map((c) => h("span", {}, t("pad_" + c)));
    const dots = h("div.dots-layer");
    const node = h("div.pad", { role: "group", "aria-label": t("position_pad") },
      h("div.cols", {}, labels), h("div.hz", { style: { top: "25px" } }), h("div.hz", { style: { top: "50px" } }),
      h("div.hz.so", { style: { top: "75px" } }),
      ["pad_back", "pad_middle", "pad_front"].map((k, i) => h("span.dep", { style: { top: 6 + 25 * i + "px" } }, t(k))), dots);
    const left = (column, shift) => "calc(" + (column + 0.5) * 100 / 7 + "% + " + shift + "px)";
    const top = (depth) => 13 + 25 * depth + "px";

    function draw(characters) {
      const focused = document.activeElement && dots.contains(document.activeElement) ? document.activeElement.dataset.number : null;
      const taken = {}, used = new Set(), nodes = [];
      characters.forEach((c, i) => {
        const free = !c.cell, depth = free ? 1 : c.cell[1];
        const column = free ? Math.min(6, Math.max(0, Math.round(3 + (i - (characters.length - 1) / 2) * 2))) : c.cell[0];
        const key = column + ":" + depth, shift = (taken[key] = (taken[key] || 0) + 1) - 1;
        if (!free && !c.muted) used.add(column);
        const colour = "k" + c.number, x = left(column, shift * 11), y = top(depth);
        const where = free ? t("position_free") : t("pad_" + COLUMNS[column]) + (depth === 1 ? "" : ", " + t(depth ? "pad_front" : "pad_back"));
        nodes.push(h("span.stem." + colour + (free || c.muted ? ".free" : ""), { style: { left: x, top: y } }));
        const dot = h("button.dot." + colour + (free ? ".free" : "") + (c.muted ? ".muted" : ""), {
          type: "button", "data-number": c.number, style: { left: x, top: y }, title: c.name + ": " + where,
          "aria-label": t("pad_dot", { name: c.name, where }),
        }, String(c.number));
        drag(dot, c, column, depth);
        nodes.push(dot);
      });
      fill(dots, nodes);
      labels.forEach((label, i) => label.classList.toggle("here", used.has(i)));
      const again = focused && dots.querySelector('[data-number="' + focused + '"]');
      if (again) again.focus();
    }

    function drag(dot, c, column, depth) {
      let moved = null;
      dot.addEventListener("pointerdown", (event) => { dot.setPointerCapture(event.pointerId); moved = null; dot.classList.add("held"); });
      dot.addEventListener("pointermove", (event) => {
        if (!dot.hasPointerCapture(event.pointerId)) return;
        const box = node.getBoundingClientRect();
        const x = Math.min(6, Math.max(0, Math.floor((event.clientX - box.left) / box.width * 7)));
        const y = Math.min(2, Math.max(0, Math.floor((event.clientY - box.top) / 25)));
        if (moved || x !== column || y !== depth) {
          moved = { x, y };
          dot.style.left = left(x, 0);
          dot.style.top = top(y);
        }
      });
      dot.addEventListener("pointerup", () => {
        dot.classList.remove("held");
        if (moved) onmove(c, moved.x, moved.y);
      });
      dot.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
        if (!step) return;
        event.preventDefault();
        onmove(c, Math.min(6, Math.max(0, column + step[0])), Math.min(2, Math.max(0, depth + step[1])));
      });
    }
    return { node, draw };
  }
  return { make, COLUMNS };
})();

/* The position pad: one dot a character on 7 columns and 3 depths. Drag or arrow keys move it; the tag follows, and the
   other way round; which words mean which cell is known by the server (`newbie_ui.prompt.positions`). */
nb.pad = (function () {
  "use strict";
  const { h, t } = nb;
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

    /* A dot keeps its node while its character lives, so that a drag outlasts whatever is drawn meanwhile. */
    const made = [];
    function draw(characters) {
      const taken = {}, used = new Set();
      while (made.length < characters.length) made.push(makeDot(made.length + 1));
      for (const { stem, dot } of made.splice(characters.length)) { stem.remove(); dot.remove(); }
      characters.forEach((c, i) => {
        const free = !c.cell, depth = free ? 1 : c.cell[1];
        const column = free ? Math.min(6, Math.max(0, Math.round(3 + (i - (characters.length - 1) / 2) * 2))) : c.cell[0];
        const key = column + ":" + depth, shift = (taken[key] = (taken[key] || 0) + 1) - 1;
        if (!free && !c.muted) used.add(column);
        const where = free ? t("position_free") : t("pad_" + COLUMNS[column]) + (depth === 1 ? "" : ", " + t(depth ? "pad_front" : "pad_back"));
        const { stem, dot } = made[i];
        Object.assign(made[i], { c, column, depth });
        stem.className = "stem k" + c.number + (free || c.muted ? " free" : "");
        dot.classList.toggle("free", free);
        dot.classList.toggle("muted", Boolean(c.muted));
        dot.title = c.name + ": " + where;
        dot.setAttribute("aria-label", t("pad_dot", { name: c.name, where }));
        for (const part of dot.classList.contains("held") ? [] : [stem, dot]) { part.style.left = left(column, shift * 11); part.style.top = top(depth); }
      });
      labels.forEach((label, i) => label.classList.toggle("here", used.has(i)));
    }

    function makeDot(number) {
      const stem = h("span.stem"), dot = h("button.dot.k" + number, { type: "button" }, String(number)), place = { stem, dot };
      let moved = null;
      dot.addEventListener("pointerdown", (event) => { dot.setPointerCapture(event.pointerId); moved = null; dot.classList.add("held"); });
      dot.addEventListener("pointermove", (event) => {
        if (!dot.hasPointerCapture(event.pointerId)) return;
        const box = node.getBoundingClientRect();
        const x = Math.min(6, Math.max(0, Math.floor((event.clientX - box.left) / box.width * 7)));
        const y = Math.min(2, Math.max(0, Math.floor((event.clientY - box.top) / 25)));
        if (moved || x !== place.column || y !== place.depth) {
          moved = { x, y };
          dot.style.left = left(x, 0);
          dot.style.top = top(y);
        }
      });
      dot.addEventListener("pointerup", () => {
        dot.classList.remove("held");
        if (moved) onmove(place.c, moved.x, moved.y);
      });
      dot.addEventListener("pointercancel", () => {
        dot.classList.remove("held");
        dot.style.left = left(place.column, 0);
        dot.style.top = top(place.depth);
      });
      dot.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
        if (!step) return;
        event.preventDefault();
        place.column = Math.min(6, Math.max(0, place.column + step[0])); // the next key goes on from here, drawn or not
        place.depth = Math.min(2, Math.max(0, place.depth + step[1]));
        onmove(place.c, place.column, place.depth);
      });
      dots.append(stem, dot);
      return place;
    }
    return { node, draw };
  }
  return { make, COLUMNS };
})();

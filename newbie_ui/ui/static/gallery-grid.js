/* The gallery's grid: only the rows in sight exist, pages of results are fetched as they come into sight. */
(function () {
  "use strict";
  const { h, icon } = nb;
  const { t } = nb.parts;
  const PAGE = 60, GAP = 10, CAPTION = 26, SMALLEST = 158, OVERSCAN = 2;

  /* `load(offset, limit)` → promise of {total, items}; `on` has open(id), toggle(id, range), keys(event, item). */
  nb.galleryGrid = function (load, on, look) {
    const inner = h("div.nb-g-inner", {});
    const box = h("div.nb-g-scroll", { role: "listbox", "aria-label": t("gallery_pictures"), "aria-multiselectable": "true", tabindex: "-1" }, inner);
    let items = [], total = 0, pages = new Map(), columns = 4, cell = 180, focus = 0, version = 0, soon = 0;
    const wanted = new Set();
    const tiles = new Map();

    function measure() {
      const width = inner.clientWidth;
      if (!width) return false;
      columns = Math.max(2, Math.floor((width + GAP) / (SMALLEST + GAP)));
      cell = (width + GAP) / columns - GAP;
      inner.style.height = Math.max(0, Math.ceil(total / columns) * (cell + CAPTION + GAP)) + "px";
      return true;
    }

    function draw() {
      if (!measure()) return;
      const row = cell + CAPTION + GAP;
      const first = Math.max(0, Math.floor(box.scrollTop / row) - OVERSCAN) * columns;
      const last = Math.min(total, (Math.ceil((box.scrollTop + box.clientHeight) / row) + OVERSCAN) * columns);
      for (const [at, tile] of tiles) if (at < first || at >= last) { tile.remove(); tiles.delete(at); }
      wanted.clear();
      for (let at = first; at < last; at++) {
        if (!items[at]) wanted.add(Math.floor(at / PAGE));
        place(at, tiles.get(at) || make(at));
      }
      if (wanted.size && !soon) soon = setTimeout(fetchWanted, 70);
    }
    /* Only what is still in sight a moment later: who drags the scroll bar passes over the rest. */
    function fetchWanted() {
      soon = 0;
      for (const page of wanted) fetchPage(page);
    }

    function place(at, tile) {
      const row = Math.floor(at / columns), column = at % columns;
      tile.style.width = cell + "px";
      tile.style.transform = `translate(${column * (cell + GAP)}px, ${row * (cell + CAPTION + GAP)}px)`;
      if (!tile.isConnected) inner.append(tile);
    }

    function make(at) {
      const item = items[at];
      const marks = item ? look(item) : {};
      const tile = h("div.nb-g-tile", {
        role: "option", "aria-selected": String(Boolean(marks.selected || marks.current)), tabindex: at === focus ? "0" : "-1",
        "aria-setsize": total, "aria-posinset": at + 1, "data-at": at,
      });
      if (marks.current) tile.classList.add("current");
      if (marks.selected) tile.classList.add("selected");
      tile.append(h("span.nb-g-im", {},
        item ? h("img", { src: nb.thumb(item.id), alt: "", loading: "lazy", decoding: "async", draggable: "false" }) : null,
        item && item.favourite ? h("span.nb-g-star", { role: "img", "aria-label": t("gallery_favourite") }, icon("star", true)) : null,
        marks.letter ? h("span.nb-letter", {}, marks.letter)
          : marks.selecting ? h("span.nb-g-tick", {}, marks.selected ? icon("check", true) : null) : null));
      tile.append(h("span.nb-g-cap", {}, h("b", {}, item ? item.title : ""),
        h("span", {}, marks.note || (item && item.seconds ? nb.seconds(item.seconds) : ""))));
      tiles.set(at, tile);
      return tile;
    }

    async function fetchPage(page) {
      if (pages.has(page)) return;
      const asked = version;
      pages.set(page, true);
      try {
        const got = await load(page * PAGE, PAGE);
        if (asked !== version) return;
        if (got.total !== total) { total = got.total; on.total(total); }
        got.items.forEach((item, k) => { items[page * PAGE + k] = item; });
        redraw(page * PAGE, page * PAGE + PAGE);
      } catch (error) {
        pages.delete(page);
        if (asked === version) nb.parts.complain(error);
      }
    }

    function redraw(from = 0, to = Infinity) {
      const focused = document.activeElement && document.activeElement.closest(".nb-g-tile");
      const at = focused && box.contains(focused) ? Number(focused.dataset.at) : null;
      for (const [k, tile] of tiles) if (k >= from && k < to) { tile.remove(); tiles.delete(k); }
      draw();
      if (at !== null && tiles.has(at)) tiles.get(at).focus({ preventScroll: true });
    }

    /* Ask again from the start; what was there stays in sight until the answer comes. */
    async function reset(keepPlace) {
      const asked = ++version;
      const got = await load(0, PAGE);
      if (asked !== version) return;
      items = got.items.slice();
      pages = new Map([[0, true]]);
      total = got.total;
      focus = 0;
      if (!keepPlace) box.scrollTop = 0;
      on.total(total);
      redraw();
    }

    const at = (target) => { const tile = target.closest(".nb-g-tile"); return tile ? Number(tile.dataset.at) : null; };
    function go(to, event) {
      const next = Math.max(0, Math.min(total - 1, to));
      const row = cell + CAPTION + GAP, top = Math.floor(next / columns) * row;
      if (top < box.scrollTop) box.scrollTop = top;
      else if (top + row > box.scrollTop + box.clientHeight) box.scrollTop = top + row - box.clientHeight;
      const old = tiles.get(focus);
      if (old) old.tabIndex = -1;
      focus = next;
      draw();
      const tile = tiles.get(next);
      if (tile) { tile.tabIndex = 0; tile.focus({ preventScroll: true }); }
      if (items[next] && event.shiftKey) on.toggle(next, true); else if (items[next] && on.follows()) on.open(next);
    }
    box.addEventListener("click", (event) => {
      const k = at(event.target);
      if (k === null || !items[k]) return;
      focus = k;
      if (event.shiftKey || event.ctrlKey || event.metaKey || on.selecting()) on.toggle(k, event.shiftKey);
      else on.open(k, true);
    });
    box.addEventListener("keydown", (event) => {
      const k = at(event.target);
      if (k === null) return;
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -total, End: total,
        PageDown: columns * 3, PageUp: -columns * 3 }[event.key];
      if (step) { event.preventDefault(); go(k + step, event); return; }
      if (!items[k]) return;
      if (event.key === "Enter") { event.preventDefault(); on.open(k, true); }
      else if (event.key === " ") { event.preventDefault(); on.toggle(k, event.shiftKey); }
      else on.keys(event, items[k]);
    });
    box.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
    new ResizeObserver(() => requestAnimationFrame(() => redraw())).observe(box);

    return {
      box, reset, redraw, item: (k) => items[k], get total() { return total; },
      index: (id) => items.findIndex((item) => item && item.id === id),
      range: (a, b) => items.slice(Math.min(a, b), Math.max(a, b) + 1).filter(Boolean),
      change: (id, values) => { for (const item of items) if (item && item.id === id) Object.assign(item, values); redraw(); },
      focus: (k) => { const tile = tiles.get(k); if (tile) tile.focus(); },
    };
  };
})();

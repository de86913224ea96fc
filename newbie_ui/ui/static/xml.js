/* The XML view: a textarea over a coloured copy with the same metrics. Colours are worked out here, from the text alone,
   so that they follow each key; where the token limits fall is said by the server. */
nb.xmlView = function (onedit) {
  "use strict";
  const { h, fill, t } = nb;
  const under = h("pre.xml-under", { "aria-hidden": "true" });
  const area = h("textarea.xml-text", { spellcheck: "false", autocapitalize: "off", autocomplete: "off", "aria-label": t("xml_text"), "data-complete": "xml", maxlength: 20000 });
  const bands = h("div.xml-bands", { "aria-hidden": "true" });
  const node = h("div.xml.card", {}, h("div.xml-scroll", {}, bands, under, area));
  const TAG = /<(\/?)\s*([^\s<>/][^<>/]*?)\s*(\/?)>/g;
  const BLOCK = /^character[ _-]?(\d*)$/i, GENERAL = /^general[ _]?tags?$|^general$/i;
  let view = null, muted = [];

  /* Blocks as [{start, end, number, colour}] from the server's spans while they fit the text, else by reading tags. */
  function blocksOf(text) {
    const blocks = [], open = [];
    let count = 0, match;
    TAG.lastIndex = 0;
    while ((match = TAG.exec(text))) {
      const name = match[2], character = BLOCK.test(name), general = GENERAL.test(name), own = !character && !general && /^(caption|danbooru_tags|e621_tags)$/i.test(name) && !open.length;
      if (!character && !general && !own) continue;
      if (match[1]) { const last = open.pop(); if (last) last.end = match.index + match[0].length; continue; }
      if (open.length) open.pop().end = match.index;
      const block = { start: match.index, end: text.length, colour: character ? "k" + Math.min(6, ++count) : general ? "kg" : "k4", index: character ? count - 1 : -1 };
      blocks.push(block);
      open.push(block);
    }
    return blocks;
  }

  function paint() {
    const text = area.value, blocks = blocksOf(text), fits = view && view.text === text;
    const past = fits && view.trained_end !== null && view.trained_end !== undefined ? view.trained_end : -1;
    const cut = fits && view.possible_end !== null && view.possible_end !== undefined ? view.possible_end : -1;
    const out = under.ownerDocument.createDocumentFragment();
    const edges = new Set([0, text.length]);
    let match;
    TAG.lastIndex = 0;
    const tags = [];
    while ((match = TAG.exec(text))) { tags.push([match.index, match.index + match[0].length, match[2]]); edges.add(match.index); edges.add(match.index + match[0].length); }
    for (const mark of [past, cut]) if (mark >= 0) edges.add(mark);
    const sorted = [...edges].sort((a, b) => a - b);
    for (let i = 0; i + 1 < sorted.length; i++) {
      const [a, b] = [sorted[i], sorted[i + 1]], tag = tags.find((x) => x[0] <= a && b <= x[1]);
      const inside = blocks.find((x) => x.start <= a && b <= x.end);
      const head = tag && (BLOCK.test(tag[2]) || GENERAL.test(tag[2]) || inside && inside.colour === "k4");
      const classes = [head ? "hd " + (inside ? inside.colour : "") : tag ? "tg" : "", cut >= 0 && a >= cut ? "cut" : past >= 0 && a >= past ? "past" : "", inside && muted.includes(inside.index) ? "mt" : ""].join(" ").trim();
      const span = h("span", { class: classes || null }, text.slice(a, b));
      if (a === past && a > 0) out.append(h("span.limit", { "data-words": t("limit_trained", { n: view.trained }) }));
      if (a === cut && a > 0) out.append(h("span.limit.hard", { "data-words": t("limit_here", { n: view.maximum }) }));
      out.append(span);
    }
    out.append(document.createTextNode("\n"));
    under.replaceChildren(out);
    requestAnimationFrame(() => drawBands(blocks));
  }

  /* A dot and a line at the left of each block, as high as its text. */
  function drawBands(blocks) {
    if (node.hidden) return;
    const box = under.getBoundingClientRect(), nodes = [];
    const range = document.createRange();
    const place = (offset) => {
      let left = offset;
      const walker = document.createTreeWalker(under, NodeFilter.SHOW_TEXT);
      for (let n = walker.nextNode(); n; n = walker.nextNode()) { if (left <= n.length) return [n, left]; left -= n.length; }
      return [under.lastChild, 0];
    };
    for (const block of blocks) {
      if (block.end <= block.start) continue;
      range.setStart(...place(block.start));
      range.setEnd(...place(block.end));
      const r = range.getBoundingClientRect();
      if (!r.height) continue;
      nodes.push(h("i.line." + block.colour, { style: { top: r.top - box.top + 12 + "px", height: Math.max(0, r.height - 14) + "px" } }),
        h("i.dot.sm." + block.colour, { style: { top: r.top - box.top + 4 + "px" } }));
    }
    fill(bands, nodes);
  }

  area.addEventListener("input", () => { paint(); onedit(area.value); });
  new ResizeObserver(() => drawBands(blocksOf(area.value))).observe(node);

  return {
    node, area,
    focus: () => area.focus({ preventScroll: true }),
    set(text, newView, newMuted) {
      view = newView ? { ...newView, text } : null;
      muted = newMuted || [];
      if (area.value !== text && document.activeElement !== area) area.value = text;
      else if (area.value !== text && newView && newView.replaced) area.value = text;
      paint();
    },
    select(start, end) { area.focus(); area.setSelectionRange(start, end); },
  };
};

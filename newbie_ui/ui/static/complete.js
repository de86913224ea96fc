/* Tag completion for fields and XML view: a listbox at the caret. The server knows the vocabulary and where a tag
   begins; here are only the list and its keys. It never takes a key unless it is open, and Enter only after an arrow. */
nb.completion = function (root, ask) {
  "use strict";
  const { h, fill, t } = nb;
  const COLOURS = { general: "c1", character: "c6", copyright: "c4", artist: "c5", meta: "c3", element: "gen" };
  const list = h("div.nb-complete", { role: "listbox", id: "nb-complete", hidden: true, "aria-label": t("tags_offered") });
  document.body.append(list);
  let field = null, found = null, at = 0, moved = false, timer = 0, asked = 0;

  const open = () => !list.hidden;
  function close() {
    list.hidden = true;
    found = null;
    if (field) { field.removeAttribute("aria-activedescendant"); field.setAttribute("aria-expanded", "false"); }
  }
  async function look() {
    if (!field || document.activeElement !== field || field.selectionStart !== field.selectionEnd) { close(); return; }
    const number = ++asked, text = field.value, caret = field.selectionStart;
    let answer;
    try { answer = await ask({ text, caret }); } catch { return; }
    if (number !== asked || !field || field.value !== text) return;
    if (!answer.items.length || answer.items.length === 1 && answer.items[0].insert === text.slice(answer.start, answer.end)) { close(); return; }
    found = { ...answer, text };
    at = 0;
    moved = false;
    draw();
  }
  function draw() {
    const short = (n) => (n >= 1e6 ? (n / 1e6).toFixed(1) + "M" : n >= 1e4 ? Math.round(n / 1e3) + "k" : n >= 1e3 ? (n / 1e3).toFixed(1) + "k" : String(n));
    const words = nb.locale() === "zh-CN" ? "zh" : "also";
    fill(list, found.items.map((item, i) => h("div.opt" + (i === at ? ".on" : ""), {
      role: "option", id: "nb-complete-" + i, "aria-selected": String(i === at), onpointerdown: (event) => { event.preventDefault(); at = i; accept(); },
    }, h("span.sq", { style: { background: "var(--nb-" + (COLOURS[item.category] || "c1") + ")" }, title: item.category }), label(item.label, found.query),
      item.by || item[words] ? h("small", {}, item.by || item[words]) : null, h("span.grow"), item.model ? h("span.known", { title: t("model_knows") }, "●") : null,
      item.count ? h("span.cnt", {}, short(item.count)) : item.rank ? h("span.cnt", { title: t("tag_rank", { n: item.rank }) }, "#" + item.rank) : null)), h("div.hint", {}, t("complete_hint")));
    list.hidden = false;
    place();
    field.setAttribute("aria-expanded", "true");
    field.setAttribute("aria-activedescendant", "nb-complete-" + at);
  }
  function label(name, query) {
    const low = name.toLowerCase().replace(/_/g, " "), i = low.indexOf(query.toLowerCase().replace(/_/g, " ").trim());
    return i < 0 || !query ? h("span", {}, name) : h("span", {}, name.slice(0, i), h("b", {}, name.slice(i, i + query.trim().length)), name.slice(i + query.trim().length));
  }
  async function accept() {
    if (field.value !== found.text) { /* typed on since: what is meant is asked first */
      clearTimeout(timer);
      const before = found;
      await look();
      if (!open() || found === before) return;
    }
    const item = found.items[at], text = field.value, after = text.slice(found.end);
    let insert = item.insert;
    if (item.category !== "element" && !/^\s*[,，、<|}\n)]/.test(after)) insert += ", ";
    field.focus();
    field.setSelectionRange(found.start, found.end);
    if (!document.execCommand("insertText", false, insert)) {
      field.setRangeText(insert, found.start, found.end, "end");
      field.dispatchEvent(new Event("input", { bubbles: true }));
    }
    clearTimeout(timer);
    asked += 1;
    close();
  }

  /* Where the caret is: a hidden copy of the field up to the caret. */
  const copyOf = h("div.nb-caret", { "aria-hidden": "true" });
  document.body.append(copyOf);
  function place() {
    const style = getComputedStyle(field), box = field.getBoundingClientRect();
    for (const name of ["font", "lineHeight", "letterSpacing", "padding", "borderWidth", "whiteSpace", "overflowWrap", "tabSize", "boxSizing"]) copyOf.style[name] = style[name];
    copyOf.style.whiteSpace = "pre-wrap";
    copyOf.style.width = box.width + "px";
    const mark = h("span", {}, "\u200b");
    fill(copyOf, field.value.slice(0, found.start), mark);
    const x = box.left + mark.offsetLeft, y = box.top + mark.offsetTop - field.scrollTop, line = parseFloat(style.lineHeight) || 18;
    list.style.left = Math.max(6, Math.min(x - 8, innerWidth - list.offsetWidth - 6)) + "px";
    list.style.top = (y + line + 4 + list.offsetHeight > innerHeight ? y - list.offsetHeight - 4 : y + line + 4) + "px";
  }

  /* The list opens for what is typed, letter by letter or by an input method, not for what is pasted or dropped. While
     it composes, an input method has a window and the keys of its own; on touch screens it is how every letter comes. */
  const touch = matchMedia("(pointer: coarse)");
  const typed = (event) => event.type === "compositionend" || event.inputType === "insertCompositionText" || event.inputType === "insertText" && [...(event.data || "")].length === 1;
  function changed(event) {
    const target = event.target;
    if (target.tagName !== "TEXTAREA" || !target.dataset.complete || event.isComposing && !touch.matches) return;
    field = target;
    clearTimeout(timer);
    if (open() || typed(event)) timer = setTimeout(look, 70);
  }
  root.addEventListener("input", changed);
  root.addEventListener("compositionend", changed);
  root.addEventListener("pointerdown", close);
  /* The comma that waits for a next tag goes when none came. */
  root.addEventListener("focusout", (event) => {
    const left = event.target;
    if (!left.dataset || left.dataset.complete !== "tags" || !/,\s*$/.test(left.value)) return;
    left.value = left.value.replace(/,\s*$/, "");
    left.dispatchEvent(new Event("input", { bubbles: true }));
  });
  root.addEventListener("focusout", () => setTimeout(() => { if (document.activeElement !== field) close(); }, 0));
  root.addEventListener("keydown", (event) => {
    if (!open() || event.isComposing) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) { at = (at + step + found.items.length) % found.items.length; moved = true; draw(); event.preventDefault(); }
    else if (event.key === "Tab" && !event.shiftKey || event.key === "Enter" && moved && !event.ctrlKey && !event.metaKey) { accept(); event.preventDefault(); }
    else if (event.key === "Escape") { close(); event.preventDefault(); event.stopPropagation(); }
    else if (["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) close();
  }, true);
  addEventListener("scroll", (event) => { if (open() && event.target !== list) close(); }, true);
};

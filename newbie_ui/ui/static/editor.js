/* The editor: cards and XML over one text. The text is the truth; the server's `compose` reads it into `view` and applies
   edits to it without touching anything else. What is typed waits in `pending` for at most a moment, and travels with
   the value, so that Generate never misses the last letters. */
nb.define("editor", function (w) {
  "use strict";
  const { h, fill, icon, iconButton, t, emit } = nb;
  const start = w.props.value || {};
  const doc = { text: start.text || "", negative: start.negative || "", muted: start.muted || [], pending: [] };
  nb.state.dice_fields = start.dice_fields || [];
  let view = start.view || { characters: [], general: [], extras: [] };
  let mode = nb.stored("mode") === "xml" ? "xml" : "cards", timer = 0;
  const history = { back: [], forward: [] };

  const publish = () => {
    w.props.value = { text: doc.text, negative: doc.negative, muted: [...doc.muted], pending: [...doc.pending] };
    nb.state.doc = w.props.value;
    nb.store("form", w.props.value);
    undoButton.disabled = !doc.pending.length && !leads(history.back);
    redoButton.disabled = !leads(history.forward);
  };

  /* ---- talking to the server ---- */
  let epoch = 0; /* grows when the whole text is replaced: answers about the old one do not count */
  let calm = null; /* the last state without edits under way: what undo goes back to */
  let edited = false; /* something since then may be taken back */
  const snapshot = () => ({ text: doc.text, negative: doc.negative, muted: [...doc.muted] });
  const same = (a, b) => a.text === b.text && a.negative === b.negative && a.muted.join() === b.muted.join();
  const leads = (entries) => entries.some((entry) => entry.form || !same(entry, doc));
  function remember() {
    history.forward = [];
    const last = history.back[history.back.length - 1];
    if (last && !last.form && same(last, calm)) return;
    history.back.push(calm);
    if (history.back.length > 100) history.back.shift();
  }
  /* The form that a picture, a text or a link replaced last can also be had back after a reload. */
  const keepBefore = () => nb.store("before", history.back.findLast((entry) => entry.form) || null);
  function edit(op, now) {
    if (op.op === "field") {
      const waiting = doc.pending.find((p) => p.op === "field" && p.block === op.block && p.field === op.field && p.name === op.name);
      if (waiting) waiting.value = op.value; else doc.pending.push(op);
    } else doc.pending.push(op);
    if (!op.quiet && !takesBack()) edited = true;
    if (!typing) depth = Infinity;
    publish();
    clearTimeout(timer);
    timer = setTimeout(flush, now ? 0 : 180);
  }
  /* Resolves when everything has been answered, also what came meanwhile. */
  let running = null, again = false;
  function flush() {
    clearTimeout(timer);
    again = true;
    running = running || rounds();
    return running;
  }
  async function rounds() {
    while (again) { again = false; await compose(); }
    running = null;
  }
  async function compose() {
    const sent = doc.pending.map((op) => ({ ...op }));
    if (edited && calm && (sent.length || !same(calm, doc))) remember();
    edited = false;
    const asked = { epoch, negative: doc.negative, muted: JSON.stringify(doc.muted) };
    try {
      const answer = await w.server.compose({ text: doc.text, negative: doc.negative, muted: doc.muted, pending: sent, system: nb.state.system || "" });
      if (asked.epoch !== epoch) throw new Error("the text was replaced meanwhile");
      doc.text = answer.text;
      if (JSON.stringify(doc.muted) === asked.muted) doc.muted = answer.muted;
      if (doc.negative === asked.negative) doc.negative = answer.negative;
      doc.pending = doc.pending.filter((op) => !sent.some((s) => JSON.stringify(s) === JSON.stringify(op)));
      view = { ...answer.view, trained_end: answer.budget.trained_end, possible_end: answer.budget.possible_end, trained: answer.budget.trained, maximum: answer.budget.maximum };
      for (const op of doc.pending) { // moved since it was asked
        const moved = op.op === "place" && view.characters[op.index];
        if (moved) moved.cell = [op.column, op.depth];
      }
      publish();
      draw();
      emit("composed", answer);
      if (answer.say) nb.say(answer.say, answer.undo ? { label: t("undo"), run: undo } : null);
    } catch (error) {
      console.info("newbie_ui: compose", error);
    }
    if (!doc.pending.length) calm = snapshot();
  }

  /* ---- undo ---- */
  async function travel(from, to) {
    if (doc.pending.length || running) await flush();
    doc.pending = [];
    let entry = history[from].pop();
    while (entry && !entry.form && same(entry, doc)) entry = history[from].pop();
    if (entry) {
      history[to].push({ ...snapshot(), form: entry.form && nb.formNow() });
      epoch += 1;
      Object.assign(doc, { text: entry.text, negative: entry.negative, muted: [...entry.muted] });
      calm = snapshot();
      if (entry.form) { emit("unfill", entry.form); w.trigger("unfill"); keepBefore(); }
      depth = history.back.length;
      if (document.activeElement === xml.area) xml.area.value = untyped = doc.text;
      shape = ""; // the field with the caret is drawn anew, too
    }
    publish();
    return flush();
  }
  const undo = () => travel("back", "forward");
  const redo = () => travel("forward", "back");
  /* A field has the browser's own undo while it holds something that was typed since the caret came into it. What that
     takes back is no new edit, and when it has taken back all, there is nothing left to undo. */
  let untyped = "", depth = 0, typing = null;
  const takesBack = () => Boolean(typing) && typing.inputType === "historyUndo";
  w.element.addEventListener("focusin", (event) => { untyped = event.target.value; depth = history.back.length; });
  w.element.addEventListener("input", (event) => { typing = event; }, true);
  w.element.addEventListener("input", (event) => {
    if (takesBack() && event.target.value === untyped && history.back.length >= depth) { history.back.length = depth; edited = false; }
    typing = null;
  });
  w.element.addEventListener("keydown", (event) => {
    const { target, shiftKey } = event, typed = /^(INPUT|TEXTAREA)$/.test(target.tagName) && target.value !== untyped;
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z" || typed || shiftKey && !leads(history.forward)) return;
    event.preventDefault();
    if (shiftKey) redo(); else undo();
  });

  /* ---- frame ---- */
  const switcher = h("div.seg", { role: "group", "aria-label": t("view") });
  const add = h("button.btn", { type: "button", onclick: () => addCharacter() }, icon("add", true), h("span", {}, t("character")));
  const pad = nb.pad.make((c, column, depth) => { view.characters[c.number - 1].cell = [column, depth]; drawPad(); structural({ op: "place", index: c.number - 1, column, depth }); });
  const cards = h("div.cards"), cardsPane = h("div.pane-cards", {}, pad.node, cards);
  const xml = nb.xmlView((text) => edit({ op: "text", text }, false));
  const undoButton = iconButton("undo", t("undo"), undo, { title: t("undo") + " (Ctrl+Z)" });
  const redoButton = iconButton("redo", t("redo"), redo, { title: t("redo") + " (Ctrl+Shift+Z)" });
  const tools = h("div.row.tight", {}, undoButton, redoButton,
    iconButton("paste", t("paste_anything"), () => nb.emit("paste-dialog")),
    iconButton("library", t("card_library"), (event) => nb.library.open(event.currentTarget, libraryHooks)));
  fill(w.element, h("div.bar-edit", {}, switcher, h("span.grow"), tools, add), cardsPane, xml.node, h("div.nb-notes"));

  function setMode(next) {
    mode = next;
    nb.store("mode", mode);
    flush();
    draw(true);
    if (mode === "xml") xml.focus();
  }
  /* Nodes under the pointer are kept, never rebuilt: a click must not lose its target. */
  const switches = [["cards", t("cards")], ["xml", "XML"]].map(([key, label]) => [key, h("button", { type: "button", onclick: () => setMode(key) }, label)]);
  fill(switcher, switches.map(([, button]) => button));
  function drawSwitch() {
    for (const [key, button] of switches) { button.classList.toggle("on", mode === key); button.setAttribute("aria-pressed", String(mode === key)); }
  }

  /* ---- edits ---- */
  function setField(block, field, name, value) {
    const target = block === "general" ? view.general : block === "extra" ? view.extras : view.characters[+block.split(":")[1]];
    const fields = block.startsWith("character") ? target && target.fields : target;
    const found = fields && fields.find((f) => (field >= 0 ? f.index === field : f.name === name));
    if (found) found.value = value;
    else if (fields) fields.push({ index: -1, name, value });
    edit({ op: "field", block, field, name, value }, false);
  }
  function addCharacter() {
    if (view.characters.length >= view.max_characters) { nb.say(t("six_at_most", { n: view.max_characters })); return; }
    edit({ op: "add" }, true);
    focusNext = "character:" + view.characters.length;
  }
  let focusNext = null, focusId = null;
  const structural = (op) => { nb.dice.structure(op, view.characters.length); edit(op, true); };
  function toggleMute(index) {
    doc.muted = doc.muted.includes(index) ? doc.muted.filter((i) => i !== index) : [...doc.muted, index].sort();
    edited = true;
    publish();
    draw();
    flush();
  }
  const libraryHooks = {
    list: () => view.characters.map((c, i) => ({ index: i, name: nameOf(c, i), fields: c.fields })),
    room: () => view.characters.length < view.max_characters,
    insert: (fields) => structural({ op: "add", fields }),
    replace: (index, fields) => structural({ op: "replace", index, fields }),
  };

  const nameOf = (c, i) => c.name || t("character_n", { n: i + 1 });
  const hooks = {
    setField, structural, toggleMute, nameOf, flush,
    isMuted: (i) => doc.muted.includes(i),
    library: (anchor, index) => nb.library.save(libraryHooks.list()[index]),
    setNegative: (value) => { doc.negative = value; edited = edited || !takesBack(); publish(); clearTimeout(timer); timer = setTimeout(flush, 180); },
    negative: () => doc.negative,
    count: () => view.characters.length,
    max: () => view.max_characters || 6,
    compareMuted: (i) => w.trigger("ab", { index: i }),
    focusAfter: (id) => { focusId = id; },
  };

  /* ---- drawing ---- */
  const drawPad = () => pad.draw(view.characters.map((c, i) => ({ number: i + 1, name: nameOf(c, i), cell: c.cell, muted: doc.muted.includes(i) })));
  let shape = "";
  function draw(all) {
    drawSwitch();
    cardsPane.hidden = mode !== "cards";
    xml.node.hidden = mode !== "xml";
    nb.state.view = view;
    nb.state.muted = doc.muted;
    if (mode === "xml") { xml.set(doc.text, view, doc.muted); return; }
    drawPad();
    const now = JSON.stringify([view.characters.map((c) => [c.fields.map((f) => f.name)]), view.general.map((f) => f.name),
      view.extras.map((f) => f.name), doc.muted, nb.state.locks, nb.locale()]);
    if (all || now !== shape) { shape = now; nb.cards.build(cards, view, hooks); } else nb.cards.update(cards, view, hooks);
    nb.cards.portraits(cards, view, doc.muted);
    const card = focusNext && cards.querySelector('[data-block="' + focusNext + '"]');
    if (card) {
      const area = card.querySelector("textarea");
      if (area) area.focus();
      card.scrollIntoView({ block: "nearest" });
      focusNext = null;
    }
    if (focusId) { const node = document.getElementById(focusId); if (node) node.focus(); focusId = null; }
  }

  /* A new value from the server: a restored picture, a pasted text, a link. Undo brings the whole old form back. */
  w.watch("value", () => {
    const value = w.props.value || {};
    if (!value.number) return;
    if (value.filled) {
      history.back.push({ ...snapshot(), form: nb.state.form_before || nb.formNow() });
      history.forward = [];
      keepBefore();
      if (typeof value.text === "string") Object.assign(doc, { text: value.text, muted: [], pending: [] });
      if (typeof value.negative === "string") doc.negative = value.negative;
    }
    // a field that is being typed in keeps its text otherwise
    if (w.element.contains(document.activeElement)) document.activeElement.blur();
    epoch += 1;
    calm = snapshot();
    publish();
    draw(true);
    flush();
    if (value.say) nb.say(value.say, value.filled ? { label: t("undo"), run: undo } : null);
  });
  const fillForm = (event, data) => { nb.state.form_before = nb.formNow(); w.trigger(event, data); };

  nb.on("stage", () => nb.cards.portraits(cards, view, doc.muted));
  nb.on("undo", undo);
  nb.on("redo", redo);
  nb.on("mode", () => setMode(mode === "cards" ? "xml" : "cards"));
  nb.on("add-character", addCharacter);
  nb.on("fix", (finding) => structural({ op: "fix", code: finding.code, message: finding.message, start: finding.start }));
  nb.on("diet", () => structural({ op: "diet" }));
  nb.on("paste", (text) => fillForm("paste", { text }));
  nb.on("example", () => structural({ op: "example" }));
  nb.on("system", () => flush());
  nb.on("collapse", () => draw(true));
  nb.on("goto", (finding) => {
    if (mode === "xml") { xml.select(finding.start, finding.end); return; }
    const card = cards.querySelector('[data-block="' + finding.block + '"]');
    if (card) card.scrollIntoView({ block: "nearest" });
  });

  nb.completion(w.element, w.server.complete);

  const saved = nb.stored("form"), before = nb.stored("before");
  if (saved && typeof saved.text === "string" && !w.props.value.fixed) {
    Object.assign(doc, { text: saved.text, negative: saved.negative || "", muted: Array.isArray(saved.muted) ? saved.muted : [], pending: Array.isArray(saved.pending) ? saved.pending : [] });
  }
  if (before && typeof before.text === "string" && Array.isArray(before.muted) && before.form) history.back.push(before);
  publish();
  draw(true);
  flush();
  /* On the first visit the example is told again, in the words of the model that has turned out to be in use. */
  let fresh = !saved;
  function exampleAgain(pulse) {
    if (!fresh || !pulse || !pulse.model_key) return;
    fresh = false;
    if (doc.text === start.text && !doc.pending.length) edit({ op: "example", quiet: true }, true);
  }
  nb.on("pulse", exampleAgain);
  exampleAgain(nb.state.pulse);
  /* A link is opened when the settings are known, which undo brings back; without a model they never are. */
  let link = new URLSearchParams(location.search).get("r");
  function openLink() {
    if (!link) return;
    fillForm("open", { link });
    link = null;
    window.history.replaceState(null, "", location.pathname);
  }
  nb.on("kept", openLink);
  setTimeout(openLink, 3000);
});

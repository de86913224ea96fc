/* The dock under the editor: what the prompt costs in tokens, what looks wrong in it, Generate. */
nb.define("dock", function (w) {
  "use strict";
  const { h, fill, icon, t, emit } = nb;
  const limits = (w.props.value || {}).limits || { minimum: 1, maximum: 64 };
  let images = Math.min(limits.maximum, Math.max(1, nb.stored("images") || 1)), budget = null, notes = [], error = null, open = false;
  const publish = () => { w.props.value = { images, limits }; };

  const phone = matchMedia("(max-width:780px)");
  const tokens = h("div.tokens"), list = h("div.lint", { role: "status", "aria-live": "polite" }), refusal = h("div.lint", { role: "alert" });
  const text = h("span.gtext"), cost = h("small"), key = h("span.kbd", {}, (/Mac/.test(navigator.platform) ? "⌘" : "Ctrl") + " ↵");
  const plus = icon("add", true);
  const button = h("button.genb", { type: "button", id: "nb-generate", onclick: () => generate() }, plus, text, cost, key);
  const count = h("select", { "aria-label": t("param.images"), title: t("param.images.help"), onchange: () => { images = +count.value; nb.store("images", images); publish(); drawButton(); } },
    [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64].filter((n) => n <= limits.maximum).map((n) => h("option", { value: n }, String(n))));
  if (![...count.options].some((o) => +o.value === images)) images = 1;
  count.value = String(images);
  /* On a phone the picture comes along as a thumbnail when it has scrolled away. */
  const mini = h("button.minithumb", { type: "button", hidden: true, "aria-label": t("show_picture"), onclick: () => document.querySelector("#nb-mid").scrollIntoView({ block: "start" }) });
  const watchPicture = () => {
    const box = document.querySelector("#nb-stage .pic");
    if (!box) { setTimeout(watchPicture, 200); return; }
    new IntersectionObserver((seen) => { mini.dataset.away = String(!seen[0].isIntersecting); drawMini(); }, { threshold: 0.15 }).observe(box);
  };
  function drawMini() {
    const image = document.querySelector("#nb-stage .pic img"), source = image && image.getAttribute("src");
    mini.hidden = mini.dataset.away !== "true" || !source || !phone.matches;
    if (!mini.hidden) mini.style.backgroundImage = "url(" + JSON.stringify(source) + ")";
  }
  const summary = h("button.mp", { type: "button", "aria-haspopup": "dialog", onclick: () => document.body.classList.toggle("nb-sheet") });
  fill(w.element, tokens, list, refusal, summary, h("div.row.gorow", {}, mini, button,
    h("label.num", { title: t("param.images") }, h("span.mut", { "aria-hidden": "true" }, "×"), count, icon("down", true))));

  /* Enter, Ctrl+Enter and the button end here. A second press while the first is on its way does nothing. */
  let pressed = 0;
  function generate() {
    if (Date.now() - pressed < 400) return;
    pressed = Date.now();
    error = null;
    emit("field-error", null);
    drawRefusal();
    w.trigger("generate");
  }

  function drawTokens() {
    if (!budget) { fill(tokens, h("div.row.head", {}, h("h2", {}, t("tokens")), h("span", {}, "")), h("div.bud")); return; }
    const { total, trained, maximum, blocks } = budget, over = total > trained, far = total > maximum;
    const scale = Math.max(trained, total), words = [];
    if (far) words.push(h("b.bad", {}, String(total)), " ", h("span.bad", {}, t("tokens_refused", { max: maximum })));
    else if (over) words.push(h("b.wrn", {}, String(total)), " ", h("span.wrn", {}, t("tokens_over", { trained, n: total - trained })));
    else words.push(h("b", {}, String(total)), " ", h("span.mut", {}, t("tokens_free", { trained, free: trained - total })));
    const label = t("tokens_label", { total, trained, list: blocks.map((b) => blockName(b) + " " + b.tokens).join(", ") });
    let sum = 0;
    const bars = blocks.filter((b) => b.tokens > 0).flatMap((b) => {
      const before = sum, limit = trained;
      sum += b.tokens;
      const kept = Math.max(0, Math.min(b.tokens, limit - before)), cut = b.tokens - kept;
      return [kept ? h("i." + colour(b), { style: { flex: kept } }) : null, cut ? h("i.cut." + colour(b), { style: { flex: cut } }) : null];
    });
    fill(tokens, h("div.row.head", {}, h("h2", {}, t("tokens")), h("span.grow"),
      budget.saves > 0 && (over || budget.saves > 40) ? h("button.link", { type: "button", title: t("diet_help"), onclick: () => emit("diet") }, t("diet", { n: budget.saves })) : null,
      h("span.figure", {}, words)),
      h("div.bud", { role: "img", "aria-label": label }, bars, total < scale ? h("i.rest", { style: { flex: scale - total } }) : null,
        over ? h("u", { style: { left: 100 * trained / scale + "%" }, title: t("trained_mark", { n: trained }) }) : null),
      h("div.leg", {}, blocks.filter((b) => b.tokens > 0).map((b) => h("span", {}, h("span.dot.sm." + colour(b)), blockName(b), " ", String(b.tokens)))));
  }
  const colour = (b) => b.kind === "character" ? "k" + Math.min(6, b.number) : b.kind === "general" ? "kg" : b.kind === "system" ? "ks" : "kx";
  function blockName(b) {
    if (b.kind === "character") return b.name || t("char_short", { n: b.number });
    return t({ general: "general", system: "system", caption: "caption", text: "other_text" }[b.kind] || "other_text");
  }

  function drawNotes() {
    const shown = open ? notes : notes.slice(0, error ? 2 : 3), rows = [];
    for (const note of shown) rows.push(h("div" + (note.level === "info" ? ".inf" : ""), {}, icon(note.level === "info" ? "info" : "warn", true),
      note.number || note.block === "general" ? h("span.dot.sm." + (note.number ? "k" + Math.min(6, note.number) : "kg")) : null,
      h("button.txt.grow", { type: "button", onclick: () => emit("goto", note), title: nb.told(note.message) }, nb.told(note.message)),
      note.fix ? h("button.btn.fix", { type: "button", onclick: () => emit("fix", note) }, nb.told(note.fix)) : null));
    if (notes.length > shown.length) rows.push(h("div.morenotes", {}, h("button.link", { type: "button", onclick: () => { open = true; drawNotes(); } }, t("more_notes", { n: notes.length - shown.length }))));
    else if (open && notes.length > 3) rows.push(h("div.morenotes", {}, h("button.link", { type: "button", onclick: () => { open = false; drawNotes(); } }, t("fewer_notes"))));
    fill(list, rows);
    list.hidden = !rows.length;
  }

  function drawRefusal() {
    const words = error && nb.told(error.message);
    fill(refusal, error && h("div.err", {}, icon("warn", true),
      error.field ? h("button.txt.grow", { type: "button", title: words, onclick: () => emit("goto-field") }, words) : h("span.grow", {}, words)));
    refusal.hidden = !error;
    drawNotes();
  }

  function eta() {
    const preset = nb.state.presets.find((p) => p.name === nb.state.preset) || nb.state.presets.find((p) => p.recommended);
    return preset && preset.seconds ? preset.seconds * images : null;
  }
  function drawButton() {
    const busy = nb.state.jobs.length > 0 || nb.state.following, s = eta();
    plus.style.display = busy ? "" : "none";
    text.textContent = busy ? t("add_to_queue") : t("generate");
    cost.textContent = s ? "≈ " + nb.seconds(s) : "";
    button.title = busy ? t("add_to_queue_help") : t("generate_help");
    const preset = nb.state.presets.find((p) => p.name === nb.state.preset), size = nb.state.size;
    fill(summary, icon("sliders", true), h("b", {}, preset ? nb.told(preset.label) : t("settings_sheet")),
      preset ? h("span", {}, [preset.seconds ? (preset.measured ? "" : "≈ ") + nb.seconds(preset.seconds) : null, preset.gb ? nb.gb(preset.gb) + " GB" : null].filter(Boolean).join(", ")) : null,
      h("span.grow"), size ? h("span", {}, size.width + " × " + size.height) : null, icon("down", true));
  }

  watchPicture();
  nb.on("stage", drawMini);
  /* On a phone the notes stand under the cards, not in the bar. */
  const place = () => { const host = document.querySelector(".nb-notes"); if (phone.matches && host) host.append(list); else if (!w.element.contains(list)) tokens.after(list); };
  phone.addEventListener("change", place);
  setTimeout(place, 0);
  const shade = h("div.nb-shade", { onclick: () => document.body.classList.remove("nb-sheet") });
  document.body.append(shade);

  nb.on("composed", (answer) => { budget = answer.budget; notes = answer.notes || []; drawTokens(); drawNotes(); });
  nb.on("pulse", drawButton);
  nb.on("stage", drawButton);
  nb.on("presets", drawButton);
  nb.on("size", drawButton);
  nb.on("generate", generate);
  nb.on("error", (news) => { error = news; if (news) pressed = 0; drawRefusal(); });
  publish();
  drawTokens();
  drawRefusal();
  drawButton();
});

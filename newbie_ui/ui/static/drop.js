/* A file dropped anywhere, or pasted text: the recipe goes into the form. The file itself travels through Gradio's own
   upload (the hidden file component), which checks where it lies; what it holds is read and checked in Python. */
(function () {
  "use strict";
  const { h, icon, t, emit } = nb;
  let depth = 0, overlay = null;
  const isFile = (event) => event.dataTransfer && [...event.dataTransfer.types].includes("Files");
  const input = () => document.querySelector("#nb-file input[type=file]");

  function send(file) {
    const field = input();
    if (!field) return;
    const transfer = new DataTransfer();
    transfer.items.add(file);
    field.files = transfer.files;
    field.dispatchEvent(new Event("change", { bubbles: true }));
  }
  function show(on) {
    if (!overlay) {
      overlay = h("div.nb-drop", { "aria-hidden": "true" }, h("div", {}, icon("paste"), h("b", {}, t("drop_title")), h("p", {}, t("drop_help"))));
      document.body.append(overlay);
    }
    overlay.classList.toggle("on", on);
  }
  addEventListener("dragenter", (event) => { if (isFile(event)) { depth += 1; show(true); event.preventDefault(); } });
  addEventListener("dragover", (event) => { if (isFile(event)) event.preventDefault(); });
  addEventListener("dragleave", (event) => { if (isFile(event)) { depth = Math.max(0, depth - 1); if (!depth) show(false); } });
  addEventListener("drop", (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    depth = 0;
    show(false);
    if (event.dataTransfer.files.length) send(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => {
    const target = event.target, files = event.clipboardData && event.clipboardData.files;
    if (files && files.length && /^image\//.test(files[0].type)) { event.preventDefault(); send(files[0]); return; }
    if (target && /^(INPUT|TEXTAREA)$/.test(target.tagName)) {
      const text = event.clipboardData.getData("text");
      if (target.dataset.complete === "tags" && /<character|<general_tags|"char_captions"|Negative prompt:|\bBREAK\b/i.test(text)) { event.preventDefault(); emit("paste", text); }
    }
  });
  document.addEventListener("change", (event) => { if (event.target.closest("#nb-file")) nb.state.form_before = nb.formNow(); }, true);
  nb.on("open-file", () => { const field = input(); if (field) field.click(); });

  /* "Paste anything": a box for text of any kind, and the way to a file. */
  let dialog = null;
  nb.on("paste-dialog", () => {
    if (dialog) dialog.remove();
    const area = h("textarea", { rows: 12, spellcheck: "false", "aria-label": t("paste_anything"), placeholder: t("paste_placeholder"), maxlength: 100000 });
    dialog = h("dialog.nb-help.paste", { "aria-label": t("paste_anything") }, h("div.row.head", {}, h("h2", {}, t("paste_anything")), h("span.grow"), nb.iconButton("close", t("close"), () => dialog.close())), area,
      h("div.row", {}, h("button.btn", { type: "button", onclick: () => { dialog.close(); emit("open-file"); } }, t("open_picture")), h("span.grow"),
        h("button.btn.acc", { type: "button", onclick: () => { dialog.close(); if (area.value.trim()) emit("paste", area.value); } }, t("take_over"))));
    document.body.append(dialog);
    dialog.showModal();
    area.focus();
  });

  /* The value of a fold at the right end of its head. */
  nb.on("fold", (fold) => { const label = document.querySelector("#" + fold.id + " > button.label-wrap, #" + fold.id + " button.label-wrap"); if (label) label.dataset.value = fold.text; });

  /* Settings of the form, kept in this browser: for the model they were made for. */
  nb.keep = (values) => { nb.state.knobs = values; drawFolds(values); if (nb.state.kept && nb.state.pulse) nb.store("settings", { model: nb.state.pulse.model_key || "", values }); nb.emit("settings", values); return []; };
  nb.kept = (size, values) => {
    const saved = nb.stored("settings"), before = nb.state.base || values, model = nb.state.pulse && nb.state.pulse.model_key;
    const good = saved && Array.isArray(saved.values) && saved.values.length === values.length && saved.model === model;
    const base = good ? saved.values : size.knobs || values;
    nb.state.kept = true;
    nb.state.base = base;
    nb.state.defaults = size.knobs || nb.state.defaults;
    nb.state.knobs = values.map((value, i) => (value !== before[i] || typeof base[i] !== typeof value ? value : base[i]));
    drawFolds(nb.state.knobs);
    emit("kept");
    return nb.state.knobs;
  };
  /* The knobs come in the order of the page: two sliders, those of sampling, the system prompt last. */
  function drawFolds(values) {
    const defaults = nb.state.defaults, last = values.length - 1;
    if (values[last] !== nb.state.system) { nb.state.system = values[last]; nb.emit("system"); }
    if (!defaults) return;
    const changed = (from, to) => values.slice(from, to).some((value, i) => value !== defaults[from + i]);
    nb.emit("fold", { id: "nb-fold-system", text: changed(last) ? t("changed") : t("default") });
    nb.emit("fold", { id: "nb-fold-sampling", text: changed(2, last) ? t("changed") : t("default") });
  }
  /* The whole form but its text, to be brought back by undo. */
  const knobsNow = () => nb.state.knobs || (nb.stored("settings") || {}).values || nb.state.base;
  nb.formNow = () => ({ knobs: knobsNow(), size: nb.state.size, seed: nb.stored("seed") || "", loras: nb.stored("loras") || [] });
  nb.on("unfill", (form) => { nb.state.unfilled = form.knobs; });
  nb.unfilled = () => nb.state.unfilled;
})();

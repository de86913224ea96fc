/* The right column's own widgets: presets, size, seed, LoRA, queue. Sliders and folds there are Gradio's. */

/* Presets: what each costs on this machine; those that cannot fit say why and stay readable. */
nb.define("presets", function (w) {
  "use strict";
  const { h, fill, icon, t, emit } = nb;
  let v = w.props.value || { choices: [] };
  let selected = nb.stored("preset") || v.selected || "auto";

  function usable() {
    const fits = v.choices.filter((c) => c.fits);
    if (!fits.some((c) => c.name === selected)) selected = (fits.find((c) => c.recommended) || fits[0] || { name: "auto" }).name;
  }
  function publish() {
    usable();
    w.props.value = { ...v, selected };
    nb.state.presets = v.choices;
    Object.assign(nb.state.labels, v.labels, Object.fromEntries(v.choices.map((c) => [c.name, c.label])));
    nb.state.preset = selected;
    emit("presets");
  }
  function choose(name, focus) {
    const choice = v.choices.find((c) => c.name === name);
    if (!choice || !choice.fits) return;
    selected = name;
    nb.store("preset", choice.recommended ? null : name);
    publish();
    draw();
    if (focus) { const on = w.element.querySelector(".pr.on"); if (on) on.focus(); }
  }
  function draw() {
    const device = v.device_gb || Math.max(...v.choices.map((c) => c.gb || 0), 1), measured = v.choices.some((c) => c.measured);
    const rows = v.choices.map((c) => {
      const on = c.name === selected, quantity = "span.q" + (c.measured ? "" : ".est");
      const figure = (value, unit) => (value === null || value === undefined ? "" : (c.measured ? "" : "≈ ") + unit(value));
      return h("div.pr" + (on ? ".on" : "") + (c.fits ? "" : ".off"), {
        role: "radio", "aria-checked": String(on), "aria-disabled": c.fits ? null : "true", tabindex: on || !v.choices.some((x) => x.name === selected) ? "0" : "-1", "data-name": c.name,
        onclick: () => choose(c.name, false), onkeydown: (event) => arrows(event, c.name),
      }, h("span.ra"), h("span.pn", {}, h("b", {}, nb.told(c.label))),
      c.fits ? [h(quantity, {}, figure(c.seconds, nb.seconds)), h(quantity, {}, figure(c.gb, (x) => nb.gb(x) + " GB")), h("span"), h("span.d", { title: nb.told(c.summary) }, c.recommended ? h("span.tag", {}, t("best_fit")) : null, nb.told(c.summary)), h("span.mb", {}, h("i", { style: { width: Math.min(100, 100 * (c.gb || 0) / device) + "%" } }))]
        : h("span.why", { title: nb.told(c.reason) }, nb.told(c.reason)));
    });
    fill(w.element, h("div.sechd", {}, h("h2", { id: "nb-preset-h" }, t("param.preset")), h("span.cap", {}, measured ? t("measured_here") : t("not_measured_yet"))),
      v.choices.length ? h("div.card.prs", { role: "radiogroup", "aria-labelledby": "nb-preset-h" }, rows) : h("div.card.hollow", {}, t("presets_loading")));
  }
  function arrows(event, name) {
    const fits = v.choices.filter((c) => c.fits).map((c) => c.name), step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (step) { event.preventDefault(); choose(fits[(fits.indexOf(name) + step + fits.length) % fits.length], true); }
    if (event.key === " " || event.key === "Enter" && !event.ctrlKey && !event.metaKey) { event.preventDefault(); choose(name, true); }
  }
  w.watch("value", () => {
    const next = w.props.value || { choices: [] };
    if (next.force) { selected = next.selected; nb.store("preset", selected); }
    v = { choices: next.choices, device_gb: next.device_gb };
    publish();
    draw();
  });
  nb.on("picture-done", () => w.trigger("stale"));
  publish();
  draw();
});

/* Size: the model's own sizes as shapes, any other in two fields. Shapes and fields are kept while the model stays. */
nb.define("sizes", function (w) {
  "use strict";
  const { h, fill, t, emit } = nb;
  let v = w.props.value || { sizes: [], width: null, height: null }, custom = false, shapes = "";
  const saved = nb.stored("size"), fields = { width: input("width"), height: input("height") };
  nb.state.base = v.knobs;

  const said = h("span.cap"), chips = h("div.asp", { role: "group", "aria-label": t("size") });
  const other = h("button.wide", { type: "button", title: t("custom_size"), onclick: () => { custom = !custom; draw(); } }, t("custom"));
  const swap = h("button.btn", { type: "button", title: t("swap_sides"), "aria-label": t("swap_sides"), onclick: () => set(v.height, v.width) }, "⇄");
  const row = h("div.row.wh", {}, fields.width, h("span.mut", { "aria-hidden": "true" }, "×"), fields.height, swap);
  fill(w.element, h("div.sechd", {}, h("h2", {}, t("picture")), said), chips, row);

  /* An empty field goes back to what it was; what the model cannot do is refused in words when pictures are asked for. */
  function input(name) {
    const field = h("input.in.mono", { id: "nb-p-" + name, type: "number", inputmode: "numeric", min: v.limits.minimum, max: v.limits.maximum, step: v.limits.step, "aria-label": t("param." + name) });
    field.addEventListener("change", () => {
      if (field.value === "") { field.value = v[name] || ""; return; }
      custom = true;
      set(fields.width.value, fields.height.value);
    });
    field.addEventListener("blur", draw);
    return field;
  }
  function publish(tell) {
    w.props.value = { ...v };
    nb.state.size = v.width && v.height ? { width: +v.width, height: +v.height } : null;
    emit("size", nb.state.size);
    if (!tell) return;
    nb.store("size", { width: v.width, height: v.height, model: nb.state.pulse && nb.state.pulse.model_key });
    for (const name in fields) emit("mended", name);
    w.trigger("resized");
  }
  function set(width, height) { v = { ...v, width, height }; publish(true); draw(); }
  const is = (s) => s[0] === +v.width && s[1] === +v.height;
  function shape(s) {
    const largest = Math.max(...v.sizes.flat()), scale = 16 / Math.max(...s) * (0.62 + 0.38 * Math.max(...s) / largest);
    const [width, height] = s.map((side) => Math.max(5, side * scale) + "px");
    return h("button", { type: "button", "aria-label": t("size_label", { w: s[0], h: s[1] }), title: s[0] + " × " + s[1], onclick: () => { custom = false; set(...s); } },
      h("i", { style: { width, height } }));
  }
  function mark(button, on) { button.classList.toggle("on", on); button.setAttribute("aria-pressed", String(on)); }
  function draw() {
    const now = JSON.stringify(v.sizes), open = custom || v.sizes.length > 0 && !v.sizes.some(is);
    if (now !== shapes) {
      shapes = now;
      fill(chips, v.sizes.map(shape), other);
      chips.classList.toggle("many", v.sizes.length > 6);
    }
    v.sizes.forEach((s, i) => mark(chips.children[i], is(s)));
    mark(other, open);
    other.setAttribute("aria-expanded", String(open));
    said.textContent = v.width && v.height ? v.width + " × " + v.height : "";
    row.hidden = !open;
    for (const name in fields) if (fields[name] !== document.activeElement) fields[name].value = v[name] || "";
  }
  w.watch("value", () => {
    const next = w.props.value;
    if (!next) return;
    v = { limits: v.limits, ...next };
    if (next.fresh && saved && saved.model === next.model_key && saved.width) { v.width = saved.width; v.height = saved.height; }
    delete v.fresh;
    publish(false);
    draw();
  });
  nb.on("unfill", (form) => { if (form.size) { v = { ...v, ...form.size }; publish(true); draw(); } });
  publish(false);
  draw();
});

/* Seed: empty is random. 64 bit is more than a JavaScript number holds, so it stays text. */
nb.define("seed", function (w) {
  "use strict";
  const { h, fill, icon, t } = nb;
  let seed = nb.stored("seed") || "";
  const input = h("input.in.mono.grow", { id: "nb-p-seed", inputmode: "numeric", autocomplete: "off", placeholder: t("random"), maxlength: 60, "aria-label": t("param.seed"), title: t("param.seed.help"),
    oninput: () => { set(input.value); } });
  function set(value) { seed = String(value).trim(); w.props.value = seed; nb.store("seed", seed || null); if (input.value.trim() !== seed) input.value = seed; reuse.disabled = !used(); nb.emit("mended", "seed"); }
  const used = () => nb.state.seed_used;
  const reuse = h("button.btn", { type: "button", title: t("reuse_help"), onclick: () => { if (used()) set(used()); } }, t("reuse"));
  fill(w.element, h("div.pm.seed", {}, h("label", { for: "nb-p-seed" }, t("param.seed")), h("div.row.tight", {}, input,
    h("button.btn.sq", { type: "button", "aria-label": t("random_seed"), title: t("random_seed"), onclick: () => set("") }, icon("dice", true)), reuse)));
  w.watch("value", () => {
    const next = w.props.value;
    if (next === null || next === undefined) w.props.value = seed; // what the page begins with says nothing
    else if (String(next) !== seed) set(next);
  });
  nb.on("stage", () => { reuse.disabled = !used(); });
  nb.on("random-seed", () => set(""));
  nb.on("unfill", (form) => set(form.seed));
  set(seed);
});

/* The number beside one of Gradio's sliders: in range before Gradio hears that it was left; empty goes back. */
(function () {
  "use strict";
  const field = (event) => (event.target.matches && event.target.matches("#nb-right .nb-row input[type=number]") ? event.target : null);
  let former = "";
  function settle(input) {
    const value = input.value === "" ? former : String(Math.min(+input.max, Math.max(+input.min, +input.step % 1 ? +input.value : Math.round(input.value))));
    if (value !== "" && value !== input.value) { input.value = value; input.dispatchEvent(new Event("input", { bubbles: true })); }
  }
  document.addEventListener("focus", (event) => { if (field(event)) former = event.target.value; }, true);
  document.addEventListener("blur", (event) => { if (field(event)) settle(event.target); }, true);
  document.addEventListener("keydown", (event) => { if (event.key === "Enter" && field(event)) settle(event.target); }, true);
})();

/* LoRA: add-on models from the folder, each with a weight. A fold of its own. */
nb.define("loras", function (w) {
  "use strict";
  const { h, fill, iconButton, t } = nb;
  let v = w.props.value || { names: [], uses: [] }, open = false;
  v.uses = nb.stored("loras") || v.uses || [];
  const publish = () => { w.props.value = { names: v.names, uses: v.uses.map((u) => ({ ...u })) }; nb.store("loras", v.uses.length ? v.uses : null); nb.emit("mended", "loras"); };
  function row(u, i) {
    const gone = !v.names.includes(u.name), set = (value) => { if (value !== "") u.weight = Math.min(4, Math.max(-4, +value)); number.value = u.weight; slider.value = u.weight; paint(); publish(); };
    const number = h("input.in", { type: "number", min: -4, max: 4, step: 0.05, value: u.weight, "aria-label": t("weight_of", { name: u.name }), onchange: () => set(number.value) });
    const slider = h("input", { type: "range", min: -1, max: 2, step: 0.05, value: u.weight, "aria-label": t("weight_of", { name: u.name }), oninput: () => set(slider.value) });
    const paint = () => slider.style.setProperty("--range_progress", 100 * (+slider.value + 1) / 3 + "%");
    paint();
    return h("div.lora" + (gone ? ".gone" : ""), {}, h("span.ln", { title: u.name }, u.name), iconButton("close", t("remove"), () => { v.uses.splice(i, 1); publish(); draw(); }, { small: true }), gone ? h("small", {}, t("lora_gone")) : slider, number);
  }
  function draw() {
    const free = v.names.filter((n) => !v.uses.some((u) => u.name === n));
    const choice = h("select.in", { "aria-label": t("add_lora"), onchange: () => { if (choice.value) { v.uses.push({ name: choice.value, weight: 1 }); publish(); draw(); } } },
      h("option", { value: "" }, t("add_lora")), free.map((n) => h("option", { value: n }, n)));
    fill(w.element, h("button.foldh", { type: "button", "aria-expanded": String(open), "data-value": v.uses.length ? String(v.uses.length) : t("none"), onclick: () => { open = !open; draw(); } }, t("param.loras")),
      open ? h("div.foldb", {}, v.uses.map(row), v.names.length ? choice : h("p.cap", {}, t("no_loras"))) : null, h("div", { id: "nb-p-loras" }));
  }
  w.watch("value", () => { const next = w.props.value || {}; v = { names: next.names || v.names, uses: next.force ? next.uses || [] : v.uses }; publish(); draw(); });
  nb.on("unfill", (form) => { v.uses = form.loras; publish(); draw(); });
  publish();
  draw();
});

/* Queue: what waits, in order. Drag or arrow keys reorder; the cross takes a job out. Rows keep their nodes while they
   live, so that a click is never lost to a change of the figures. */
nb.define("queue", function (w) {
  "use strict";
  const { h, fill, icon, iconButton, t, emit } = nb;
  const rows = new Map();
  let dragged = null, waiting = [];
  const send = async (message) => { await w.server.control(message); emit("ask"); };
  const count = h("span.mut"), clear = h("button.link", { type: "button", onclick: async () => { for (const job of waiting) await w.server.control({ job: job.id, action: "cancel" }); emit("ask"); } }, t("clear"));
  const none = h("span.cap", {}, t("empty")), list = h("div.card.qs", { role: "list", "aria-label": t("queue") }), help = h("div.card.hollow", {}, t("queue_help")), after = h("p.cap.after");
  fill(w.element, h("div.sechd", {}, h("h2", {}, t("queue"), " ", count), clear, none), list, help, after);

  function make(id) {
    const place = () => waiting.findIndex((job) => job.id === id);
    const grip = h("button.grip", { type: "button", draggable: "true", title: t("drag_to_move") }, icon("grip", true));
    grip.addEventListener("keydown", (event) => {
      const to = { ArrowUp: place() - 1, ArrowDown: place() + 1 }[event.key];
      if (to !== undefined && to >= 0) { event.preventDefault(); send({ job: id, action: "move", position: to }); }
    });
    grip.addEventListener("dragstart", (event) => { dragged = id; event.dataTransfer.effectAllowed = "move"; event.dataTransfer.setData("text/newbie-job", id); });
    const dots = h("span.dots", { "aria-hidden": "true" }), title = h("span"), detail = h("small"), when = h("span.sec");
    const node = h("div.qr", { role: "listitem" }, grip, dots, h("span.ttl", {}, title, detail), when, iconButton("close", t("remove_from_queue"), () => send({ job: id, action: "cancel" }), { small: true }));
    node.addEventListener("dragover", (event) => { if (dragged) { event.preventDefault(); node.classList.add("over"); } });
    node.addEventListener("dragleave", () => node.classList.remove("over"));
    node.addEventListener("drop", (event) => { event.preventDefault(); event.stopPropagation(); node.classList.remove("over"); if (dragged && dragged !== id) send({ job: dragged, action: "move", position: place() }); dragged = null; });
    return { node, grip, dots, title, detail, when };
  }
  function draw() {
    waiting = (nb.state.jobs || []).filter((job) => job.state === "queued");
    for (const [id, row] of rows) if (!waiting.some((job) => job.id === id)) { row.node.remove(); rows.delete(id); }
    waiting.forEach((job, i) => {
      if (!rows.has(job.id)) rows.set(job.id, make(job.id));
      const row = rows.get(job.id);
      if (list.children[i] !== row.node) {
        const focused = document.activeElement === row.grip;
        list.insertBefore(row.node, list.children[i] || null);
        if (focused) row.grip.focus();
      }
      row.grip.setAttribute("aria-label", t("move_job", { n: i + 1 }));
      if (row.dots.childElementCount !== Math.min(6, job.characters)) fill(row.dots, Array.from({ length: Math.min(6, job.characters) }, (_, k) => h("span.dot.k" + (k + 1))));
      row.title.textContent = job.title;
      row.detail.textContent = [job.preset && nb.parts.presetName(job.preset), job.detail].filter(Boolean).join(", ");
      row.when.textContent = job.wait !== null && job.wait !== undefined ? t("in_time", { time: nb.clock(job.wait) }) : "";
    });
    const any = waiting.length > 0, last = waiting[waiting.length - 1];
    count.textContent = any ? t("n_waiting", { n: waiting.length }) : "";
    clear.hidden = list.hidden = !any;
    none.hidden = help.hidden = any;
    after.textContent = any && last.wait && last.seconds ? t("all_done_in", { time: nb.clock(last.wait + last.seconds) }) : "";
  }
  nb.on("pulse", draw);
  draw();
});

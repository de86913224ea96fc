/* X/Y grid: a fold with two axis pickers, the total beforehand, and the run as a small picture of the grid itself.
   The server checks what is typed; the run belongs to it, so a page that is opened later shows it as well. */
nb.define("grid", function (w) {
  "use strict";
  const { h, fill, icon, iconButton, t, emit } = nb;
  const empty = () => ({ id: "", text: "" });
  const kept = nb.stored("grid") || {};
  let sides = { x: { ...empty(), ...kept.x }, y: { ...empty(), ...kept.y } };
  let open = false, axes = [], total = null, error = null, run = null, seen = "", timer = 0, asking = false;

  const publish = () => { w.props.value = { x: { ...sides.x }, y: { ...sides.y } }; };
  const keep = () => { nb.store("grid", sides.x.id || sides.y.id ? sides : null); publish(); };

  /* ---- words ---- */
  const known = (key, otherwise) => { const word = t(key); return word === key ? otherwise : word; };
  const fieldName = (axis) => known("field_" + axis.field, axis.field.replaceAll("_", " "));
  function axisName(axis) {
    if (axis.group === "character") return axis.number + " · " + fieldName(axis);
    if (axis.group === "general") return t("general") + " · " + fieldName(axis);
    if (axis.group === "extra") return fieldName(axis);
    if (axis.id === "size") return t("grid_size");
    if (axis.id === "replace") return t("grid_text");
    if (axis.id.startsWith("lora:")) return t("grid_lora", { name: axis.id.slice(5) });
    return known("param." + axis.id, axis.label);
  }
  function groupName(axis) {
    if (axis.group === "character") return t("character_n", { n: axis.number });
    if (axis.group === "general") return t("general_tags");
    if (axis.group === "extra") return t("also_in_prompt");
    return t("grid_group_" + axis.group);
  }
  const axisOf = (id) => axes.find((a) => a.id === id);
  const clock = (s) => (s < 5400 ? nb.clock(s) : nb.seconds(s));

  /* ---- frame: built once, so that nothing under the pointer or the caret is replaced ---- */
  const head = h("button.foldh", { type: "button", "aria-expanded": "false", onclick: () => { open = !open; draw(); if (open) check(0); } }, t("grid"));
  const parts = { x: side("x", t("grid_columns")), y: side("y", t("grid_rows")) };
  const sum = h("span.grow", { role: "status" }), whole = h("p.nb-err", { role: "alert", hidden: true });
  const swap = iconButton("undo", t("grid_swap"), () => { sides = { x: sides.y, y: sides.x }; keep(); drawSides(true); check(0); }, { small: true, class: "swap" });
  fill(swap, "⇄");
  const make = h("button.btn.acc", { type: "button", onclick: () => { error = null; drawTotal(); w.trigger("run"); } }, icon("tiles", true), t("grid_run"));
  const form = h("div.gform", {}, parts.x.node, parts.y.node, h("div.row.gsum", {}, sum, swap), whole, h("div.row", {}, make));
  const board = h("section.grun", { hidden: true, "aria-label": t("grid") });
  const body = h("div.foldb", {}, form, board);
  fill(w.element, head, body);

  function side(name, label) {
    const chosen = h("select.in", { id: "nb-grid-" + name, onchange: () => { sides[name] = { id: chosen.value, text: sides[name].id === chosen.value ? sides[name].text : "" }; keep(); drawSides(true); check(0); if (chosen.value) text.focus(); } });
    const text = h("textarea.in.gtext", { rows: 1, maxlength: 20000, spellcheck: "false", autocomplete: "off", "aria-describedby": "nb-grid-how-" + name, oninput: () => { sides[name].text = text.value; keep(); check(350); } });
    const how = h("p.cap", { id: "nb-grid-how-" + name });
    const node = h("div.gside", {}, h("label", { for: "nb-grid-" + name }, label), h("span.gsel", {}, chosen, icon("down", true)), text, how);
    return { node, chosen, text, how, options: "" };
  }

  function drawSides(force) {
    for (const name of ["x", "y"]) {
      const part = parts[name], now = sides[name], axis = axisOf(now.id), mine = error && error.side === name;
      const options = JSON.stringify([axes.map((a) => a.id), now.id && !axis ? now.id : ""]);
      if (options !== part.options) { part.options = options; fill(part.chosen, choices(name, now.id)); }
      part.chosen.value = now.id;
      part.text.hidden = part.how.hidden = !now.id;
      if (force || document.activeElement !== part.text) { if (part.text.value !== now.text) part.text.value = now.text; }
      part.text.placeholder = axis ? axis.example : "";
      part.text.setAttribute("aria-label", t("grid_values_of", { axis: axis ? axisName(axis) : t("grid_values") }));
      part.text.setAttribute("aria-invalid", String(Boolean(mine && now.text)));
      part.how.textContent = mine && now.text ? nb.told(error.message) : axis ? t("grid_how_" + axis.kind) : "";
      part.how.classList.toggle("bad", Boolean(mine && now.text));
    }
  }
  function choices(name, id) {
    const groups = new Map();
    for (const axis of axes) { const group = groupName(axis); if (!groups.has(group)) groups.set(group, []); groups.get(group).push(axis); }
    return [h("option", { value: "" }, name === "x" ? t("grid_vary") : t("grid_no_rows")),
      id && !axisOf(id) && axes.length ? h("option", { value: id }, id.replaceAll(":", " · ") + " (" + t("grid_gone") + ")") : id && !axes.length ? h("option", { value: id }, "…") : null,
      [...groups].map(([label, rows]) => h("optgroup", { label }, rows.map((a) => h("option", { value: a.id }, axisName(a)))))];
  }

  function drawTotal() {
    const busy = run && run.active, typed = sides.x.id && sides.x.text.trim();
    if (total && total.pictures === 1) fill(sum, h("b", {}, t("grid_one")));
    else if (total) {
      const words = total.seconds === null ? "grid_total_unknown" : total.measured ? "grid_total" : "grid_total_estimate";
      fill(sum, h("b", {}, total.columns + " × " + total.rows), " · ", t(words, { n: total.pictures, time: total.seconds === null ? "" : clock(total.seconds) }));
    } else fill(sum, h("span.mut", {}, !typed ? t(sides.x.id ? "grid_fill" : "grid_choose") : error ? "" : t("grid_checking")));
    whole.hidden = !error || Boolean(error.side && sides[error.side] && sides[error.side].text);
    whole.textContent = whole.hidden ? "" : nb.told(error.message);
    make.disabled = !total || busy;
    const words = busy ? t("grid_progress", { k: run.done + run.failed, n: run.total }) : total ? total.columns + " × " + total.rows : t("grid_off");
    head.dataset.value = words;
  }

  /* ---- the run ---- */
  let boardKey = "", tiles = [], bar = null, line = null, actions = null;
  function buildBoard() {
    const columns = run.columns.length;
    tiles = run.cells.map(() => h("button.gcell", { type: "button" }));
    bar = h("i");
    line = h("span.grow", { role: "status" });
    actions = h("div.row");
    fill(board, h("div.gtiles", { style: { "--n": columns } }, tiles),
      h("div.bar", { role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": t("grid_of", { title: run.title }) }, bar),
      h("div.row.gline", {}, line, actions));
  }
  function drawBoard() {
    board.hidden = !run;
    if (!run) return;
    if (boardKey !== run.id) { boardKey = run.id; buildBoard(); }
    const columns = run.columns.length;
    run.cells.forEach((cell, i) => {
      const node = tiles[i], key = cell.state + cell.picture;
      if (node.dataset.key === key) return;
      node.dataset.key = key;
      const where = [run.columns[i % columns], run.rows[Math.floor(i / columns)]].filter(Boolean).join(", ").slice(0, 120);
      const state = nb.told(cell.note) || t("grid_cell_" + cell.state.replace(" ", "_"));
      node.className = "gcell " + cell.state.replace(" ", "-");
      node.title = where + ": " + state;
      node.setAttribute("aria-label", t("grid_cell", { where, state }));
      node.disabled = !cell.picture;
      node.onclick = cell.picture ? () => emit("pick", cell.picture) : null;
      fill(node, cell.picture ? h("img", { src: nb.thumb(cell.picture), alt: "", loading: "lazy" }) : cell.state === "failed" ? icon("warn", true) : null);
    });
    const percent = Math.round(100 * run.progress);
    bar.style.width = percent + "%";
    bar.parentNode.setAttribute("aria-valuenow", percent);
    bar.parentNode.hidden = !run.active;
    const failed = run.failed ? ", " + t("grid_failed_n", { n: run.failed }) : "";
    const words = run.state === "drawing" ? t("grid_drawing") : run.state === "stopping" ? t("grid_stopping")
      : run.active ? t("grid_progress", { k: run.done + run.failed, n: run.total }) + failed + (run.eta === null ? "" : ", " + t("grid_left", { time: clock(Math.ceil(run.eta)) }))
        : nb.told(run.message) || (run.state === "stopped" ? t("stopped_after", { k: run.done, n: run.total }) : t("grid_made", { k: run.done, n: run.total })) + failed;
    if (line.textContent !== words) line.textContent = words;
    line.classList.toggle("bad", Boolean(run.message));
    const now = run.active ? "stop" + (run.state === "running") : run.sheet;
    if (actions.dataset.now !== now) {
      actions.dataset.now = now;
      fill(actions, run.active ? h("button.btn", { type: "button", disabled: run.state !== "running", onclick: async () => { take(await w.server.stop({ id: run.id })); emit("ask"); } }, icon("stop", true), t("grid_stop"))
        : run.sheet ? h("button.btn", { type: "button", onclick: () => nb.viewer.open(run.sheet, [run.sheet]) }, icon("full", true), t("grid_open")) : null);
    }
  }
  function take(news) {
    const before = run;
    run = news || null;
    drawBoard();
    drawTotal();
    if (run && before && before.id === run.id && before.active && !run.active) ended();
  }
  function ended() {
    if (run.sheet && !nb.state.jobs.length) emit("pick", run.sheet);
    nb.say(run.message || (run.state === "stopped" ? t("stopped_after", { k: run.done, n: run.total }) : t("grid_done")), run.sheet ? { label: t("grid_open"), run: () => nb.viewer.open(run.sheet, [run.sheet]) } : null);
    check(0);
  }
  async function look() {
    clearTimeout(timer);
    if (asking) return;
    asking = true;
    try { take(await w.server.standing({})); } catch (problem) { console.warn("newbie_ui: grid", problem); }
    asking = false;
    if (run && run.active && !document.hidden) timer = setTimeout(look, 1000);
  }

  /* ---- talking to the server ---- */
  /* One check at a time; what was typed meanwhile is checked when the answer is there. */
  let typing = 0, lost = 0, checking = false, stale = false;
  function check(delay, quiet) {
    clearTimeout(typing);
    if (!open) return;
    if (delay && !quiet) { total = null; error = null; drawSides(false); drawTotal(); }
    typing = setTimeout(ask, delay);
  }
  function ask() {
    if (checking) { stale = true; return; }
    checking = true;
    clearTimeout(lost);
    lost = setTimeout(() => { checking = false; ask(); }, 8000); // a call that got lost, say while the server was starting
    w.trigger("check");
  }
  function answered(news) {
    clearTimeout(lost);
    checking = false;
    axes = news.axes;
    if (stale) { stale = false; ask(); return; }
    error = news.error;
    total = news.total;
  }
  w.watch("value", () => {
    const news = w.props.value || {};
    publish();
    if (news.axes) answered(news);
    else if ("error" in news) error = news.error;
    if (news.started) { take(news.run); emit("ask"); look(); board.scrollIntoView({ block: "nearest" }); }
    draw();
  });
  function draw() {
    head.setAttribute("aria-expanded", String(open));
    body.hidden = !open;
    drawSides(false);
    drawTotal();
  }
  const again = () => check(300, true); // the form changed, or a picture has told what it cost
  for (const event of ["size", "presets", "settings", "composed"]) nb.on(event, again);
  let known_jobs = 0, first = true;
  nb.on("pulse", () => {
    const jobs = nb.state.jobs.length;
    if (first || jobs || known_jobs || run && run.active) look();
    first = false;
    known_jobs = jobs;
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden && run && run.active) look(); });
  publish();
  draw();
});

/* The middle: the picture in a box whose shape is known from the first paint, its tools beside it, and one slot of fixed
   height below it that is stats, progress or loading. Then the recent pictures. Nothing here ever moves anything else. */
nb.define("stage", function (w) {
  "use strict";
  const { h, fill, icon, iconButton, t, emit } = nb;
  let v = w.props.value || {}, recent = [], last = null, favourite = false;
  const gone = new Set();

  const image = h("img", { alt: "", decoding: "async" }), badge = h("span.pv"), progress = h("i"), bar = h("div.pb", { hidden: true }, progress);
  const empty = h("div.emp"), box = h("div.pic", {}, image, empty, badge, bar);
  const tools = h("div.tools", { role: "toolbar", "aria-label": t("picture_tools"), "aria-orientation": "vertical" });
  const slot = h("section.card.slot", { "aria-label": t("what_it_cost") }), strip = h("div.strip", { role: "group", "aria-label": t("recent_pictures") });
  fill(w.element, h("div.stage", {}, box, tools), slot, strip);

  /* ---- the picture ---- */
  function drawPicture() {
    const [width, height] = v.size || sizeWanted();
    box.style.setProperty("--ar", width + " / " + height);
    box.style.setProperty("--arn", String(width / height));
    const source = v.preview || (v.picture ? nb.picture(v.picture) : "");
    if (source) {
      if (image.getAttribute("src") !== source) image.setAttribute("src", source);
    } else image.removeAttribute("src");
    image.hidden = !source;
    image.alt = v.preview ? t("preview_alt") : v.alt || "";
    empty.hidden = Boolean(source) || v.state === "running" || v.state === "queued";
    box.classList.toggle("blank", !source);
    badge.hidden = !v.preview;
    badge.textContent = v.preview ? (v.pictures > 1 ? t("preview_of", { step: v.step, k: v.index + 1, n: v.pictures }) : t("preview_step", { step: v.step })) : "";
    bar.hidden = v.state !== "running";
    progress.style.width = 100 * (v.fraction || 0) + "%";
    if (!empty.hidden) drawEmpty();
  }
  function sizeWanted() { const s = nb.state.size; return s ? [s.width, s.height] : v.default_size || [1, 1]; }
  function drawEmpty() {
    const view = nb.state.view, cards = (view ? view.characters.map((c, i) => i + 1) : []).filter((n) => !(nb.state.muted || []).includes(n - 1)), count = cards.length;
    fill(empty, h("div.dots", {}, cards.map((n) => h("span.dot.big.k" + n, {}, String(n)))),
      h("b", {}, count > 1 ? t("ready_many", { n: count }) : count ? t("ready_one") : t("ready_none")), h("p", {}, t("press_generate")),
      h("div.row", {}, h("button.btn", { type: "button", onclick: () => emit("example") }, t("load_example")),
        h("button.btn", { type: "button", onclick: () => emit("open-file") }, t("open_picture"))));
  }

  /* ---- tools ---- */
  let toolsNow = "";
  function drawTools() {
    const now = JSON.stringify([v.picture, Boolean(v.preview), favourite, recent.length < 2]);
    if (now === toolsNow) return;
    toolsNow = now;
    const none = !v.picture || Boolean(v.preview), button = (name, label, run, options) => iconButton(name, label, run, { disabled: none, ...options });
    fill(tools,
      button("star", favourite ? t("unfavourite") : t("favourite"), () => star(), { pressed: favourite, class: favourite ? "on" : "" }),
      button("compare", t("compare_with_last"), () => compare(), { disabled: none || recent.length < 2 }),
      button("full", t("full_screen"), () => nb.viewer.open(v.picture, recent)), h("hr"),
      button("download", t("download_png"), () => { const a = h("a", { href: nb.picture(v.picture), download: v.picture + ".png" }); document.body.append(a); a.click(); a.remove(); }),
      button("copy", t("copy_recipe"), (event) => copyMenu(event.currentTarget), { popup: "menu" }),
      button("link", t("share_link"), async () => { const link = await w.server.share({ id: v.picture }); if (link) nb.copy(location.origin + location.pathname + "?r=" + link, t("link_copied")); }), h("hr"),
      button("undo", t("restore_to_form"), () => { nb.state.form_before = nb.formNow(); w.trigger("restore", { id: v.picture }); }),
      button("dice", t("new_seed"), () => { emit("random-seed"); emit("generate"); }), h("hr"),
      button("trash", t("delete"), () => remove()));
  }
  const detail = () => nb.parts.read("gallery/picture/" + encodeURIComponent(v.picture));
  async function star() {
    const id = v.picture, on = !favourite;
    try { await nb.parts.write("gallery/edit", { ids: [id], favourite: on }); if (id === v.picture) { favourite = on; drawTools(); } } catch (error) { nb.say(error.message); }
  }
  function copyMenu(anchor) {
    const part = (key) => async () => { try { nb.copy((await detail())[key]); } catch (error) { nb.say(error.message); } };
    nb.menu(anchor, [{ label: t("copy_parameters"), run: part("parameters") }, { label: t("copy_xml"), run: part("prompt") }, { label: t("copy_seed"), run: () => nb.copy(v.seed) },
      { label: t("copy_python"), run: async () => { const code = await w.server.code({ id: v.picture }); if (code) nb.copy(code); } }], t("copy_recipe"));
  }
  async function remove() {
    const ids = [v.picture], { write, complain } = nb.parts;
    try { await write("gallery/delete", { ids }); } catch (error) { complain(error); return; }
    emit("deleted", ids);
    nb.say(t("deleted"), { label: t("undo"), run: () => write("gallery/undelete", { ids }).then(() => { emit("undeleted", ids); pick(ids[0]); }, complain) });
  }
  function compare() {
    const at = recent.indexOf(v.picture), other = recent[at + 1] || recent[at - 1];
    if (other) nb.viewer.compare(other, v.picture);
  }

  /* ---- the slot ---- */
  const legend = (colour, label, value) => h("span", {}, h("span.sq", { style: { background: "var(--nb-" + colour + ")" } }), label, " ", h("b", {}, value));
  const part = (colour, flex) => (flex > 0 ? h("i", { style: { flex, background: "var(--nb-" + colour + ")" } }) : null);
  const fine = (s) => (s < 0.005 ? "0.00" : s < 100 ? s.toFixed(2) : s.toFixed(0));

  const factText = (f) => f.key === "preset" ? nb.parts.presetName(f.value) : f.key === "notes" ? f.value.split("; ").map(nb.told).join("; ") : nb.told(f.value);
  function drawStats(s) {
    const stages = [["encode", s.encode, "t3"], ["denoise", s.denoise, "t1"], ["decode", s.decode, "t4"]];
    const memory = s.allocated !== null ? [["allocated", s.allocated, "t1"], ["reserved", s.reserved, "t2"]] : [["resident", s.resident, "t1"]];
    const device = s.device || 1, used = memory.filter((m) => m[1]);
    const whole = Math.max(...stages.map((x) => x[1]), 0.001) / 60;
    fill(slot, h("div.up", {},
      h("div", {}, h("div.big", {}, s.total < 100 ? s.total.toFixed(2) : s.total.toFixed(0), " ", h("small", {}, "s")), h("div.cap", {}, t("s_per_step", { s: s.per_step.toFixed(3) }))),
      h("div", {}, h("div.tl", { role: "img", "aria-label": stages.map((x) => t(x[0]) + " " + fine(x[1]) + " s").join(", ") }, stages.map((x) => part(x[2], Math.max(x[1], whole)))),
        h("div.lab", {}, stages.map((x) => legend(x[2], t(x[0]), fine(x[1]))))),
      h("div.mem", {}, h("div.tl", { role: "img", "aria-label": used.map((m) => t(m[0]) + " " + nb.gb(m[1]) + " GB").join(", ") },
        used.map((m, i) => part(m[2], i ? Math.max(0, m[1] - used[0][1]) : m[1])), h("i", { style: { flex: Math.max(0, device - (used.length ? used[used.length - 1][1] : 0)) } })),
        h("div.lab", {}, used.map((m, i) => legend(m[2], t(m[0]), nb.gb(m[1]) + (i === used.length - 1 ? " GB" : "")))))),
    h("div.facts", { tabindex: 0, role: "group", "aria-label": t("what_it_cost") }, s.facts.map((f) => h("div", { title: factText(f) }, h("span", {}, t("fact_" + f.key) === "fact_" + f.key ? f.key : t("fact_" + f.key)), h("b" + (f.warn ? ".wrn" : ""), {}, factText(f))))));
  }

  /* While a job runs the slot is built once and then only its words and widths change: its buttons stay put. */
  let run = null;
  function buildProgress(many, skip) {
    const act = (action) => async () => { await w.server.control({ job: v.job, action }); emit("ask"); };
    const bell = "Notification" in window ? h("button.btn.ghost", { type: "button", onclick: askNotify }, icon("bell", true), h("span")) : null;
    run = {
      key: v.job + many + skip, big: h("div.big"), cap: h("div.cap"), bar: h("i", { style: { background: "var(--nb-t1)" } }), lab: h("div.lab"),
      track: h("div.tl", { role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 }), eta: h("div.eta"), bell,
    };
    run.track.append(run.bar);
    fill(slot, h("div.up.run", {}, h("div", {}, run.big, run.cap), h("div", {}, run.track, run.lab), run.eta),
      h("div.runbtns", {},
        h("button.btn.stop", { type: "button", onclick: act("cancel"), "aria-keyshortcuts": "Escape" }, icon("stop", true), t("stop_now"), h("span.kbd", {}, "Esc")),
        skip ? h("button.btn", { type: "button", onclick: act("skip") }, icon("skip", true), t("skip_this")) : null,
        many ? h("button.btn", { type: "button", onclick: act("finish") }, icon("flag", true), t("finish_this")) : null,
        h("span.grow"), bell));
  }
  function drawProgress() {
    const p = v.progress || {}, percent = Math.round(100 * (v.fraction || 0)), queued = v.state === "queued";
    const many = v.pictures > 1, skip = many || nb.state.jobs.length > 1;
    if (!run || run.key !== v.job + many + skip || !slot.contains(run.big)) buildProgress(many, skip);
    const words = queued ? t("waiting") : v.step ? t("step_of", { step: v.step, total: v.steps }) : nb.told(v.message) || t("encoding");
    fill(run.big, queued ? String(v.ahead) : String(percent), " ", h("small", {}, queued ? t("ahead") : "%"));
    run.cap.textContent = words;
    run.bar.style.width = percent + "%";
    run.track.setAttribute("aria-valuenow", percent);
    run.track.setAttribute("aria-label", words);
    fill(run.lab, legend("t3", t("encode"), p.cached ? t("cached", { s: fine(p.encode || 0) }) : p.encode === null || p.encode === undefined ? "…" : fine(p.encode)),
      legend("t1", t("denoise"), fine(p.denoise || 0)), many ? legend("t4", t("picture"), t("k_of_n", { k: v.index + 1, n: v.pictures })) : null);
    fill(run.eta, v.eta !== null && v.eta !== undefined ? [h("div.big", {}, nb.clock(Math.ceil(v.eta)), " ", h("small", {}, t("left"))), p.per_step ? h("div.cap", {}, t("s_per_step", { s: p.per_step.toFixed(3) })) : null] : null);
    if (run.bell) { run.bell.setAttribute("aria-pressed", String(Boolean(nb.stored("notify")))); run.bell.lastChild.textContent = nb.stored("notify") ? t("will_notify") : t("notify_me"); }
  }
  function drawLoading(pulse) {
    fill(slot, h("div.load", {}, h("div.row", {}, h("b", {}, nb.told(pulse.message) || t("engine_" + pulse.state)), h("span.grow"), h("span.mut", {}, pulse.fraction ? Math.round(100 * pulse.fraction) + " %" : "")),
      h("div.tl" + (pulse.fraction || pulse.state === "failed" ? "" : ".wait"), {}, h("i", { style: { width: pulse.fraction ? 100 * pulse.fraction + "%" : "30%", background: "var(--nb-t1)" } })),
      h("div.cap", {}, pulse.state === "failed" ? t("engine_failed_help") : t("generate_queues_already"))));
  }
  function drawFailure() {
    fill(slot, h("div.fail", { role: "alert" }, icon("warn"), h("div", {}, h("b", {}, v.error.title || t("not_made")), h("p", {}, nb.told(v.error.message)),
      v.error.reference ? h("p.cap", {}, t("log_reference", { id: v.error.reference })) : null)));
  }
  function drawSlot() {
    const pulse = nb.state.pulse || {}, loading = ["new", "opening", "failed"].includes(pulse.state);
    if (v.state === "running" || v.state === "queued" && !loading) drawProgress();
    else if (loading) drawLoading(pulse);
    else if (v.error) drawFailure();
    else if (v.stats) drawStats(v.stats);
    else if (v.picture) fill(slot, h("div.load", {}, h("b", {}, t("no_cost")), h("div.cap", {}, t("no_cost_help"))));
    else fill(slot, h("div.load", {}, h("b", {}, t(v.state === "cancelled" ? "stopped" : "no_picture_yet")), h("div.cap", {}, t("no_picture_help"))));
  }

  /* ---- recent ---- */
  let stripNow = "";
  function drawStrip() {
    const now = recent.slice(0, 40).join() + "|" + v.picture;
    if (now === stripNow) return;
    stripNow = now;
    fill(strip, recent.slice(0, 40).map((id) => h("button" + (id === v.picture ? ".on" : ""), { type: "button", "aria-label": t("show_picture"), "aria-pressed": String(id === v.picture), onclick: () => pick(id) },
      h("img", { src: nb.thumb(id), alt: "", loading: "lazy", draggable: "true" }))));
    strip.hidden = !recent.length;
  }
  function pick(id) {
    if (id) w.trigger("pick", { id });
    else take({ state: "empty", picture: null, default_size: v.default_size });
  }

  /* ---- notification ---- */
  function askNotify() {
    if (nb.stored("notify")) { nb.store("notify", null); drawSlot(); return; }
    Notification.requestPermission().then((answer) => { nb.store("notify", answer === "granted" ? true : null); if (answer !== "granted") nb.say(t("notify_denied")); drawSlot(); });
  }
  function notify() {
    if (!document.hidden || !nb.stored("notify") || !("Notification" in window) || Notification.permission !== "granted") return;
    new Notification(t("picture_done"), { body: v.stats ? nb.seconds(v.stats.total) : "", tag: "newbie_ui", icon: v.picture ? nb.thumb(v.picture) : undefined });
  }

  async function lookUp(id) { try { const found = await nb.parts.read("gallery/picture/" + encodeURIComponent(id)); if (id === v.picture && found.favourite) { favourite = true; drawTools(); } } catch { /* not there yet, or gone */ } }
  function draw() { drawPicture(); drawTools(); drawSlot(); }
  /* A job that ends without a picture leaves the last one in its place. */
  function withoutPicture({ job, results, state, error, finished, following }) {
    return { ...last, job, results, state, error, finished, following };
  }
  function take(value) {
    const before = v, ended = value.finished && before.job === value.job && !before.finished;
    if (gone.has(value.picture)) value = { ...value, picture: null, stats: null };
    if (value.picture && "stats" in value) last = value;
    v = value.finished && !value.picture && last ? withoutPicture(value) : value;
    if (v.picture !== before.picture) { favourite = false; if (v.picture && !v.preview) lookUp(v.picture); }
    nb.state.following = Boolean(v.following);
    if (v.people) nb.state.people = { picture: v.picture, list: v.people };
    nb.state.shown = v.picture;
    nb.state.seed_used = v.seed;
    for (const id of [...(v.results || []), v.picture]) if (id && !recent.includes(id) && !gone.has(id)) recent = [id, ...recent];
    if (v.finished && pair) paired(v.job, value.picture);
    draw();
    drawStrip();
    if (ended && value.picture) notify();
    if (ended && v.stopped_after) nb.say(t("stopped_after", { k: v.stopped_after[0], n: v.stopped_after[1] }));
    else if (ended && v.state === "cancelled") nb.say(t("stopped"));
    if (ended) emit("picture-done", v);
    if (v.finished) emit("ask");
    if (v.warning && before.warning !== v.warning) nb.say(v.warning);
    emit("stage", v);
  }
  nb.on("news", take);
  w.watch("value", () => take(w.props.value || {}));
  /* With and without a card: when both pictures are there, the slider opens. */
  let pair = null;
  nb.on("compare-jobs", (jobs) => { pair = { jobs, pictures: [null, null] }; });
  function paired(job, picture) {
    const at = pair.jobs.indexOf(job);
    if (at < 0) return;
    if (!picture) { pair = null; return; }
    pair.pictures[at] = picture;
    if (pair.pictures.every(Boolean)) { nb.viewer.compare(pair.pictures[0], pair.pictures[1], [t("with_card"), t("without_card")]); pair = null; }
  }
  nb.on("composed", () => { if (!empty.hidden) drawEmpty(); });
  nb.on("size", () => { if (!v.picture && !v.preview) drawPicture(); });
  for (const event of ["pulse", "presets"]) nb.on(event, () => { if (v.state !== "running") drawSlot(); });
  nb.on("stop", () => { if (v.job && (v.state === "running" || v.state === "queued")) w.server.control({ job: v.job, action: "cancel" }).then(() => emit("ask")); });
  nb.on("pick", pick);
  draw();
  drawStrip();
  /* What is in the gallery already. A job that runs is more important. */
  async function begin() {
    try {
      const { recent: newest, ...first } = await w.server.begin({});
      const known = recent.findIndex((id) => newest.includes(id)), at = known < 0 ? recent.length : known;
      recent = [...new Set([...recent.slice(0, at), ...newest, ...recent.slice(at)])].filter((id) => !gone.has(id));
      if (!v.picture && !v.preview && (!v.job || v.finished)) take({ ...v, ...first });
      drawStrip();
    } catch (error) { console.warn("newbie_ui: begin", error); }
  }
  nb.on("deleted", (ids) => {
    for (const id of ids) gone.add(id);
    const stays = (id) => !gone.has(id), rest = recent.filter(stays);
    const next = recent.slice(Math.max(0, recent.indexOf(v.picture))).find(stays) || rest[rest.length - 1];
    recent = rest;
    if (last && gone.has(last.picture)) last = null;
    drawStrip();
    if (!gone.has(v.picture)) return;
    if (nb.state.following) take(v);
    else pick(next);
  });
  nb.on("undeleted", (ids) => {
    for (const id of ids) gone.delete(id);
    begin();
  });
  begin();
});

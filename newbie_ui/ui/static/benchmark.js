/* The Benchmark tab: what pictures cost on this machine, measured; what each preset would cost; what the device does now. */
nb.define("benchmark", function (w) {
  "use strict";
  const { h, fill, icon } = nb;
  const { t, when, number, whenShown, complain, textButton } = nb.parts;
  const { bars, scatter, columns, spark, fine } = nb.charts;
  const STAGES = [["queue", "t4"], ["encode", "t3"], ["denoise", "t1"], ["decode", "t2"]];
  const trace = { memory: [], busy: [] };
  let now = null, timer = 0;

  const title = h("div.nb-title.nb-b-title"), figures = h("section.card.nb-b-kpi"), ladder = h("section.card.nb-b-ladder"),
    spread = h("section.card"), last = h("section.card"), device = h("section.card.nb-b-device"), runs = h("section.card"), proof = h("div");
  fill(w.element, h("div.nb-page", {}, title, figures, ladder, proof, h("div.nb-b-three", {}, spread, last, h("div.col", {}, device, runs))));

  /* ---- title and what can be done ---- */
  function drawTitle() {
    const run = now.run, fits = now.presets.filter((p) => p.fits);
    const which = h("select", { "aria-label": t("bench_which"), disabled: run.running },
      h("option", { value: "" }, t("bench_all", { n: fits.length })), fits.map((p) => h("option", { value: p.name }, nb.told(p.label))));
    if (drawTitle.chosen) which.value = drawTitle.chosen;
    which.addEventListener("change", () => { drawTitle.chosen = which.value; });
    const go = run.running
      ? textButton(t("bench_stop"), "stop", () => act(w.server.bench_stop({})))
      : textButton(t("bench_run"), "play", () => act(w.server.bench_start({ presets: which.value ? [which.value] : fits.map((p) => p.name) })), ".acc", { disabled: !now.may || !fits.length });
    fill(title, h("div.grow", {}, h("h1", {}, t("bench_title")), h("p.sec", {}, nb.told(now.subject) || t("bench_nothing"))),
      now.may ? [fits.length > 1 ? which : null, go] : null, h("span.vr"),
      textButton("CSV", "download", () => save("newbie_ui-times.csv", csv(), "text/csv"), "", { disabled: !now.pictures.length }),
      textButton("JSON", "copy", () => nb.copy(JSON.stringify({ subject: now.subject, presets: now.presets, run: now.run, pictures: now.pictures }), t("copied")), "", { disabled: !now.pictures.length }));
  }
  const act = (promise) => promise.then((answer) => { if (answer && answer.error) nb.say(answer.error); ask(); }, complain);

  function csv() {
    const names = ["id", "made", "preset", "model", "width", "height", "steps", "queue_s", "encode_s", "denoise_s", "decode_s", "total_s", "gb", "compile"];
    const cell = (value) => {
      const text = value === null || value === undefined ? "" : String(value);
      const safe = /^[=+\-@\t\r]/.test(text) && typeof value !== "number" ? "'" + text : text;
      return /[",\n\r]/.test(safe) ? '"' + safe.split('"').join('""') + '"' : safe;
    };
    const rows = now.pictures.map((p) => [p.id, new Date(p.created_at * 1000).toISOString(), ...names.slice(2).map((name) => p[name])]);
    return [names, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
  }
  function save(name, text, type) {
    const link = h("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  /* ---- figures ---- */
  function drawFigures() {
    const figure = (label, value, unit, note) => h("div", {}, h("span", {}, label),
      h("b", {}, value === null || value === undefined ? "–" : [fine(value), " ", h("small", {}, unit)]), h("em", {}, note || ""));
    const k = now.key;
    const step = k.per_step_s !== null && k.per_step_s < 1 ? [k.per_step_s * 1000, "ms"] : [k.per_step_s, "s"];
    fill(figures, figure(t("bench_best"), k.best_s, "s", k.best_preset && nb.parts.presetName(k.best_preset)), figure(t("bench_step"), step[0], step[1], k.steps ? t("bench_of_steps", { n: k.steps }) : ""),
      figure(t("bench_peak"), k.peak_gb, "GB", k.device_gb ? t("memory_of_all", { total: nb.gb(k.device_gb) }) : ""),
      figure(t("bench_first"), k.first_s, "s", k.first_s && now.pictures.some((p) => p.compile && p.compile !== "off") ? t("bench_first_note") : ""),
      h("div", {}, h("span", {}, t("bench_pictures")), h("b", {}, number(k.pictures)), h("em", {}, k.since ? t("bench_since", { when: when(k.since) }) : "")));
  }

  /* ---- presets as bars; while a run goes on its progress stands above them ---- */
  const wide = () => (ladder.clientWidth || document.documentElement.clientWidth - 24) - 34;
  function drawLadder() {
    const rows = now.presets.filter((p) => p.fits && p.seconds);
    const best = Math.min(...rows.map((p) => p.seconds));
    const worst = Math.max(...rows.map((p) => p.seconds));
    const run = now.run;
    fill(ladder, h("header", {}, h("h2", {}, t("bench_presets")),
      h("span.lab", {}, h("span", {}, h("span.sq.best"), t("bench_best_one")), h("span", {}, h("span.sq.ours"), t("measured")), h("span", {}, h("span.sq.reference"), t("estimated")))),
    run.running ? h("div.nb-b-run", {}, h("div.row", {}, h("b", {}, run.label), h("span.grow"), h("span.mut", {}, Math.round(100 * run.fraction) + " %")),
      h("div.tl", { role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(100 * run.fraction), "aria-label": t("bench_running") },
        h("i", { style: { width: 100 * run.fraction + "%", background: "var(--nb-t1)" } }))) : null,
    run.errors.map((text) => h("p.nb-b-error", { role: "alert" }, icon("warn", true), text.split(/: (.*)/s, 2).map(nb.told).join(": "))),
    rows.length ? bars(rows.map((p) => ({
      label: nb.told(p.label), value: p.seconds, best: p.measured && p.seconds === best, reference: !p.measured,
      cells: [p.per_step ? fine(p.per_step) + " s" : "–", p.gb ? nb.gb(p.gb) : "–", p.first ? fine(p.first) + " s" : "–", rows.length > 1 ? (worst / p.seconds).toFixed(2) + " ×" : "–"],
    })), { unit: "s", width: wide(), label: t("bench_presets"), columns: [t("bench_col_step"), t("bench_col_peak"), t("bench_col_first"), t("bench_col_speed")] })
      : h("p.sec.nb-b-none", {}, t("bench_no_times")));
    ladder.querySelectorAll(".sq").forEach((node) => { node.style.background = `var(--nb-${node.classList.contains("best") ? "accent" : node.classList.contains("ours") ? "t3" : "t4"})`; });
  }

  function drawCharts() {
    const points = now.presets.filter((p) => p.fits && p.seconds && p.gb);
    const best = points.reduce((a, p) => (p.measured && (!a || p.seconds < a.seconds) ? p : a), null);
    const cards = [8, 12, 16, 24, 32, 48, 80].map((x) => ({ x, label: x + " GB" }));
    const most = Math.max(0, ...points.map((p) => p.gb));
    fill(spread, h("header", {}, h("h2", {}, t("bench_spread")), h("span.cap", {}, t("bench_s_image"))),
      points.length ? scatter(points.map((p) => ({ label: nb.told(p.label), x: p.gb, y: p.seconds, best: p === best, soft: !p.measured })),
        { xTitle: t("bench_peak_axis"), yTitle: "s", label: t("bench_spread"), lines: most > 4 ? cards : [] }) : h("p.sec.nb-b-none", {}, t("bench_no_times")));
    const shown = now.pictures.slice(-30);
    fill(last, h("header", {}, h("h2", {}, t("bench_last", { n: shown.length })),
      h("span.lab", {}, STAGES.slice(1).map(([name, colour]) => h("span", {}, h("span.sq", { style: { background: `var(--nb-${colour})` } }), t("stage_" + name))))),
    shown.length ? columns(shown.map((p) => ({
      parts: STAGES.slice(1).map(([name, colour]) => [colour, p[name + "_s"]]),
      title: `${when(p.created_at)}, ${nb.parts.presetName(p.preset)}: ${nb.seconds(p.total_s)}`,
    })), { label: t("bench_last", { n: shown.length }), unit: "s" }) : h("p.sec.nb-b-none", {}, t("bench_no_times")));
  }

  /* ---- the device now ---- */
  function drawDevice() {
    const m = now.monitor;
    trace.memory.push(m.used_gb);
    trace.busy.push(m.busy);
    for (const list of Object.values(trace)) if (list.length > 60) list.shift();
    const line = (label, value, values, most) => h("div.nb-b-line", {}, h("span", {}, label), spark(values, most, label), h("b", {}, value));
    fill(device, h("header", {}, h("h2", {}, t("bench_device")), h("span.cap", {}, m.name)),
      m.total_gb ? line(t("memory"), nb.gb(m.used_gb) + " / " + nb.gb(m.total_gb) + " GB", trace.memory, m.total_gb) : null,
      m.busy === null ? null : line(t("bench_busy"), Math.round(m.busy) + " %", trace.busy, 100),
      h("div.nb-g-mdg", {}, m.more.map(([name, value]) => h("div.nb-g-md", {}, h("span", {}, t("monitor_" + name)), h("b", {}, value)))));
  }
  function drawRuns() {
    const row = (at, what, figure, first) => h("tr" + (first ? ".on" : ""), {}, h("td", {}, at), h("td", {}, what), h("td.r", {}, figure));
    fill(runs, h("header", {}, h("h2", {}, t("bench_runs")), h("span.cap", {}, t("bench_runs_note"))),
      now.runs.length ? h("table", {}, h("tbody", {}, now.runs.map((r, k) => row(when(r.at), r.what, r.figure, !k)))) : h("p.sec.nb-b-none", {}, t("bench_no_runs")));
  }

  /* ---- the ladder of optimisations, measured in a process of its own ---- */
  function drawProof() {
    const l = now.ladder, p = l.proof;
    const button = !now.may ? null : l.running ? textButton(t("bench_stop"), "stop", () => act(w.server.ladder_stop({})))
      : textButton(t("ladder_run"), "play", () => act(w.server.ladder_start({})));
    const most = p ? Math.max(...p.ceilings.map((c) => c.tflops), 0) : 0;
    fill(proof, h("section.card.nb-b-ladder", {},
      h("header", {}, h("h2", {}, t("bench_ladder")), h("span.cap", {}, p ? p.subject : t("ladder_what"))),
      l.running ? h("div.nb-b-run", { role: "status" }, h("div.tl.wait", {}, h("i", { style: { width: "30%", background: "var(--nb-t1)" } })), h("p.cap", {}, l.line || t("ladder_opening"))) : null,
      l.error ? h("p.nb-b-error", { role: "alert" }, icon("warn", true), nb.told(l.error)) : null,
      p ? bars(p.rungs.map((r) => ({ label: r.label, title: r.title, value: r.ms, best: r.best, reference: r.reference, cells: r.cells })),
        { unit: "", width: wide(), label: t("bench_ladder"), columns: p.columns, floors: p.floors }) : null,
      p && p.ceilings.length ? h("div.nb-b-ceilings", {}, p.ceilings.map((c) => h("div", {}, h("span", {}, c.name), h("span.bar", {}, h("i", { style: { width: 100 * c.tflops / most + "%" } })), h("b", {}, fine(c.tflops))))) : null,
      h("div.row.nb-b-foot", {}, button, l.export ? textButton("JSON", "copy", () => nb.copy(JSON.stringify(l.export), t("copied"))) : null,
        h("p.cap", {}, t("bench_command"), " ", h("code", {}, "python -m newbie_ui.bench")))));
  }

  function draw(fresh) {
    now = fresh;
    drawTitle();
    drawFigures();
    drawLadder();
    drawProof();
    drawCharts();
    drawDevice();
    drawRuns();
  }
  async function ask() {
    clearTimeout(timer);
    if (!w.element.offsetParent || document.hidden) return;
    try { draw(await w.server.bench_now({})); } catch (error) { complain(error); }
    clearTimeout(timer);
    timer = setTimeout(ask, now && (now.run.running || now.ladder.running) ? 1000 : 2500);
  }
  whenShown(w.element, ask);
  document.addEventListener("visibilitychange", ask);
});

/* The bar at the top: mark, device and memory in use, language, theme, keys. It also asks the server how things stand
   (`pulse`) and tells all other widgets; more often while a job runs, not at all while the page is hidden. */
nb.define("header", function (w) {
  "use strict";
  const { h, fill, icon, iconButton, t, emit, state } = nb;
  const SVG = "http://www.w3.org/2000/svg";
  let pulse = w.props.value || {}, settled = null, timer = 0, asking = false, again = false, failures = 0;

  function mark() {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 22 22");
    svg.setAttribute("aria-hidden", "true");
    const draw = (tag, attributes) => {
      const node = document.createElementNS(SVG, tag);
      for (const [k, v] of Object.entries(attributes)) node.setAttribute(k, v);
      svg.append(node);
    };
    draw("rect", { x: 1, y: 1, width: 20, height: 20, rx: 6, fill: "var(--nb-accent)" });
    draw("circle", { cx: 7.6, cy: 9, r: 2.6, fill: "var(--nb-on-accent)" });
    draw("circle", { cx: 14.4, cy: 9, r: 2.6, fill: "var(--nb-on-accent)", opacity: 0.62 });
    draw("path", {
      d: "M3.8 18c.3-3 1.7-4.6 3.8-4.6s3.5 1.6 3.8 4.6M10.8 18c.3-3 1.7-4.6 3.6-4.6s3.5 1.6 3.800 4.600", fill: "none",
      stroke: "var(--nb-on-accent)", "stroke-width": 1.7, "stroke-linecap": "round",
    });
    return svg;
  }

  const name = h("b"), bar = h("i"), memory = h("span.num-mem"), model = h("span.nb-model");
  const device = h("div.dev", {}, icon("device", true), name, h("span.bar", {}, bar), memory);
  const language = iconButton("globe", t("language"), () => nb.menu(language, languages(), t("language")), { popup: "menu" });
  const dark = () => document.body.classList.contains("dark");
  const theme = iconButton("moon", t("switch_theme"), () => { nb.store("theme", dark() ? "light" : "dark"); applyTheme(); });
  const keys = iconButton("help", t("keyboard_map"), () => emit("help"), { class: "keymap" });
  fill(w.element, h("div.top", {},
    h("div.logo", {}, mark(), h("span", {}, "newbie_ui"), model), h("span.grow"), device, h("span.vr"),
    h("div.row.tight", {}, language, theme, keys)));

  function languages() {
    const names = { en: "English", "zh-CN": "简体中文", ja: "日本語" };
    return Object.keys(state.words).map((code) => ({
      label: names[code] || code, checked: nb.locale() === code,
      run: () => { nb.store("language", code); location.reload(); },
    }));
  }
  function applyTheme() {
    const wanted = nb.stored("theme");
    if (wanted && dark() !== (wanted === "dark")) document.body.classList.toggle("dark", wanted === "dark");
    document.documentElement.classList.remove("dark");
    fill(theme, icon(dark() ? "sun" : "moon"));
  }

  function draw() {
    const used = pulse.used_gb, total = pulse.total_gb;
    device.title = nb.told(pulse.message) || t("memory_in_use");
    name.textContent = pulse.device || t("engine_" + (pulse.state || "new"));
    bar.style.width = used && total ? Math.min(100, 100 * used / total) + "%" : "0";
    memory.textContent = used && total ? t("memory_of", { used: nb.gb(used), total: nb.gb(total) }) : "";
    fill(model, pulse.model ? pulse.model : null);
    model.title = pulse.licence ? t("model_licence", { licence: pulse.licence }) : "";
  }

  function take(news) {
    pulse = news;
    state.pulse = pulse;
    state.jobs = pulse.jobs || [];
    draw();
    emit("pulse", pulse);
    if (settled !== pulse.model_key) { settled = pulse.model_key; w.trigger("settled"); }
    if (state.jobs.length) emit("follow");
  }

  async function ask() {
    clearTimeout(timer);
    if (asking) { again = true; return; }
    asking = true;
    try {
      take(await w.server.pulse({}));
      if (failures > 1) nb.say(t("server_back"));
      failures = 0;
    } catch (error) {
      failures += 1;
      if (failures === 2) nb.say(t("server_gone"));
    }
    asking = false;
    if (again) { again = false; ask(); return; }
    const busy = state.jobs.length > 0 || ["opening", "new"].includes(pulse.state);
    if (!document.hidden) timer = setTimeout(ask, failures ? 5000 : busy ? 1000 : 5000);
  }
  nb.on("ask", ask);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
  w.watch("value", () => take(w.props.value || {}));
  document.documentElement.lang = nb.locale();
  applyTheme();
  // Gradio follows the system's scheme by itself: the button has to show it, and what was chosen here goes first
  new MutationObserver(applyTheme).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  draw();
  state.pulse = pulse;
  setTimeout(() => { emit("pulse", pulse); ask(); }, 0);
});

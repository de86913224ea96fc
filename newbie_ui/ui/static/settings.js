/* The Settings tab: cards of facts. It asks again whenever it comes into sight. */
nb.define("settings", function (w) {
  "use strict";
  const { h, fill } = nb;
  const { t, whenShown, complain } = nb.parts;
  const gb = (value) => nb.gb(value) + " GB";

  const card = (title, note, ...children) => h("section.card.nb-s-card", {},
    h("header", {}, h("h2", {}, title), note ? h("span.cap", {}, note) : null), children);
  const rows = (pairs) => h("dl.nb-s-rows", {}, pairs.filter((pair) => pair && pair[1] !== "" && pair[1] !== null && pair[1] !== undefined)
    .map(([name, value, mono]) => [h("dt", {}, name), h("dd" + (mono ? ".mono" : ""), {}, value)]));

  function modelCard(now) {
    const model = now.model;
    if (!model) return card(t("model"), null, h("p.sec", {}, nb.told(now.message) || t("engine_" + now.state)));
    const defaults = Object.entries(model.defaults).map(([name, value]) => t("param." + name) + " " + value).join(", ");
    return card(t("model"), model.demo ? t("settings_demo") : null,
      rows([[t("settings_name"), model.name], [t("licence"), model.licence], [t("settings_source"), nb.told(model.source), true],
        [t("settings_fingerprint"), model.hash, true], [t("settings_sizes"), model.sizes.join(", ")],
        [t("settings_tokens"), t("settings_tokens_of", { trained: model.tokens[0], most: model.tokens[1] })],
        [t("settings_defaults"), defaults], [t("settings_vocabulary"), model.vocabulary ? t("settings_tags", { n: model.vocabulary }) : ""]]));
  }
  function deviceCard(now) {
    const device = now.device;
    if (!device) return card(t("device"), null, h("p.sec", {}, t("engine_" + now.state)));
    return card(t("device"), device.kind.toUpperCase(),
      rows([[t("settings_name"), device.name], [t("memory"), gb(device.total_gb)], [t("settings_capability"), device.capability],
        [t("fact_compile"), nb.told(device.compile)], ...device.facts.map(([name, value]) => [t("fact_" + name) === "fact_" + name ? name : t("fact_" + name), name === "preset" ? nb.parts.presetName(value) : nb.told(value)]),
        ["LoRA", now.loras.length ? now.loras.join(", ") : t("settings_no_loras")]]));
  }
  function presetCard(now) {
    const line = (row) => h("details.nb-s-preset" + (row.fits ? "" : ".off"), { open: row.recommended },
      h("summary", {}, h("b", {}, nb.told(row.label)), row.recommended ? h("span.tag", {}, t("best_fit")) : null, h("span.sec.cut", {}, nb.told(row.fits ? row.summary : row.reason)),
        h("span.cost", {}, row.seconds ? (row.measured ? "" : "≈ ") + nb.seconds(row.seconds) : "", row.gb ? " · " + (row.measured ? "" : "≈ ") + gb(row.gb) : "")),
      row.fits ? null : h("p.sec", {}, nb.told(row.summary)),
      h("dl.nb-s-keys", {}, row.keys.map(([key, value, help]) => [h("dt.mono", {}, key), h("dd", {}, h("b.mono", {}, value), h("span", {}, now.helps[help] || help))])));
    return card(t("presets"), t("settings_presets_note"), now.presets.map(line));
  }
  function flagCard(now) {
    if (!now.flags.length) return null;
    return card(t("settings_start"), t("settings_start_note"), h("dl.nb-s-keys", {}, now.flags.map(([name, value, help, changed]) =>
      [h("dt.mono", {}, name), h("dd", {}, h("b.mono" + (changed ? ".changed" : ""), {}, value || "–"), h("span", {}, now.helps[help] || help))])));
  }
  function aboutCard(now) {
    return card(t("settings_about"), null,
      h("p", {}, t("settings_about_text")),
      h("p", {}, h("b", {}, t("settings_weights")), " ", t("settings_weights_text")),
      h("dl.nb-s-keys", {}, now.licences.map(([name, licence, key]) => [h("dt", {}, name), h("dd", {}, h("b", {}, nb.told(licence)), h("span", {}, t(key)))])));
  }

  function draw(now) {
    fill(w.element, h("div.nb-page", {},
      h("header.nb-title", {}, h("h1", {}, t("settings")), h("p.sec", {}, now.shared ? t("settings_shared") : t("settings_note"))),
      h("div.nb-s-grid", {},
        h("div.col", {}, modelCard(now), now.folders.length ? card(t("settings_folders"), null, rows(now.folders.map(([name, path]) => [t("folder_" + name), path, true]))) : null, aboutCard(now)),
        h("div.col", {}, deviceCard(now), presetCard(now), card(t("settings_versions"), null, rows(now.versions)), flagCard(now)))));
  }
  const ask = () => w.server.settings_now({ language: nb.locale() }).then(draw, complain);
  fill(w.element, h("div.nb-page", { style: { "min-height": "60dvh" } }));
  whenShown(w.element, ask);
  let before = null;
  nb.on("pulse", (pulse) => {
    if (before !== pulse.state + pulse.model_key && w.element.offsetParent) ask();
    before = pulse.state + pulse.model_key;
  });
});

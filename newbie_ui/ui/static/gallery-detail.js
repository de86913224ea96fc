/* The gallery's right-hand panel: one picture with everything that is known of it. Text is shown as text, never as HTML. */
(function () {
  "use strict";
  const { h, fill, icon, iconButton } = nb;
  const { t, presetName, when, textButton, download } = nb.parts;

  const fact = (label, value) => value === null || value === undefined || value === "" ? null
    : h("div.nb-g-md", {}, h("span", {}, label), h("b", {}, String(value)));

  function stages(item) {
    const parts = [["queue", "t4"], ["encode", "t3"], ["denoise", "t1"], ["decode", "t4"]]
      .map(([name, colour]) => [name, colour, item.timings[name + "_s"] || 0]);
    const known = parts.reduce((sum, part) => sum + part[2], 0);
    const words = parts.filter((part) => part[2] > 0).map((part) => t("stage_" + part[0]) + " " + nb.seconds(part[2])).join(", ");
    return h("div.tl", { role: "img", "aria-label": words, title: words },
      parts.filter((part) => part[2] > 0).map(([, colour, value]) =>
        h("i", { style: { width: 100 * value / known + "%", background: `var(--nb-${colour})` } })));
  }

  function stats(item) {
    if (!item.timings) return null;
    const memory = item.memory || {};
    const total = Math.max(0, item.timings.total_s - (item.timings.queue_s || 0));
    const figures = memory.allocated_gb !== null && memory.allocated_gb !== undefined
      ? [h("span", {}, t("allocated"), h("b", {}, nb.gb(memory.allocated_gb))), h("span", {}, t("reserved"), h("b", {}, nb.gb(memory.reserved_gb) + " GB"))]
      : memory.resident_gb ? [h("span", {}, t("resident"), h("b", {}, nb.gb(memory.resident_gb) + " GB"))] : [];
    return h("div.card.nb-g-stats", {},
      h("div.row", {}, h("span.big", {}, total.toFixed(total < 100 ? 2 : 0), h("small", {}, " s")), h("span.grow"), h("span.lab", {}, figures)),
      stages(item),
      h("div.lab.spread", {}, item.facts.map((text) => h("span", {}, presetName(text)))));
  }

  function block(part) {
    const dot = part.slot ? h("span.dot.k" + part.slot, {}, part.slot) : h("span.dot.sm.kg");
    return h("section.nb-g-block", {},
      h("h2", {}, dot, part.name || t("general"), part.note ? h("span.mut", {}, part.note) : null),
      h("p", {}, part.text));
  }

  function rating(item, act) {
    const stars = [1, 2, 3, 4, 5].map((n) => h("button" + (n <= item.rating ? ".on" : ""), {
      type: "button", role: "radio", "aria-checked": String(n === item.rating), "aria-label": t("gallery_stars", { n }),
      tabindex: n === Math.max(1, item.rating) ? "0" : "-1", disabled: !act.allowed,
      onclick: () => act.edit({ rating: n === item.rating ? 0 : n }),
      onkeydown: (event) => {
        const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
        if (step) { event.preventDefault(); act.edit({ rating: Math.max(0, Math.min(5, item.rating + step)) }); }
      },
    }, icon("star", true)));
    return h("span.nb-g-rating", { role: "radiogroup", "aria-label": t("gallery_rating") }, stars);
  }

  function copies(item) {
    const entry = (key, text) => text ? { label: t(key), icon: "copy", run: () => nb.copy(text, t("copied")) } : null;
    return [entry("copy_prompt", item.prompt), entry("copy_wildcards", item.original_prompt), entry("copy_negative", item.negative_prompt), entry("copy_seed", item.seed),
      entry("copy_parameters", item.parameters), entry("copy_json", JSON.stringify(item.recipe, null, 2))].filter(Boolean);
  }
  const files = (item) => [
    { label: t("download_png"), icon: "download", note: t("download_png_note"), run: () => download(nb.picture(item.id) + "?download=1") },
    { label: t("download_plain"), icon: "download", note: t("download_plain_note"), run: () => download(nb.picture(item.id) + "?download=1&plain=1") },
    { label: t("open_picture"), icon: "full", run: () => window.open(nb.picture(item.id), "_blank", "noopener") },
  ];

  function collections(item, act) {
    if (!act.allowed) return item.collections.length ? fact(t("gallery_collections"), item.collections.join(", ")) : null;
    const chips = item.collections.map((name) => h("span.nb-chip", {}, name,
      h("button", { type: "button", "aria-label": t("gallery_take_out", { name }), onclick: () => act.edit({ take_out: name }) }, icon("close", true))));
    const add = h("button.nb-chip.add", { type: "button", "aria-haspopup": "menu" }, icon("add", true), t("gallery_collection"));
    add.addEventListener("click", () => nb.menu(add, act.collectionItems(item.collections, (name) => act.edit({ put_in: name }))));
    return h("div.nb-g-chips", {}, chips, add);
  }

  /* `act`: allowed, restore(), putBack(), edit(change), remove(), compare(), close(), collectionItems(have, run), kept:
     how long a deleted picture is still there */
  nb.galleryDetail = function (panel, item, act) {
    if (!item) {
      panel.classList.remove("open");
      fill(panel, h("div.nb-g-none", {}, icon("tiles"), h("p", {}, t("gallery_choose"))));
      return;
    }
    const copyButton = textButton(t("copy"), "copy", null, "", { "aria-haspopup": "menu" });
    copyButton.append(icon("down", true));
    copyButton.addEventListener("click", () => nb.menu(copyButton, copies(item)));
    const saveButton = textButton("PNG", "download", null, "", { "aria-haspopup": "menu" });
    saveButton.append(icon("down", true));
    saveButton.addEventListener("click", () => nb.menu(saveButton, files(item)));
    const star = iconButton("star", t(item.favourite ? "gallery_unfavourite" : "gallery_make_favourite"),
      () => act.edit({ favourite: !item.favourite }), { pressed: item.favourite, class: item.favourite ? "on" : "", disabled: !act.allowed });
    fill(panel,
      h("button.nb-g-close.ib", { type: "button", "aria-label": t("close"), title: t("close"), onclick: act.close }, icon("close")),
      h("button.nb-g-pic", { type: "button", "aria-label": t("full_screen"), onclick: () => nb.viewer.open(item.id),
        style: { "aspect-ratio": item.width + " / " + item.height } },
      h("img", { src: nb.picture(item.id), alt: item.title, decoding: "async" })),
      h("div.row.nb-g-actions", {}, item.trashed_at ? textButton(t("gallery_put_back"), "undo", act.putBack, ".acc")
        : textButton(t("restore"), "back", act.restore, ".acc", { disabled: !item.restorable }), copyButton, saveButton,
        h("span.grow"), star, iconButton("compare", t("compare"), act.compare),
        act.allowed ? iconButton("trash", t("delete"), act.remove) : null),
      stats(item),
      h("div.nb-g-mdg", {}, fact(t("seed"), item.seed), fact(t("size"), item.width + " × " + item.height), fact(t("steps"), item.steps),
        fact(t("guidance"), item.guidance_scale), fact(t("sampler"), item.sampler), fact(t("preset"), presetName(item.preset)),
        fact("LoRA", item.loras.join(", ")), fact(t("program"), item.program === "newbie_ui" ? "" : item.program),
        fact(t("made"), when(item.created_at)),
        item.trashed_at ? [fact(t("gallery_deleted_at"), when(item.trashed_at)), fact(t("gallery_kept"), act.kept)] : null, fact(t("model"), item.model), fact(t("file"), item.file)),
      h("div.nb-g-marks", {}, rating(item, act), collections(item, act)),
      item.blocks.map(block),
      item.negative_prompt ? block({ name: t("negative"), text: item.negative_prompt }) : null,
      item.notes.map((text) => h("p.cap", {}, nb.told(text))));
    panel.classList.add("open");
    panel.scrollTop = 0;
  };
})();

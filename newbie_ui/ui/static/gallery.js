/* The Gallery tab: filters, search, grid, detail. It reads and changes the gallery through our own routes
   (`gallery/…`); only Restore goes through the page, because it fills the form. */
nb.define("gallery", function (w) {
  "use strict";
  const { h, fill, icon, iconButton } = nb;
  const { t, read, write, complain, download, markTab, number, presetName, whenShown, textButton } = nb.parts;
  const may = (w.props.value || {}).may || {};
  const FACETS = ["collection", "character", "preset"];
  const filter = { q: "", order: "newest", favourite: "", today: "", collection: "", character: "", preset: "" };
  const selected = new Map();
  let facets = null, current = null, wanted = null, selecting = false, anchor = null, stale = true, searching = 0;

  /* ---- parts ---- */
  const nav = h("nav.nb-g-nav", { "aria-label": t("gallery_filters") });
  const chips = h("span.nb-g-terms");
  const search = h("input", { type: "search", placeholder: t("gallery_search"), "aria-label": t("gallery_search"), spellcheck: "false", autocomplete: "off", "data-search": true });
  const order = h("select", { "aria-label": t("gallery_order") },
    ["newest", "oldest", "rating", "slowest"].map((name) => h("option", { value: name }, t("order_" + name))));
  const select = textButton(t("select"), "check", () => { selecting = !selecting; if (!selecting) selected.clear(); changedSelection(); }, "", { "aria-pressed": "false" });
  const importing = h("input", { type: "file", accept: "image/png,image/jpeg,image/webp", multiple: true, hidden: true });
  const folder = h("input", { type: "file", webkitdirectory: true, multiple: true, hidden: true });
  const more = iconButton("more", t("more"), () => nb.menu(more, [
    { label: t("import_pictures"), icon: "add", run: () => importing.click() },
    { label: t("import_folder"), icon: "library", run: () => folder.click() },
    { label: t("zip_found"), icon: "download", run: () => download("gallery/zip?" + new URLSearchParams(query())) },
  ]), { popup: "menu" });
  const filters = iconButton("sliders", t("gallery_filters"), () => { nav.classList.toggle("open"); filters.setAttribute("aria-expanded", nav.classList.contains("open")); }, { class: "nb-g-fold" });
  const empty = h("div.nb-g-empty", { hidden: true });
  const tray = h("div.nb-g-tray", { hidden: true, role: "toolbar", "aria-label": t("gallery_selection") });
  const panel = h("aside.nb-g-detail", { "aria-label": t("gallery_detail") });
  const grid = nb.galleryGrid((offset, limit) => read("gallery/list", { ...query(), offset, limit }), {
    total: showTotal, open, toggle, keys, selecting: () => selecting, follows: () => wanted !== null,
  }, (item) => ({
    current: current && current.id === item.id, selected: selected.has(item.id), selecting, letter: letterOf(item.id),
  }));
  const main = h("div.nb-g-main", {}, h("h1.nb-hidden", {}, nb.t("gallery")),
    h("div.nb-g-top", {}, filters, h("label.nb-g-search", {}, icon("search"), chips, search, h("span.kbd", { "aria-hidden": "true" }, "/")),
      order, select, may.edit ? more : null, importing, folder),
    grid.box, empty, tray);
  fill(w.element, nav, main, panel);
  nb.galleryDetail(panel, null, {});

  /* ---- what is shown ---- */
  function query() { return Object.fromEntries(Object.entries(filter).filter(([, value]) => value)); }
  const narrowed = () => Object.keys(query()).some((key) => key !== "order");

  async function refresh(keepPlace) {
    stale = false;
    try {
      const [, counts] = await Promise.all([grid.reset(keepPlace), read("gallery/facets")]);
      facets = counts;
      drawNav();
    } catch (error) { stale = true; complain(error); }
  }
  function setFilter(changes) {
    Object.assign(filter, changes);
    search.value = filter.q;
    drawNav();
    drawChips();
    grid.reset().catch(complain);
  }

  function navItem(label, count, on, run, glyph) {
    return h("button.nb-g-item" + (on ? ".on" : ""), { type: "button", "aria-pressed": String(on), onclick: run },
      glyph ? icon(glyph, true) : null, h("span.name", {}, label), h("span.n", {}, number(count)));
  }
  function drawNav() {
    if (!facets) return;
    const plain = () => ({ favourite: "", today: "", collection: "", character: "", preset: "", q: "" });
    const flip = (key, value) => () => setFilter({ [key]: filter[key] === value ? "" : value });
    const section = (key, label, glyph, extra) => facets[key + "s"].length || extra ? [h("h2", {}, label),
      facets[key + "s"].map((row) => navItem(key === "preset" ? presetName(row.name) : row.name, row.count, filter[key] === row.name, flip(key, row.name), glyph)), extra] : null;
    fill(nav,
      navItem(t("gallery_all"), facets.all, !narrowed(), () => setFilter(plain()), "tiles"),
      navItem(t("gallery_favourites"), facets.favourites, filter.favourite === "1", flip("favourite", "1"), "star"),
      navItem(t("gallery_today"), facets.today, filter.today === "1", flip("today", "1"), "clock"),
      section("collection", t("gallery_collections"), "library",
        may.edit ? textButton(t("gallery_new_collection"), "add", () => newCollection([...selected.keys()]), ".ghost") : null),
      section("character", t("gallery_characters")), section("preset", t("preset")));
  }
  function drawChips() {
    const chip = (label, key) => h("span.nb-chip", {}, label,
      h("button", { type: "button", "aria-label": t("gallery_remove_filter", { name: label }), onclick: () => setFilter({ [key]: "" }) }, icon("close", true)));
    fill(chips, filter.favourite ? chip(t("gallery_favourites"), "favourite") : null, filter.today ? chip(t("gallery_today"), "today") : null,
      FACETS.map((key) => filter[key] ? chip(key === "preset" ? presetName(filter[key]) : filter[key], key) : null));
  }
  function showTotal(total) {
    if (!narrowed()) markTab(total);
    grid.box.hidden = !total;
    empty.hidden = Boolean(total);
    if (!total) {
      fill(empty, h("b", {}, t(narrowed() ? "gallery_nothing_found" : "gallery_nothing_yet")),
        h("p", {}, t(narrowed() ? "gallery_try_fewer" : "gallery_first_steps")),
        narrowed() ? textButton(t("gallery_show_all"), null, () => setFilter({ q: "", favourite: "", today: "", collection: "", character: "", preset: "" })) : null);
    }
  }

  /* ---- one picture ---- */
  async function open(at, show) {
    const item = grid.item(at);
    if (!item) return;
    anchor = at;
    wanted = item.id; /* the picture asked for last is the one that shows, whichever answer comes last */
    try {
      const found = await read("gallery/picture/" + encodeURIComponent(item.id));
      if (wanted !== item.id) return;
      current = found;
      grid.redraw();
      drawDetail(show);
    } catch (error) { complain(error); }
  }
  function drawDetail() {
    nb.galleryDetail(panel, current, {
      allowed: may.edit,
      restore: () => w.trigger("restore", { id: current.id }),
      edit: (change) => edit([current.id], change),
      remove: () => remove([current.id]),
      compare: () => { selected.set(current.id, current); selecting = true; changedSelection(); },
      close: () => { const at = grid.index(current.id); current = wanted = null; grid.redraw(); drawDetail(); grid.focus(at); },
      collectionItems,
    });
  }
  function collectionItems(have, run) {
    const names = facets ? facets.collections.map((row) => row.name).filter((name) => !have.includes(name)) : [];
    return [...names.map((name) => ({ label: name, icon: "library", run: () => run(name) })), names.length ? null : undefined,
      { label: t("gallery_new_collection"), icon: "add", run: () => { const name = askName(); if (name) run(name); } }].filter((item) => item !== undefined);
  }
  const askName = () => (window.prompt(t("gallery_collection_name")) || "").trim();
  function newCollection(ids) {
    const name = askName();
    if (name) write("gallery/collection", { name, ids }).then(() => refresh(true), complain);
  }
  async function edit(ids, change) {
    try {
      await write("gallery/edit", { ids, ...change });
      for (const id of ids) grid.change(id, change);
      if (current && ids.includes(current.id)) { current = await read("gallery/picture/" + encodeURIComponent(current.id)); drawDetail(); }
      facets = await read("gallery/facets");
      drawNav();
    } catch (error) { complain(error); }
  }
  async function remove(ids) {
    try {
      await write("gallery/delete", { ids });
      if (current && ids.includes(current.id)) { current = wanted = null; drawDetail(); }
      for (const id of ids) selected.delete(id);
      changedSelection();
      await refresh(true);
      nb.say(t(ids.length === 1 ? "gallery_deleted_one" : "gallery_deleted", { n: ids.length }),
        { label: t("undo"), run: () => write("gallery/undelete", { ids }).then(() => refresh(true), complain) });
    } catch (error) { complain(error); }
  }

  /* ---- several pictures ---- */
  const letterOf = (id) => selected.size === 2 ? ["A", "B"][[...selected.keys()].indexOf(id)] : undefined;
  function toggle(at, range) {
    const items = range && anchor !== null ? grid.range(anchor, at) : [grid.item(at)];
    const item = grid.item(at);
    if (!range && selected.has(item.id)) selected.delete(item.id);
    else for (const each of items) selected.set(each.id, each);
    anchor = at;
    changedSelection();
  }
  function changedSelection() {
    if (selected.size) selecting = true;
    select.setAttribute("aria-pressed", String(selecting));
    select.classList.toggle("on", selecting);
    grid.redraw();
    drawTray();
  }
  function drawTray() {
    tray.hidden = !selecting;
    const all = [...selected.values()], ids = [...selected.keys()];
    const pair = all.length === 2;
    const zip = textButton("ZIP", "download", () => nb.menu(zip, [
      { label: t("download_png"), note: t("download_png_note"), icon: "download", run: () => download("gallery/zip?ids=" + ids.join(",")) },
      { label: t("download_plain"), note: t("download_plain_note"), icon: "download", run: () => download("gallery/zip?plain=1&ids=" + ids.join(",")) },
    ]), "", { disabled: !all.length, "aria-haspopup": "menu" });
    const put = textButton(t("gallery_collection"), "library", () => nb.menu(put, collectionItems([], (name) => edit(ids, { put_in: name }))), "", { disabled: !all.length, "aria-haspopup": "menu" });
    const named = pair ? all.map((item, k) => h("span.nb-g-named", {}, h("img", { src: nb.thumb(item.id), alt: "" }), h("span.nb-letter", {}, "AB"[k]), h("span.cut", {}, item.title)))
      : h("span.nb-g-named", {}, all.length ? t("gallery_selected", { n: all.length }) : t("gallery_select_hint"));
    fill(tray, named, h("span.grow"),
      pair ? textButton(t("compare"), "compare", () => nb.viewer.compare(all[0].id, all[1].id), ".acc") : null,
      may.edit ? [iconButton("star", t("gallery_make_favourite"), () => edit(ids, { favourite: true }), { disabled: !all.length }), put] : null, zip,
      may.edit ? iconButton("trash", t("delete"), () => remove(ids), { disabled: !all.length }) : null,
      iconButton("close", t("gallery_end_selection"), () => { selecting = false; selected.clear(); changedSelection(); }));
  }
  function keys(event, item) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "f" && may.edit) edit([item.id], { favourite: !item.favourite });
    else if (event.key === "Delete" && may.edit) remove(selected.size ? [...selected.keys()] : [item.id]);
    else if (event.key === "r") w.trigger("restore", { id: item.id });
    else if (event.key === "Escape" && selecting) { selecting = false; selected.clear(); changedSelection(); }
    else if (event.shiftKey && /^Digit[0-5]$/.test(event.code) && may.edit) edit([item.id], { rating: Number(event.code.slice(5)) });
    else return;
    event.preventDefault();
  }

  /* ---- import: one request a file, so that one bad file does not spoil the others ---- */
  async function take(files) {
    const pictures = [...files].filter((file) => /\.(png|jpe?g|webp)$/i.test(file.name));
    let added = 0, problem = "";
    for (const [k, file] of pictures.entries()) {
      nb.say(t("importing", { n: k + 1, total: pictures.length }));
      try {
        await nb.parts.request("gallery/import", { method: "POST", body: file, headers: { "content-type": "application/octet-stream" } });
        added += 1;
      } catch (error) { problem = file.name + ": " + error.message; }
    }
    await refresh();
    nb.say(t("imported", { n: added, total: pictures.length }) + (problem ? " " + problem : ""));
  }
  for (const input of [importing, folder]) input.addEventListener("change", () => { take(input.files); input.value = ""; });
  if (may.edit) {
    main.addEventListener("dragover", (event) => { if (event.dataTransfer.types.includes("Files")) { event.preventDefault(); event.stopPropagation(); main.classList.add("drop"); } });
    main.addEventListener("dragleave", () => main.classList.remove("drop"));
    main.addEventListener("drop", (event) => { event.preventDefault(); event.stopPropagation(); main.classList.remove("drop"); take(event.dataTransfer.files); });
  }

  /* ---- wiring ---- */
  search.addEventListener("input", () => { clearTimeout(searching); searching = setTimeout(() => setFilter({ q: search.value }), 180); });
  search.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && search.value) { event.stopPropagation(); setFilter({ q: "" }); }
    else if (event.key === "Backspace" && !search.value) { const last = FACETS.find((key) => filter[key]); if (last) setFilter({ [last]: "" }); }
  });
  order.addEventListener("change", () => setFilter({ order: order.value }));
  nb.on("presets", () => { drawNav(); drawChips(); });
  nb.on("picture-done", () => { stale = true; if (w.element.offsetParent) refresh(true); });
  whenShown(w.element, () => refresh(!stale));
});

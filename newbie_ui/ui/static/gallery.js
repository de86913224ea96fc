/* The Gallery tab: filters, search, grid, detail. It reads and changes the gallery through our own routes
   (`gallery/…`); only Restore goes through the page, because it fills the form. */
nb.define("gallery", function (w) {
  "use strict";
  const { h, fill, icon, iconButton } = nb;
  const { t, read, write, complain, download, markTab, number, presetName, whenShown, textButton } = nb.parts;
  const may = (w.props.value || {}).may || {};
  const NOTHING = {  // said of an empty grid, by what it is narrowed to
    "": ["gallery_nothing_yet", "gallery_first_steps"], search: ["gallery_nothing_found", "gallery_try_fewer"],
    trash: ["gallery_trash_empty"], collection: ["gallery_collection_empty", "gallery_collection_fill"],
  };
  const FACETS = ["collection", "character", "preset"];
  const PLAIN = { q: "", favourite: "", today: "", trash: "", collection: "", character: "", preset: "" };
  const filter = { order: "newest", ...PLAIN };
  const selected = new Map();
  let facets = null, current = null, wanted = null, selecting = false, anchor = null, stale = true, searching = 0;

  /* ---- parts ---- */
  const nav = h("nav.nb-g-nav", { "aria-label": t("gallery_filters") });
  const chips = h("span.nb-g-terms");
  const search = h("input", { type: "search", placeholder: t("gallery_search"), "aria-label": t("gallery_search"), spellcheck: "false", autocomplete: "off", "data-search": true });
  const order = h("select", { "aria-label": t("gallery_order") },
    ["newest", "oldest", "rating", "slowest"].map((name) => h("option", { value: name }, t("order_" + name))));
  const ordered = h("span.nb-g-order", {}, order, icon("down", true));
  const select = textButton(t("select"), "check", () => { selecting = !selecting; if (!selecting) selected.clear(); changedSelection(); }, "", { "aria-pressed": "false" });
  const importing = h("input", { type: "file", accept: "image/png,image/jpeg,image/webp", multiple: true, hidden: true });
  const folder = h("input", { type: "file", webkitdirectory: true, multiple: true, hidden: true });
  const more = iconButton("more", t("more"), () => nb.menu(more, [
    { label: t("import_pictures"), icon: "add", run: () => importing.click() },
    { label: t("import_folder"), icon: "library", run: () => folder.click() },
    { label: t("zip_found"), icon: "download", run: () => download("gallery/zip?" + new URLSearchParams(query())) },
  ]), { popup: "menu" });
  const filters = iconButton("sliders", t("gallery_filters"), () => { nav.classList.toggle("open"); filters.setAttribute("aria-expanded", nav.classList.contains("open")); }, { class: "nb-g-fold" });
  const note = h("p.nb-g-note", { hidden: true });
  const empty = h("div.nb-g-empty", { hidden: true });
  const tray = h("div.nb-g-tray", { hidden: true, role: "toolbar", "aria-label": t("gallery_selection") });
  const panel = h("aside.nb-g-detail", { "aria-label": t("gallery_detail") });
  const grid = nb.galleryGrid((offset, limit) => read("gallery/list", { ...query(), offset, limit }), {
    total: showTotal, open, toggle, keys, selecting: () => selecting, follows: () => wanted !== null,
  }, (item) => ({
    current: current && current.id === item.id, selected: selected.has(item.id), selecting, letter: letterOf(item.id),
    note: item.trashed_at ? daysLeft(item) : "",
  }));
  const main = h("div.nb-g-main", {}, h("h1.nb-hidden", {}, nb.t("gallery")),
    h("div.nb-g-top", {}, filters, h("label.nb-g-search", {}, icon("search"), chips, search, h("span.kbd", { "aria-hidden": "true" }, "/")),
      ordered, select, may.edit ? more : null, importing, folder),
    note, grid.box, empty, tray);
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
    if ("trash" in changes && changes.trash !== filter.trash) { selected.clear(); endSelection(); }
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
    const flip = (key, value) => () => setFilter({ trash: "", [key]: filter[key] === value ? "" : value });
    const section = (key, label, glyph, extra) => facets[key + "s"].length || extra ? [h("h2", {}, label),
      facets[key + "s"].map((row) => [navItem(key === "preset" ? presetName(row.name) : row.name, row.count, filter[key] === row.name, flip(key, row.name), glyph),
        key === "collection" && filter[key] === row.name && may.edit ? collectionButtons(row.name) : null]), extra] : null;
    fill(nav,
      navItem(t("gallery_all"), facets.all, !narrowed(), () => setFilter(PLAIN), "tiles"),
      navItem(t("gallery_favourites"), facets.favourites, filter.favourite === "1", flip("favourite", "1"), "star"),
      navItem(t("gallery_today"), facets.today, filter.today === "1", flip("today", "1"), "clock"),
      may.edit ? navItem(t("gallery_trash"), facets.trash, filter.trash === "1", () => setFilter({ ...PLAIN, trash: filter.trash ? "" : "1" }), "trash") : null,
      section("collection", t("gallery_collections"), "library",
        may.edit ? textButton(t("gallery_new_collection"), "add", () => newCollection(filter.trash ? [] : [...selected.keys()]), ".ghost") : null),
      section("character", t("gallery_characters")), section("preset", t("preset")));
    note.hidden = !filter.trash;
    order.disabled = Boolean(filter.trash);
    note.textContent = t("gallery_trash_note", { time: days(facets.trash_days) });
  }
  const days = (n) => new Intl.NumberFormat(nb.locale(), { style: "unit", unit: "day", unitDisplay: "long" }).format(n);
  const daysLeft = (item) => days(Math.max(0, Math.ceil(facets.trash_days - (Date.now() / 1000 - item.trashed_at) / 86400)));
  const collectionButtons = (name) => h("div.nb-g-own", {}, textButton(t("gallery_rename"), null, () => renameCollection(name), ".ghost"),
    textButton(t("gallery_drop"), null, () => dropCollection(name), ".ghost"));
  function drawChips() {
    const chip = (label, key) => h("span.nb-chip", {}, label,
      h("button", { type: "button", "aria-label": t("gallery_remove_filter", { name: label }), onclick: () => setFilter({ [key]: "" }) }, icon("close", true)));
    fill(chips, filter.favourite ? chip(t("gallery_favourites"), "favourite") : null, filter.today ? chip(t("gallery_today"), "today") : null,
      filter.trash ? chip(t("gallery_trash"), "trash") : null,
      FACETS.map((key) => filter[key] ? chip(key === "preset" ? presetName(filter[key]) : filter[key], key) : null));
  }
  function showTotal(total) {
    if (!narrowed()) markTab(total);
    grid.box.hidden = !total;
    empty.hidden = Boolean(total);
    if (total) return;
    const [title, help] = NOTHING[Object.keys(query()).filter((key) => key !== "order").join()] || NOTHING.search;
    fill(empty, h("b", {}, t(title)), help ? h("p", {}, t(help)) : null, narrowed() ? textButton(t("gallery_show_all"), null, () => setFilter(PLAIN)) : null);
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
      if (covers() && !marked()) history.pushState({ ...history.state, nb_detail: true }, "");
      grid.redraw();
      drawDetail(show);
    } catch (error) { complain(error); }
  }
  /* Where the panel covers the grid, it has an entry of its own in the history, so that Back closes it. */
  const covers = () => getComputedStyle(panel).position === "fixed";
  const marked = () => Boolean(history.state && history.state.nb_detail);
  function shut() {
    const at = current ? grid.index(current.id) : -1;
    current = wanted = null;
    grid.redraw();
    drawDetail();
    grid.focus(at);
    if (marked()) history.back();
  }
  addEventListener("popstate", () => { if (current && !marked()) shut(); });
  function restore(id) {
    nb.state.form_before = nb.formNow();
    w.trigger("restore", { id });
    if (current && covers()) shut();
  }
  function drawDetail() {
    nb.galleryDetail(panel, current, {
      allowed: may.edit && !(current && current.trashed_at),
      kept: current && current.trashed_at ? daysLeft(current) : "",
      putBack: () => putBack([current.id]),
      restore: () => restore(current.id),
      edit: (change) => edit([current.id], change),
      remove: () => remove([current.id]),
      compare: () => { selected.set(current.id, current); selecting = true; changedSelection(); },
      close: shut,
      collectionItems,
    });
  }
  function collectionItems(have, run) {
    const names = facets ? facets.collections.map((row) => row.name).filter((name) => !have.includes(name)) : [];
    return [...names.map((name) => ({ label: name, icon: "library", run: () => run(name) })), names.length ? null : undefined,
      { label: t("gallery_new_collection"), icon: "add", run: () => { const name = askName(); if (name) run(name); } }].filter((item) => item !== undefined);
  }
  const askName = (now = "") => (window.prompt(t("gallery_collection_name"), now) || "").trim().replace(/\s+/g, " ");
  function newCollection(ids) {
    const name = askName();
    if (name) write("gallery/collection", { name, ids }).then(() => refresh(true), complain);
  }
  /* The counts, then the pictures of this collection, "" for all. */
  async function showCollection(name) {
    facets = await read("gallery/facets");
    setFilter({ trash: "", collection: name });
    if (current) { current = await read("gallery/picture/" + encodeURIComponent(current.id)); drawDetail(); }
  }
  async function renameCollection(name) {
    const now = askName(name);
    if (!now || now === name) return;
    if (facets.collections.some((row) => row.name === now)) { nb.say(t("gallery_name_taken", { name: now })); return; }
    await write("gallery/rename", { name, new: now }).then(() => showCollection(now)).catch(complain);
  }
  async function dropCollection(name) {
    try {
      const { ids, made_at } = await write("gallery/drop", { name });
      await showCollection("");
      nb.say(t("gallery_dropped", { name }), { label: t("undo"), run: () => collectAgain(name, ids, made_at).then(() => showCollection(name)).catch(complain) });
    } catch (error) { complain(error); }
  }
  async function collectAgain(name, ids, made_at) {
    for (let at = 0; at === 0 || at < ids.length; at += 1000) await write("gallery/collection", { name, made_at, ids: ids.slice(at, at + 1000) });
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
      nb.emit("deleted", ids);
      await refresh(true);
      nb.say(t(ids.length === 1 ? "gallery_deleted_one" : "gallery_deleted", { n: ids.length }),
        { label: t("undo"), run: () => putBack(ids) });
    } catch (error) { complain(error); }
  }
  async function putBack(ids) {
    try {
      await write("gallery/undelete", { ids });
      nb.emit("undeleted", ids);
      await refresh(true);
      nb.say(t(ids.length === 1 ? "gallery_back_one" : "gallery_back", { n: ids.length }));
    } catch (error) { complain(error); }
  }
  /* Deleted or put back, here or in Create: no longer chosen. */
  function leave(ids) {
    if (current && ids.includes(current.id)) shut();
    for (const id of ids) selected.delete(id);
    changedSelection();
  }
  for (const event of ["deleted", "undeleted"]) nb.on(event, leave);

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
  function endSelection() { selecting = false; selected.clear(); changedSelection(); }
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
      filter.trash ? textButton(t("gallery_put_back"), "undo", () => putBack(ids), "", { disabled: !all.length })
        : may.edit ? [iconButton("star", t("gallery_make_favourite"), () => edit(ids, { favourite: true }), { disabled: !all.length }), put] : null, zip,
      may.edit && !filter.trash ? iconButton("trash", t("delete"), () => remove(ids), { disabled: !all.length }) : null,
      iconButton("close", t("gallery_end_selection"), endSelection, { class: "nb-g-end" }));
  }
  function keys(event, item) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const mine = may.edit && !item.trashed_at;
    if (event.key === "f" && mine) edit([item.id], { favourite: !item.favourite });
    else if (event.key === "Delete" && mine) remove(selected.size ? [...selected.keys()] : [item.id]);
    else if (event.key === "r") restore(item.id);
    else if (event.shiftKey && /^Digit[0-5]$/.test(event.code) && mine) edit([item.id], { rating: Number(event.code.slice(5)) });
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
        await nb.parts.request("gallery/import?name=" + encodeURIComponent(file.name), { method: "POST", body: file, headers: { "content-type": "application/octet-stream" } });
        added += 1;
      } catch (error) { problem = error.message.includes(file.name) ? error.message : file.name + ": " + error.message; }
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
  nb.on("escape", (event) => {
    if (!w.element.offsetParent || !(selecting || current)) return;
    event.preventDefault();
    if (current && (covers() || !selecting)) shut();
    else endSelection();
  });
  nb.on("presets", () => { drawNav(); drawChips(); });
  nb.on("picture-done", () => { stale = true; if (w.element.offsetParent) refresh(true); });
  whenShown(w.element, () => refresh(!stale));
});

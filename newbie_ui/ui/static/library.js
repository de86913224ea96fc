/* The card library: characters kept in this browser, exchanged as files. */
nb.library = (function () {
  "use strict";
  const { h, t } = nb;
  const cards = () => { const list = nb.stored("library"); return Array.isArray(list) ? list : []; };
  const fieldsOf = (c) => c.fields.filter((f) => f.value.trim()).map((f) => [f.name, f.value]);

  function save(c) {
    const name = c.name, list = cards().filter((x) => x.name !== name);
    nb.store("library", [{ name, fields: fieldsOf(c) }, ...list].slice(0, 200));
    nb.say(t("card_saved", { name }));
  }
  /* A file for others: one card as `newbie_ui.prompt.cards` reads it, or several in a list. */
  const asFile = (card) => ({ newbie_ui_card: 1, ...card });
  function download(data, name) {
    const blob = new Blob([JSON.stringify(data, null, 1)], { type: "application/json" });
    const a = h("a", { href: URL.createObjectURL(blob), download: name });
    document.body.append(a); a.click(); a.remove();
    setTimeout(() => URL.revokeObjectURL(a.href), 5000);
  }
  const fileName = (card) => (card.name.replace(/[^\p{L}\p{N} ()-]+/gu, "_").trim().slice(0, 60) || "character") + ".card.json";
  function upload() {
    const input = h("input", { type: "file", accept: ".json,application/json" });
    input.addEventListener("change", async () => {
      try {
        if (input.files[0].size > 2e6) throw new Error("too large");
        const data = JSON.parse(await input.files[0].text()), given = data.newbie_ui_card ? [data] : data.cards || [];
        const good = given.filter((c) => typeof c.name === "string" && Array.isArray(c.fields) && c.fields.every((f) => Array.isArray(f) && f.length === 2 && f.every((x) => typeof x === "string" && x.length < 20000)));
        if (!good.length) throw new Error("no cards");
        const names = good.map((c) => c.name);
        nb.store("library", [...good.map((c) => ({ name: c.name.slice(0, 200), fields: c.fields.slice(0, 50) })), ...cards().filter((c) => !names.includes(c.name))].slice(0, 200));
        nb.say(t("cards_loaded", { n: good.length }));
      } catch { nb.say(t("cards_unreadable")); }
    });
    input.click();
  }
  function remove(card) {
    const old = cards();
    nb.store("library", old.filter((c) => c.name !== card.name));
    nb.say(t("card_removed", { name: card.name }), { label: t("undo"), run: () => nb.store("library", old) });
  }
  /* What may become of a saved card: a new character, or any that is there already. */
  function place(anchor, hooks, card) {
    nb.menu(anchor, [
      { label: t("card_add"), icon: "add", disabled: !hooks.room(), run: () => hooks.insert(card.fields) },
      ...hooks.list().map((c) => ({ label: t("card_replace", { name: c.name }), icon: "redo", run: () => hooks.replace(c.index, card.fields) })), null,
      { label: t("card_download"), icon: "download", run: () => download(asFile(card), fileName(card)) },
      { label: t("card_remove"), icon: "trash", run: () => remove(card) },
    ], card.name);
  }
  function open(anchor, hooks) {
    const list = cards();
    nb.menu(anchor, [
      ...list.map((c) => ({ label: c.name, icon: "library", note: c.fields.filter((f) => f[0] === "appearance").map((f) => f[1]).join("").slice(0, 36), run: () => place(anchor, hooks, c) })),
      ...(list.length ? [null] : [{ label: t("library_empty"), disabled: true, run() {} }, null]),
      ...hooks.list().map((c) => ({ label: t("save_name", { name: c.name }), icon: "library", run: () => save(c) })), null,
      { label: t("library_download"), icon: "download", disabled: !list.length, run: () => download({ newbie_ui_cards: 1, cards: cards().map(asFile) }, "newbie_ui-cards.json") }, { label: t("library_upload"), icon: "up", run: upload },
      ...(list.length ? [{ label: t("library_clear"), icon: "trash", run: () => { const old = cards(); nb.store("library", null); nb.say(t("library_cleared"), { label: t("undo"), run: () => nb.store("library", old) }); } }] : []),
    ], t("card_library"));
  }
  return { open, save };
})();

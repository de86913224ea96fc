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
  function download() {
    const blob = new Blob([JSON.stringify({ newbie_ui_cards: 1, cards: cards() }, null, 1)], { type: "application/json" });
    const a = h("a", { href: URL.createObjectURL(blob), download: "newbie_ui-cards.json" });
    document.body.append(a); a.click(); a.remove();
    setTimeout(() => URL.revokeObjectURL(a.href), 5000);
  }
  function upload() {
    const input = h("input", { type: "file", accept: ".json,application/json" });
    input.addEventListener("change", async () => {
      try {
        if (input.files[0].size > 2e6) throw new Error("too large");
        const data = JSON.parse(await input.files[0].text());
        const good = (data.cards || []).filter((c) => typeof c.name === "string" && Array.isArray(c.fields) && c.fields.every((f) => Array.isArray(f) && f.length === 2 && f.every((x) => typeof x === "string" && x.length < 20000)));
        if (!good.length) throw new Error("no cards");
        const names = good.map((c) => c.name);
        nb.store("library", [...good.map((c) => ({ name: c.name.slice(0, 200), fields: c.fields.slice(0, 50) })), ...cards().filter((c) => !names.includes(c.name))].slice(0, 200));
        nb.say(t("cards_loaded", { n: good.length }));
      } catch { nb.say(t("cards_unreadable")); }
    });
    input.click();
  }
  function open(anchor, hooks) {
    const list = cards();
    nb.menu(anchor, [
      ...list.slice(0, 30).map((c) => ({ label: c.name, icon: "add", note: c.fields.filter((f) => f[0] === "appearance").map((f) => f[1]).join("").slice(0, 36), run: () => hooks.insert(c.fields) })),
      ...(list.length ? [null] : [{ label: t("library_empty"), disabled: true, run() {} }, null]),
      ...hooks.list().map((c) => ({ label: t("save_name", { name: c.name }), icon: "library", run: () => save(c) })), null,
      { label: t("library_download"), icon: "download", disabled: !list.length, run: download }, { label: t("library_upload"), icon: "up", run: upload },
      ...(list.length ? [{ label: t("library_clear"), icon: "trash", run: () => { const old = cards(); nb.store("library", null); nb.say(t("library_cleared"), { label: t("undo"), run: () => nb.store("library", old) }); } }] : []),
    ], t("card_library"));
  }
  return { open, save };
})();

/* The keyboard: one table of keys, its overlay, and what they do. Nothing fires while a person types, save those with Ctrl. */
nb.keys = (function () {
  "use strict";
  const { h, t, emit } = nb;
  const KEYS = [
    ["keys_make", [[["Ctrl", "↵"], "generate"], [["Esc"], "stop_now"], [["R"], "random_seed"]]],
    ["keys_compose", [[["A"], "add_character"], [["X"], "cards_xml"], [["Ctrl", "Z"], "undo"], [["Ctrl", "Shift", "Z"], "redo"], [["V"], "paste_anything"]]],
    ["keys_fields", [[["Tab"], "accept_tag"], [["↑↓"], "weight_tag"], [["←→↑↓"], "move_dot"]]],
    ["keys_gallery", [[["←→↑↓"], "key_walk"], [["␣"], "key_select"], [["F"], "key_favourite"], [["⇧", "1–5"], "key_rate"], [["R"], "key_restore"], [["Del"], "key_delete"]]],
    ["keys_page", [[["1–4"], "tabs"], [["/"], "search"], [["F"], "full_screen"], [["?"], "keyboard_map"]]],
  ];
  let dialog = null;
  function help() {
    if (dialog) dialog.remove();
    dialog = h("dialog.nb-help", { "aria-label": t("keyboard_map") }, h("div.row.head", {}, h("h2", {}, t("keyboard_map")), h("span.grow"), nb.iconButton("close", t("close"), () => dialog.close())),
      h("div.keycols", {}, KEYS.map(([title, rows]) => h("section", {}, h("h3", {}, t(title)), rows.map(([keys, what]) => h("div.krow", {}, h("span", {}, t(what)), h("span.grow"), keys.map((k) => h("kbd", {}, k))))))));
    document.body.append(dialog);
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    dialog.showModal();
  }
  const tab = (n) => { const buttons = document.querySelectorAll("#nb-tabs > .tab-wrapper button[role=tab]"); if (buttons[n]) buttons[n].click(); };
  const tabShown = () => { const b = document.querySelector("#nb-tabs > .tab-wrapper button[role=tab][aria-selected=true]"); return b ? [...document.querySelectorAll("#nb-tabs > .tab-wrapper button[role=tab]")].indexOf(b) : 0; };
  const typing = (target) => target && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) && !["range", "checkbox", "radio", "button"].includes(target.type));

  document.addEventListener("keydown", (event) => {
    const control = event.ctrlKey || event.metaKey, open = document.querySelector("dialog[open]");
    if (control && event.key === "Enter") { event.preventDefault(); if (!open) emit("generate"); return; }
    if (open || event.defaultPrevented) return;
    if (control && event.key.toLowerCase() === "z" && !typing(event.target) && tabShown() === 0) { event.preventDefault(); emit(event.shiftKey ? "redo" : "undo"); return; }
    if (event.key === "Escape") {
      if (document.body.classList.contains("nb-sheet")) { document.body.classList.remove("nb-sheet"); return; }
      if (typing(event.target)) { event.target.blur(); return; }
      emit("escape", event); /* who has something open closes it and prevents the default */
      if (!event.defaultPrevented && tabShown() === 0) emit("stop");
      return;
    }
    if (control || event.altKey || typing(event.target)) return;
    const key = event.key;
    if (/^[1-4]$/.test(key)) tab(+key - 1);
    else if (key === "?") help();
    else if (key === "/") { const box = document.querySelector("[data-search]:not([hidden])") || document.querySelector("#nb-search textarea, #nb-search input"); if (tabShown() !== 1) tab(1); setTimeout(() => { const found = document.querySelector("[data-search]") || box; if (found) found.focus(); }, 60); }
    else if (tabShown() !== 0) return;
    else if (key === "a") emit("add-character");
    else if (key === "x") emit("mode");
    else if (key === "v") emit("paste-dialog");
    else if (key === "r") emit("random-seed");
    else if (key === "f") { if (nb.state.shown) nb.viewer.open(nb.state.shown); }
    else return;
    event.preventDefault();
  });
  nb.on("help", help);
  return { help, tab };
})();

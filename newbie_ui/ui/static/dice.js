/* Lock and dice of a field: the dice draw other tags for it, a locked field is left alone when a whole card is rolled. */
nb.dice = (function () {
  "use strict";
  const { h, icon, t } = nb;
  const locks = () => (Array.isArray(nb.state.locks) ? nb.state.locks : (nb.state.locks = nb.stored("locks") || []));
  const isLocked = (block, name) => locks().includes(block + "/" + name);
  const can = (name) => (nb.state.dice_fields || []).includes(name);

  function toggle(block, name) {
    const key = block + "/" + name;
    nb.state.locks = isLocked(block, name) ? locks().filter((k) => k !== key) : [...locks(), key];
    nb.store("locks", nb.state.locks);
  }
  /* The buttons at the end of a row; they appear on hover and focus, a closed lock stays. */
  function buttons(block, name, area, hooks) {
    if (!can(name)) return null;
    const make = (glyph, label, run, extra) => h("button.ib.sm", { type: "button", "aria-label": label, title: label, tabindex: "-1", onpointerdown: (event) => event.preventDefault(), onclick: run, ...extra }, icon(glyph, true));
    const locked = isLocked(block, name);
    const lock = make(locked ? "lock" : "unlock", locked ? t("unlock_field") : t("lock_field"), () => { toggle(block, name); nb.emit("collapse"); }, { "aria-pressed": String(locked) });
    const roll = locked ? null : make("dice", t("dice_field"), () => hooks.structural({ op: "dice", block, names: [name], field: +area.dataset.index }));
    return [lock, roll];
  }
  /* Names of the fields that a roll of the whole card may change. */
  const free = (block, names) => names.filter((name) => can(name) && !isLocked(block, name));

  /* Keys of cards follow their cards when these are removed, copied or moved. */
  function follow(keys, op, count) {
    const place = (i) => {
      if (op.op === "remove") return i === op.index ? -1 : i > op.index ? i - 1 : i;
      if (op.op === "duplicate") return i > op.index ? i + 1 : i;
      if (op.op === "move") { const order = Array.from({ length: count }, (_, k) => k); order.splice(op.to, 0, order.splice(op.index, 1)[0]); return order.indexOf(i); }
      return i;
    };
    return keys.map((key) => {
      const match = /^character:(\d+)(.*)$/.exec(key);
      if (!match) return key;
      const to = place(+match[1]);
      return to < 0 ? null : "character:" + to + match[2];
    }).filter(Boolean);
  }
  function structure(op, count) {
    if (!["remove", "duplicate", "move"].includes(op.op)) return;
    nb.state.locks = follow(locks(), op, count);
    nb.store("locks", nb.state.locks);
    nb.store("collapsed", follow(nb.stored("collapsed") || [], op, count));
  }
  return { buttons, free, structure };
})();

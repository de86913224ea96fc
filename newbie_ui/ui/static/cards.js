/* The cards: one for each character, one for the general tags, one for whatever else stands in the prompt. */
nb.cards = (function () {
  "use strict";
  const { h, fill, icon, iconButton, t } = nb;
  const GENDERS = ["1girl", "1boy", "1other"];
  /* Always shown, in this order; two on one line where they are short. Others appear when they are used or added. */
  const CHARACTER = [["appearance"], ["clothing"], ["expression", "action"]];
  const GENERAL = [["count", "style"], ["background"], ["atmosphere", "quality"], ["objects", "other"]];
  const MORE_CHARACTER = ["interaction", "body_type"];
  const MORE_GENERAL = ["artists", "lighting", "perspective", "environment", "resolution", "extra_tags", "caption"];
  const IN_HEAD = ["n", "name", "gender", "position"];
  const label = (name) => { const key = "field_" + name; const word = t(key); return word === key ? (name ? name.replace(/_/g, " ") : t("free_text")) : word; };

  const collapsed = () => nb.stored("collapsed") || [];
  function toggleCollapsed(key) {
    const now = collapsed();
    nb.store("collapsed", now.includes(key) ? now.filter((k) => k !== key) : [...now, key]);
    nb.emit("collapse");
  }

  /* A growing textarea: one row of the table. */
  function field(block, f, name, hooks, options) {
    const o = options || {}, id = "nb-f-" + block.replace(":", "-") + "-" + (name || "text") + (f && f.index >= 0 ? "-" + f.index : "");
    const area = h("textarea", {
      id, rows: 1, value: f ? f.value : "", spellcheck: "false", autocapitalize: "off", autocomplete: "off", autocorrect: "off",
      "data-field": name, "data-index": f ? f.index : -1, placeholder: o.placeholder || null, "data-complete": o.prose ? null : "tags", maxlength: 20000,
    });
    area.addEventListener("input", () => {
      grow(area);
      if (o.set) o.set(area.value); else hooks.setField(block, +area.dataset.index, name, area.value);
    });
    const actions = o.actions === false ? null : nb.dice ? h("div.act", {}, nb.dice.buttons(block, name, area, hooks)) : null;
    return h("div.fld", { "data-name": name }, h("label", { for: id }, o.label || label(name)), area, actions);
  }
  /* Browsers without field-sizing get their height by script. */
  function grow(area) {
    if (window.CSS && CSS.supports("field-sizing", "content")) return;
    area.style.height = "auto";
    area.style.height = area.scrollHeight + "px";
  }

  /* Rows of a block: the usual ones paired, then everything else that is there, in its own order. */
  function rows(block, fields, layout, hidden, hooks) {
    const left = fields.filter((f) => !hidden.includes(f.name) || fields.find((g) => g.name === f.name) !== f);
    const take = (name) => { const at = left.findIndex((f) => f.name === name); return at < 0 ? null : left.splice(at, 1)[0]; };
    const out = layout.map((names) => {
      const made = names.map((name) => field(block, take(name), name, hooks));
      return made.length > 1 ? h("div.two", {}, made) : made[0];
    });
    for (const f of left) out.push(field(block, f, f.name, hooks, { prose: f.name === "caption" }));
    return out;
  }

  /* A pill with the usual choices, the present value, and a way to type another one. */
  function pill(block, f, name, choices, hooks, words) {
    const value = f ? f.value.trim() : "";
    const known = !value || choices.includes(value);
    const select = h("select", { "aria-label": label(name), "data-field": name, "data-index": f ? f.index : -1 },
      h("option", { value: "" }, words.empty), known ? null : h("option", { value }, value),
      choices.map((c) => h("option", { value: c }, c)), h("option", { value: "\u0000other" }, t("other_value")));
    select.value = value;
    select.addEventListener("change", () => {
      if (select.value !== "\u0000other") { hooks.setField(block, +select.dataset.index, name, select.value); select.dataset.value = select.value; nb.emit("redraw-pad"); return; }
      const input = h("input.pill-in", { value, "aria-label": label(name), maxlength: 200 });
      const finish = () => { if (input.isConnected) { hooks.setField(block, +select.dataset.index, name, input.value); hooks.flush(); input.replaceWith(box); } };
      input.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === "Escape") { if (event.key === "Escape") input.value = value; finish(); event.preventDefault(); event.stopPropagation(); } });
      input.addEventListener("blur", finish);
      select.value = value;
      box.replaceWith(input);
      input.focus();
      input.select();
    });
    const box = h("span.pill", { "data-pill": name }, select, icon("down"));
    return box;
  }

  function head(c, index, hooks) {
    const block = "character:" + index, number = index + 1;
    const nameField = c.fields.find((f) => f.name === "n") || c.fields.find((f) => f.name === "name");
    const get = (name) => c.fields.find((f) => f.name === name);
    const name = h("input.nm", {
      value: c.name || "", placeholder: t("character_n", { n: number }), "aria-label": t("name_of", { n: number }), maxlength: 200,
      spellcheck: "false", autocomplete: "off", "data-complete": "character", title: t("name_help"),
    });
    name.addEventListener("input", () => hooks.setField(block, nameField ? nameField.index : -1, nameField ? nameField.name : "n",
      name.value.trim() ? name.value : "$character_" + number + "$"));
    const dot = h("button.dot.grab", { type: "button", id: "nb-dot-" + index, "aria-label": t("move_card", { n: number }), title: t("drag_to_move") }, String(number));
    const muted = hooks.isMuted(index), folded = collapsed().includes(block);
    const more = iconButton("more", t("more"), () => nb.menu(more, menuItems(c, index, hooks, more), t("more")), { small: true, popup: "menu" });
    return { dot, node: h("div.hd", {}, dot, h("span.th", { "data-thumb": index }), name,
      pill(block, get("gender"), "gender", GENDERS, hooks, { empty: t("gender") }),
      pill(block, get("position"), "position", nb.pad.COLUMNS, hooks, { empty: t("position") }), h("span.grow"),
      iconButton(muted ? "eyeoff" : "eye", muted ? t("unmute") : t("mute"), () => hooks.toggleMute(index), { small: true, pressed: muted, title: t("mute_help") }),
      iconButton("copy", t("duplicate"), () => duplicate(index, hooks), { small: true, class: "wide-only" }), more,
      folded ? iconButton("right", t("expand"), () => toggleCollapsed(block), { small: true }) : null) };
  }
  function duplicate(index, hooks) {
    if (hooks.count() >= hooks.max()) nb.say(t("six_at_most", { n: hooks.max() }));
    else hooks.structural({ op: "duplicate", index });
  }
  function menuItems(c, index, hooks, anchor) {
    const block = "character:" + index, have = c.fields.map((f) => f.name);
    return [
      { label: t("duplicate"), icon: "copy", run: () => duplicate(index, hooks) },
      { label: t("move_up"), icon: "up", disabled: index === 0, run: () => hooks.structural({ op: "move", index, to: index - 1 }) },
      { label: t("move_down"), icon: "down", disabled: index + 1 >= hooks.count(), run: () => hooks.structural({ op: "move", index, to: index + 1 }) },
      { label: collapsed().includes(block) ? t("expand") : t("collapse"), icon: collapsed().includes(block) ? "right" : "down", run: () => toggleCollapsed(block) },
      null,
      ...MORE_CHARACTER.filter((n) => !have.includes(n)).map((n) => ({ label: t("add_field", { field: label(n) }), icon: "add", run: () => hooks.structural({ op: "field", block, field: -1, name: n, value: "" }) })),
      { label: t("dice_card"), icon: "dice", run: () => hooks.structural({ op: "dice", block, names: nb.dice.free(block, CHARACTER.flat()) }) },
      { label: t("save_card"), icon: "library", run: () => hooks.library(anchor, index) },
      { label: t("compare_without"), icon: "compare", run: () => hooks.compareMuted(index) },
      null,
      { label: t("remove"), icon: "trash", run: () => hooks.structural({ op: "remove", index }) },
    ];
  }

  function characterCard(c, index, hooks) {
    const block = "character:" + index, muted = hooks.isMuted(index), folded = collapsed().includes(block);
    const top = head(c, index, hooks);
    const card = h("section.card.ch.k" + (index + 1) + (muted ? ".mutd" : "") + (folded ? ".folded" : ""),
      { "data-block": block, "aria-label": hooks.nameOf(c, index) }, top.node);
    if (muted) card.append(h("div.mutenote", {}, t("left_out")));
    else if (folded) card.append(h("div.mutenote", {}, c.fields.filter((f) => !IN_HEAD.includes(f.name) && f.value.trim()).map((f) => f.value.trim()).join(", ")));
    else {
      const get = (name) => c.fields.find((f) => f.name === name);
      card.append(h("div.two.gp", {}, ["gender", "position"].map((name) =>
        h("div.fld", {}, h("span.lb", {}, label(name)), pill(block, get(name), name, name === "gender" ? GENDERS : nb.pad.COLUMNS, hooks, { empty: "–" })))));
      card.append(...rows(block, c.fields, CHARACTER, IN_HEAD, hooks));
    }
    reorder(top.dot, card, index, hooks);
    return card;
  }

  function generalCard(view, hooks) {
    const folded = collapsed().includes("general"), have = view.general.map((f) => f.name);
    const filled = view.general.filter((f) => f.value.trim()).length;
    const more = iconButton("more", t("more"), () => nb.menu(more, MORE_GENERAL.filter((n) => !have.includes(n)).map((n) => ({
      label: t("add_field", { field: label(n) }), icon: "add", run: () => hooks.structural({ op: "field", block: "general", field: -1, name: n, value: "" }),
    })), t("more")), { small: true, popup: "menu" });
    const card = h("section.card.ch.gen", { "data-block": "general", "aria-label": t("general_tags") },
      h("div.hd", {}, h("span.dot.sm.kg"), h("h2.nm", {}, t("general_tags")), h("span.grow"),
        h("span.cap", {}, t("fields_filled", { n: filled })), more,
        iconButton(folded ? "right" : "down", folded ? t("expand") : t("collapse"), () => toggleCollapsed("general"), { small: true })));
    if (!folded) {
      card.append(...rows("general", view.general, GENERAL, [], hooks));
      card.append(field("negative", { index: -1, value: hooks.negative() }, "negative", hooks, { set: hooks.setNegative, label: t("negative") }));
    }
    return card;
  }

  function extraCard(view, hooks) {
    if (!view.extras.length) return null;
    return h("section.card.ch.ext", { "data-block": "extra", "aria-label": t("also_in_prompt") },
      h("div.hd", {}, h("span.dot.sm.ks"), h("h2.nm", {}, t("also_in_prompt"))),
      view.extras.map((f) => field("extra", f, f.name, hooks, { prose: true, actions: false })));
  }

  /* Drag by the numbered dot; with the keyboard, arrow keys on it. */
  function reorder(dot, card, index, hooks) {
    let origin = null;
    dot.addEventListener("keydown", (event) => {
      const to = { ArrowUp: index - 1, ArrowDown: index + 1 }[event.key];
      if (to === undefined || to < 0 || to >= hooks.count()) return;
      event.preventDefault();
      hooks.focusAfter("nb-dot-" + to);
      hooks.structural({ op: "move", index, to });
    });
    dot.addEventListener("pointerdown", (event) => { dot.setPointerCapture(event.pointerId); origin = event.clientY; });
    dot.addEventListener("pointermove", (event) => {
      if (origin === null || Math.abs(event.clientY - origin) < 5 && !card.classList.contains("dragged")) return;
      card.classList.add("dragged");
      card.style.transform = "translateY(" + (event.clientY - origin) + "px)";
    });
    dot.addEventListener("pointerup", (event) => {
      if (card.classList.contains("dragged")) {
        const others = [...card.parentNode.querySelectorAll("[data-block^=character]")].filter((c) => c !== card);
        const to = others.filter((c) => { const b = c.getBoundingClientRect(); return b.top + b.height / 2 < event.clientY; }).length;
        card.classList.remove("dragged");
        card.style.transform = "";
        if (to !== index) hooks.structural({ op: "move", index, to });
      }
      origin = null;
    });
  }

  function build(node, view, hooks) {
    const active = document.activeElement && node.contains(document.activeElement) ? document.activeElement : null;
    const at = active && { id: active.id, start: active.selectionStart, end: active.selectionEnd };
    fill(node, view.characters.map((c, i) => characterCard(c, i, hooks)), generalCard(view, hooks), extraCard(view, hooks));
    node.querySelectorAll("textarea").forEach(grow);
    const again = at && at.id && document.getElementById(at.id);
    if (again) { again.focus(); if (again.setSelectionRange && at.start !== null) again.setSelectionRange(at.start, at.end); }
  }

  /* Same fields as before: only values and indices change, and never under the cursor. */
  function update(node, view, hooks) {
    const put = (block, fields) => {
      const card = node.querySelector('[data-block="' + block + '"]');
      if (!card) return;
      const seen = {};
      for (const f of fields) {
        const all = card.querySelectorAll("[data-field=" + JSON.stringify(f.name) + "]"), areas = [...all].filter((n) => n.tagName === "TEXTAREA");
        const k = seen[f.name] = (seen[f.name] === undefined ? -1 : seen[f.name]) + 1;
        if (areas[k]) { areas[k].dataset.index = f.index; if (areas[k] !== document.activeElement && areas[k].value !== f.value) { areas[k].value = f.value; grow(areas[k]); } }
        if (k === 0) for (const s of all) if (s.tagName === "SELECT") {
          s.dataset.index = f.index;
          const value = f.value.trim();
          if (s.value !== value) {
            if (![...s.options].some((o) => o.value === value)) s.insertBefore(h("option", { value }, value), s.options[1]);
            s.value = value;
          }
        }
      }
    };
    view.characters.forEach((c, i) => {
      put("character:" + i, c.fields);
      const input = node.querySelector('[data-block="character:' + i + '"] .nm');
      if (input && input !== document.activeElement && input.value !== (c.name || "")) input.value = c.name || "";
    });
    put("general", view.general);
    put("extra", view.extras);
    const cap = node.querySelector('[data-block="general"] .cap');
    if (cap) cap.textContent = t("fields_filled", { n: view.general.filter((f) => f.value.trim()).length });
    const negative = node.querySelector('[data-name="negative"] textarea');
    if (negative && negative !== document.activeElement && negative.value !== hooks.negative()) { negative.value = hooks.negative(); grow(negative); }
  }
  /* Small portraits, cut from the last picture where the position tags say that each one stands. */
  function portraits(node, view, muted) {
    const made = nb.state.people, shown = view.characters.map((c, i) => i).filter((i) => !muted.includes(i));
    const fits = made && made.picture && made.list.length === shown.length && made.list.every(Boolean);
    view.characters.forEach((c, i) => {
      const place = node.querySelector('[data-block="character:' + i + '"] .th'), at = shown.indexOf(i);
      if (!place) return;
      place.nextElementSibling.placeholder = t(fits && at >= 0 ? "char_short" : "character_n", { n: i + 1 });
      if (!fits || at < 0) { place.removeAttribute("style"); return; }
      const zoom = 2.3, centre = (made.list[at][0] + 0.5) / 7, x = Math.min(1, Math.max(0, (centre - 0.5 / zoom) / (1 - 1 / zoom)));
      place.style.background = "var(--nb-sunken) url(" + JSON.stringify(nb.thumb(made.picture)) + ") " + 100 * x + "% 40% / " + 100 * zoom + "% no-repeat";
    });
  }
  return { build, update, label, portraits };
})();

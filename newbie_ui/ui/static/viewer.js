/* Full screen: one picture, or two under a slider. Arrow keys go on, Esc leaves. */
nb.viewer = (function () {
  "use strict";
  const { h, fill, iconButton, t } = nb;
  let dialog = null;
  function show(label, ...children) {
    if (!dialog) { dialog = h("dialog.nb-viewer"); document.body.append(dialog); dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); }); }
    dialog.setAttribute("aria-label", label);
    fill(dialog, ...children, iconButton("close", t("close"), () => dialog.close(), { class: "vclose" }));
    if (!dialog.open) dialog.showModal();
  }
  function open(id, all) {
    const list = all && all.length ? all : [id];
    let at = Math.max(0, list.indexOf(id));
    const image = h("img", { src: nb.picture(list[at]), alt: "" });
    const go = (step) => { at = (at + step + list.length) % list.length; image.src = nb.picture(list[at]); nb.emit("pick", list[at]); };
    show(t("full_screen"), image, list.length > 1 ? [iconButton("back", t("newer"), () => go(-1), { class: "vprev" }), iconButton("right", t("older"), () => go(1), { class: "vnext" })] : null);
    dialog.onkeydown = (event) => { const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key]; if (step && list.length > 1) { event.preventDefault(); go(step); } };
  }
  /* Two pictures on one place; the slider says how much of the second one shows. */
  function compare(a, b, names) {
    const [nameA, nameB] = names || ["A", "B"];
    const over = h("div.cover", {}, h("img", { src: nb.picture(b), alt: nameB }));
    const line = h("div.cline", { "aria-hidden": "true" });
    const slider = h("input.cslide", { type: "range", min: 0, max: 100, step: 0.1, value: 50, "aria-label": t("compare_slider") });
    const move = () => { over.style.clipPath = "inset(0 0 0 " + slider.value + "%)"; line.style.left = slider.value + "%"; };
    slider.addEventListener("input", move);
    show(t("compare"), h("div.cmp", {}, h("img", { src: nb.picture(a), alt: nameA }), over, line, slider, h("span.cp.a", {}, nameA), h("span.cp.b", {}, nameB)));
    dialog.onkeydown = null;
    move();
    slider.focus();
  }
  return { open, compare };
})();

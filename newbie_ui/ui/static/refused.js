/* A refusal: the field that it names says why, the dock leads there, and both stop when the field is changed. */
(function () {
  "use strict";
  const { h, emit } = nb;
  const ELSEWHERE = {
    prompt: "#nb-editor textarea", negative_prompt: "#nb-editor [data-name=negative] textarea",
    preset: ".nb-w-presets [tabindex='0']", images: "#nb-dock .num select",
  };
  const note = h("div.nb-err", { id: "nb-err" });
  let error = null, place = null, field = null;

  /* Of several places the one in sight: the prompt stands in cards or as XML. */
  function find(name) {
    const places = ELSEWHERE[name] ? [...document.querySelectorAll(ELSEWHERE[name])] : [];
    place = document.getElementById("nb-p-" + name) || places.find((node) => node.offsetParent) || places[0];
    field = place && (place.matches("input, textarea, select") ? place : place.querySelector("input, textarea, select"));
  }
  function show(news) {
    note.remove();
    if (field) for (const name of ["aria-invalid", "aria-describedby"]) field.removeAttribute(name);
    error = news;
    find(error && error.field);
    if (!place || error.field === "prompt") return;
    unfold();
    if (field) { field.setAttribute("aria-invalid", "true"); field.setAttribute("aria-describedby", note.id); }
    note.textContent = nb.told(error.message);
    (place.closest(".pm, .fld, .wh") || place.closest(".block") || place).after(note);
    if (!away()) note.scrollIntoView({ block: "nearest" });
  }
  function unfold() {
    const fold = place.closest(".nb-fold, .nb-w-loras");
    const closed = fold && fold.querySelector("button.label-wrap:not(.open), .foldh[aria-expanded=false]");
    if (closed) closed.click();
  }
  /* On narrow pages the right column is out of sight until it is asked for. */
  function away() {
    const column = place.closest("#nb-right");
    return column && getComputedStyle(column).visibility === "hidden";
  }
  nb.on("field-error", show);
  nb.on("goto-field", () => {
    find(error && error.field);
    if (!place) return;
    if (away()) document.body.classList.add("nb-sheet");
    unfold();
    (field || place).scrollIntoView({ block: "center" });
    (field || place).focus({ preventScroll: true });
  });

  function mended() { emit("error", null); emit("field-error", null); }
  nb.on("mended", (name) => { if (error && error.field === name) mended(); });
  for (const event of ["input", "change"]) document.addEventListener(event, ({ target }) => {
    if (place && (place.closest(".nb-fold, .nb-w") || place).contains(target)) mended();
  }, true);
})();

/* What the server answers to Generate: nothing to say, or which field was refused and why. */
nb.define("teller", function (w) {
  "use strict";
  w.watch("value", () => {
    const error = (w.props.value || {}).error || null;
    nb.emit("error", error);
    nb.emit("field-error", error);
    if (!error && !w.props.value.quiet) { nb.emit("follow", true); nb.emit("ask"); }
    if ((w.props.value.compare || []).length === 2) nb.emit("compare-jobs", w.props.value.compare);
  });
});

/* newbie_ui: what all widgets share. Content is built from text nodes only; no text of a person becomes HTML. */
window.nb = window.nb || (function () {
  "use strict";
  const widgets = {}, listeners = {}, state = {};

  /* h("button.ib.sm", {onclick, "aria-label": …}, child, …) makes an element. Strings become text. */
  function h(spec, attributes, ...children) {
    const [tag, ...classes] = spec.split(".");
    const node = document.createElement(tag || "div");
    if (classes.length) node.className = classes.join(" ");
    for (const [key, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (key === "style" && typeof value === "object") {
        for (const [k, v] of Object.entries(value)) node.style.setProperty(k, v);
      } else if (key === "value" && "value" in node) node.value = value;
      else node.setAttribute(key, value === true ? "" : value);
    }
    append(node, children);
    return node;
  }
  function append(node, children) {
    for (const child of children.flat(3)) {
      if (child === null || child === undefined || child === false) continue;
      node.append(child instanceof Node ? child : document.createTextNode(String(child)));
    }
  }
  function fill(node, ...children) { node.replaceChildren(); append(node, children); return node; }

  const on = (event, fn) => { (listeners[event] = listeners[event] || []).push(fn); };
  const emit = (event, data) => { for (const fn of listeners[event] || []) fn(data); };

  function define(name, build) { widgets[name] = build; }
  function mount(name, w) {
    if (!widgets[name]) { console.error("newbie_ui: no widget " + name); return; }
    try { widgets[name](w); } catch (error) { console.error("newbie_ui: widget " + name, error); }
  }

  /* Pictures by gallery id; addresses are relative, so that they work behind a proxy's path. */
  const picture = (id) => "pictures/" + encodeURIComponent(id) + ".png";
  const thumb = (id) => "thumbs/" + encodeURIComponent(id) + ".webp";

  return { h, fill, on, emit, define, mount, picture, thumb, state };
})();

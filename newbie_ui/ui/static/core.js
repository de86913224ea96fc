/* newbie_ui: what all widgets share: elements, icons, events, words, storage.
   Content is built from text nodes only; no text of a person ever becomes HTML. */
window.nb = window.nb || (function () {
  "use strict";
  const widgets = {}, waiting = {}, listeners = {}, state = { words: {}, presets: [], labels: {}, jobs: [] };

  /* h("button.ib.sm", {onclick, "aria-label": …}, child, …) makes an element. Strings become text. */
  function h(spec, attributes, ...children) {
    const [tag, ...classes] = spec.split(".");
    const node = document.createElement(tag || "div");
    if (classes.length) node.className = classes.join(" ");
    for (const [key, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (key === "style" && typeof value === "object") {
        for (const [k, v] of Object.entries(value)) if (v !== null && v !== undefined) node.style.setProperty(k, v);
      } else if (key === "value" && "value" in node && tag !== "option") node.value = value;
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

  /* 16 px line icons, drawn for this page. */
  const ICONS = {
    add: "M8 3v10M3 8h10", back: "M13 8H3.5M7 4L3 8l4 4", bell: "M4 11V7.5a4 4 0 0 1 8 0V11l1 1.500H3zM6.800 14.200h2.400",
    check: "M3 8.500l3.200 3.200L13 5", clock: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zM8 4.800V8l2.200 1.500", close: "M4 4l8 8M12 4l-8 8",
    compare: "M2 3h12v10H2zM8 1.5v13M4.5 8h1M10.5 8h1", copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
    device: "M4.500 4.500h7v7h-7zM6.500 1.800v2.700M9.500 1.800v2.700M6.500 11.500v2.700M9.500 11.500v2.700M1.800 6.500h2.700M1.800 9.500h2.700M11.500 6.500h2.700M11.500 9.500h2.700",
    dice: "M4.500 2.500h7a2 2 0 0 1 2 2v7a2 2 0 0 1-2 2h-7a2 2 0 0 1-2-2v-7a2 2 0 0 1 2-2zM5.700 5.700h.01M8 8h.01M10.300 10.300h.01M10.300 5.700h.01M5.700 10.300h.01",
    down: "M4 6l4 4 4-4", download: "M8 2.5v8M4.8 7.5L8 10.7l3.2-3.2M3 13.5h10", up: "M4 10l4-4 4 4",
    eye: "M1.5 8S4 3.5 8 3.5 14.5 8 14.5 8 12 12.5 8 12.5 1.5 8 1.5 8zM8 6.2a1.8 1.8 0 1 0 0 3.6 1.8 1.8 0 0 0 0-3.6z",
    eyeoff: "M1.5 8S4 3.5 8 3.5 14.5 8 14.5 8 12 12.5 8 12.5 1.5 8 1.5 8zM2.5 13.5l11-11",
    flag: "M3.500 14V2.500M3.500 3h8l-2 3 2 3h-8", full: "M2.500 6V2.500H6M10 2.500h3.500V6M13.500 10v3.500H10M6 13.500H2.500V10",
    globe: "M8 1.800a6.200 6.200 0 1 0 0 12.400A6.200 6.200 0 0 0 8 1.800zM1.800 8h12.400M8 1.800c2 1.800 2.700 4 2.700 6.200S10 12.400 8 14.200C6 12.400 5.300 10.200 5.300 8S6 3.600 8 1.800",
    grip: "M6 3.5h.01M6 8h.01M6 12.5h.01M10 3.5h.01M10 8h.01M10 12.5h.01",
    help: "M8 1.800a6.200 6.200 0 1 0 0 12.400A6.200 6.200 0 0 0 8 1.800zM6.200 6.300A1.900 1.900 0 1 1 8.600 8.100c-.4.2-.6.5-.6 1M8 11.300h.01",
    info: "M8 1.800a6.200 6.200 0 1 0 0 12.400A6.200 6.200 0 0 0 8 1.800zM8 7.300v4M8 4.900h.01",
    library: "M3 2.500h8.500a1 1 0 0 1 1 1v10H4a1 1 0 0 1-1-1zM3 11.500h9.500M6 5.500h3.500",
    link: "M6.5 9.5l3-3M7 4.5l1-1a3 3 0 0 1 4.5 4.3l-1.2 1M9 11.5l-1 1A3 3 0 0 1 3.500 8.200l1.200-1",
    lock: "M4 7.5h8v6H4zM5.5 7.5V5.5a2.5 2.5 0 0 1 5 0v2", unlock: "M4 7.5h8v6H4zM5.5 7.5V4.7a2.5 2.5 0 0 1 4.8-.9",
    moon: "M13 9.500A5.500 5.500 0 1 1 6.500 3a4.500 4.500 0 0 0 6.500 6.500z", more: "M3.500 8h.01M8 8h.01M12.500 8h.01",
    paste: "M5 3H3.500v10.500h9V3H11M5.500 2h5v2.500h-5z", play: "M4.500 3l8 5-8 5z", right: "M6 4l4 4-4 4",
    search: "M7 2.500a4.500 4.500 0 1 0 0 9 4.500 4.500 0 0 0 0-9zM10.300 10.300l3.200 3.200", skip: "M3.500 3.500l6 4.500-6 4.500zM12.500 3.500v9",
    sliders: "M2.500 5h7M12.500 5h1M2.500 11h1M6.500 11h7M11 3.500v3M5 9.500v3",
    star: "M8 2l1.8 3.8 4.2.6-3 2.9.7 4.1L8 11.4l-3.7 2 .7-4.1-3-2.9 4.2-.6z", stop: "M4 4h8v8H4z",
    sun: "M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6zM8 1.500v1M8 13.500v1M1.500 8h1M13.500 8h1M3.400 3.400l.7.7M11.900 11.900l.7.7M3.400 12.600l.7-.7M11.900 4.100l.7-.7",
    tiles: "M2.500 2.500h4.500v4.500H2.500zM9 2.500h4.500v4.500H9zM2.500 9h4.500v4.500H2.500zM9 9h4.500v4.500H9z",
    trash: "M3 4.500h10M6 4.500V3h4v1.500M4.200 4.500l.6 9h6.400l.6-9M6.800 7v4M9.200 7v4",
    undo: "M5.500 3L2.500 6l3 3M2.500 6H10a3.500 3.500 0 0 1 0 7H6", redo: "M10.500 3l3 3-3 3M13.500 6H6a3.500 3.500 0 0 0 0 7h4",
    warn: "M8 2.200l6.200 11H1.800zM8 6.500v3M8 11.400h.01",
  };
  const SVG = "http://www.w3.org/2000/svg";
  function icon(name, small) {
    const svg = document.createElementNS(SVG, "svg"), path = document.createElementNS(SVG, "path");
    svg.setAttribute("viewBox", "0 0 16 16");
    svg.setAttribute("aria-hidden", "true");
    svg.setAttribute("class", "i" + (small ? " s" : ""));
    if (name === "more" || name === "grip") svg.style.strokeWidth = "2.4";
    if (name === "stop" || name === "play") svg.style.fill = "currentColor";
    path.setAttribute("d", ICONS[name]);
    svg.append(path);
    return svg;
  }
  /* A square button with only an icon: the label is its name and its tooltip. */
  function iconButton(name, label, onclick, options) {
    const o = options || {};
    return h("button.ib" + (o.small ? ".sm" : "") + (o.class ? "." + o.class : ""), {
      type: "button", "aria-label": label, title: o.title || label, onclick, disabled: o.disabled,
      "aria-pressed": o.pressed === undefined ? null : String(o.pressed),
      "aria-haspopup": o.popup || null,
    }, icon(name, o.small));
  }

  const on = (event, fn) => { (listeners[event] = listeners[event] || []).push(fn); };
  const emit = (event, data) => { for (const fn of listeners[event] || []) fn(data); };

  function define(name, build) { widgets[name] = build; }
  function mount(name, w) {
    if (!widgets[name]) { console.error("newbie_ui: no widget " + name); return; }
    try { widgets[name](w); (waiting[name] || []).forEach((fn) => fn(w)); } catch (error) { console.error("newbie_ui: " + name, error); }
  }

  /* Words. English is complete; a key that another language lacks falls back to it. `{n}` is filled from `values`. */
  function locale() {
    const wanted = stored("language") || navigator.language || "en";
    const have = Object.keys(state.words);
    return have.find((l) => l === wanted) || have.find((l) => l.split("-")[0] === wanted.split("-")[0]) || "en";
  }
  function t(key, values) {
    const words = state.words, own = words[locale()] || {};
    let text = own[key] !== undefined ? own[key] : (words.en || {})[key];
    if (text === undefined) return key;
    for (const [k, v] of Object.entries(values || {})) text = text.split("{" + k + "}").join(String(v));
    return text;
  }

  /* Sentences that Python makes, in the page's language. A table's keys are English sentences with holes: {n} holds a
     figure, a hole with a capital holds words of ours that are told, too, any other what stays as it is. Literal parts
     are found from left to right, so that the work grows with the length only. What nobody translated stays English. */
  const TOLD_CHARS = 2000, TOLD_ENDS = 20, TOLD_KEPT = 400, FIGURE = /^-?\d[\d.,]*$/;
  let spoken = null;
  function speech() {
    const language = locale();
    if (spoken && spoken.language === language) return spoken;
    const own = state.words[language] || {}, english = state.words.en || {}, terms = new Map(), patterns = [];
    for (const key of Object.keys(own)) {
      const [, field, parameter] = /^(?:field_(\w+)|(param\.\w+))$/.exec(key) || [];
      if (field) terms.set(field, own[key]).set(field.replaceAll("_", " "), own[key]);
      else if (parameter) terms.set(english[key], own[key]);
    }
    for (const [key, text] of Object.entries((state.sentences || {})[language] || {})) {
      const parts = key.split(/\{(\w+)\}/);  // literal, hole, literal, hole, …, literal
      if (parts.length === 1) terms.set(key, text);
      else patterns.push({ parts, text, weight: parts.reduce((sum, part, i) => sum + (i % 2 ? 0 : part.length), 0) });
    }
    patterns.sort((a, b) => b.weight - a.weight);  // the most particular first
    spoken = { language, terms, patterns, names: [...terms.keys()].sort((a, b) => b.length - a.length), kept: new Map() };
    return spoken;
  }
  /* What fills the holes where the pattern is the whole sentence, else null. */
  function filled(parts, sentence) {
    const found = {}, last = parts.length - 1;
    if (!sentence.startsWith(parts[0]) || !sentence.endsWith(parts[last])) return null;
    for (let i = 1, at = parts[0].length; i < last; i += 2) {
      const hole = parts[i], after = parts[i + 1], ours = /^[A-Z]/.test(hole);
      const name = ours ? spoken.names.find((one) => sentence.startsWith(one + after, at)) : undefined;
      const end = i + 1 === last ? sentence.length - after.length : name ? at + name.length : sentence.indexOf(after, at + 1);
      if (end <= at) return null;
      const part = sentence.slice(at, end);
      if (/^n\d*$/.test(hole) && !FIGURE.test(part)) return null;
      found[hole] = ours ? toldWords(part) : part;
      at = end + after.length;
    }
    return found;
  }
  function translated(sentence, more) {
    if (spoken.terms.has(sentence)) return spoken.terms.get(sentence);
    for (const { parts, text } of spoken.patterns) {
      if (more && !/[.!?]$/.test(parts[parts.length - 1])) continue;  // what ends with a hole ends the message
      const found = filled(parts, sentence);
      if (found) return text.replace(/\{(\w+)\}/g, (_, hole) => found[hole]);
    }
    return null;
  }
  function toldWords(part) {
    const own = told(part);
    if (own !== part) return own;
    const words = part.split(", ").map((word) => translated(word) || word), text = words.join(", ");
    return text === part ? part : words.join(spoken.terms.get(", ") || ", ");
  }
  /* Several sentences are told one by one; the shortest beginning that is known is one. */
  function told(message) {
    const { patterns, kept } = speech();
    if (typeof message !== "string" || !patterns.length || message.length > TOLD_CHARS) return message;
    if (kept.has(message)) return kept.get(message);
    const ends = [...message.matchAll(/[.!?](?= )/g)].map((end) => end.index + 1);
    if (ends.length > TOLD_ENDS) return message;
    let text = "", from = 0;
    while (from < message.length) {
      const places = [...ends.filter((end) => end > from), message.length], own = (end) => translated(message.slice(from, end), end < message.length);
      const known = places.find((end) => own(end) !== null), end = known || places[0];
      text += (text && !/[。！？]$/.test(text) ? " " : "") + (known ? own(end) : message.slice(from, end));
      from = end + 1;
    }
    if (kept.size >= TOLD_KEPT) kept.clear();
    kept.set(message, text);
    return text;
  }

  /* What stays in this browser; a browser that refuses storage simply forgets. What makes up the form stays in its tab,
     so that tabs do not overwrite each other; a new tab begins with what any tab kept last. */
  const PREFIX = "newbie_ui.";
  const OF_TAB = ["form", "before", "settings", "size", "seed", "loras", "preset", "images", "grid", "mode", "collapsed", "locks"];
  const shelf = (key) => (OF_TAB.includes(key) ? sessionStorage : localStorage);
  function stored(key) { try { return JSON.parse(shelf(key).getItem(PREFIX + key)); } catch { return null; } }
  function store(key, value) {
    try {
      for (const place of new Set([shelf(key), localStorage])) {
        if (value === null) place.removeItem(PREFIX + key);
        else place.setItem(PREFIX + key, JSON.stringify(value));
      }
    } catch { /* private window or full: nothing is kept */ }
  }
  try {
    const last = sessionStorage.getItem(PREFIX + "tab") ? [] : OF_TAB.filter((key) => localStorage.getItem(PREFIX + key) !== null);
    for (const key of last) sessionStorage.setItem(PREFIX + key, localStorage.getItem(PREFIX + key));
    sessionStorage.setItem(PREFIX + "tab", "1");
  } catch { /* as above */ }

  /* The right colours from the first paint; later Gradio's class on the body says them. */
  const scheme = stored("theme");
  if (scheme ? scheme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches) document.documentElement.classList.add("dark");

  /* A language chosen on the page is what the browser says from now on, so that Gradio's own words follow it, too. */
  const chosen = stored("language");
  if (typeof chosen === "string") {
    try {
      Object.defineProperty(navigator, "language", { configurable: true, get: () => chosen });
      Object.defineProperty(navigator, "languages", { configurable: true, get: () => [chosen] });
    } catch { /* an old browser keeps its own */ }
  }

  /* Figures as people read them. */
  function seconds(s) {
    if (s === null || s === undefined || !isFinite(s)) return "";
    if (s < 10) return s.toFixed(s < 0.1 && s > 0 ? 2 : 1) + " s";
    if (s < 99.5) return Math.round(s) + " s";
    if (s < 5400) return Math.round(s / 60) + " min";
    return (s / 3600).toFixed(1) + " h";
  }
  const clock = (s) => { const n = Math.max(0, Math.round(s)); return Math.floor(n / 60) + ":" + String(n % 60).padStart(2, "0"); };
  const gb = (x) => (x === null || x === undefined ? "" : x.toFixed(x < 9.95 ? 2 : 1).replace(/\.(\d)0$/, ".$1"));

  /* Pictures by gallery id; addresses are relative, so that they work behind a proxy's path. */
  const picture = (id) => "pictures/" + encodeURIComponent(id) + ".png";
  const thumb = (id) => "thumbs/" + encodeURIComponent(id) + ".webp";

  /* One short sentence for everybody: shown for some seconds and read out by screen readers. */
  let toast = null, toastTimer = 0;
  function say(text, action) {
    if (!toast) { toast = h("div.nb-toast", { role: "status", "aria-live": "polite" }); document.body.append(toast); }
    fill(toast, h("span", {}, told(text)), action ? h("button.btn.fix", { type: "button", onclick: () => { hush(); action.run(); } }, action.label) : null);
    toast.classList.add("on");
    clearTimeout(toastTimer);
    toastTimer = setTimeout(hush, action ? 8000 : 4000);
  }
  function hush() { if (toast) toast.classList.remove("on"); }

  function copy(text, done) {
    const fallback = () => {
      const area = h("textarea", { value: text, style: { position: "fixed", opacity: "0" } });
      document.body.append(area); area.select(); document.execCommand("copy"); area.remove();
    };
    const after = () => say(done || t("copied"));
    if (navigator.clipboard && window.isSecureContext) navigator.clipboard.writeText(text).then(after, () => { fallback(); after(); });
    else { fallback(); after(); }
  }

  /* A menu under a button. items: {label, icon, run, danger, disabled} or null for a line. Arrow keys, Esc, click outside. */
  function menu(anchor, items, label) {
    const old = document.querySelector(".nb-menu");
    if (old) { old.remove(); if (old.anchor === anchor) return; }
    const close = (refocus) => {
      box.remove(); document.removeEventListener("pointerdown", outside, true); anchor.setAttribute("aria-expanded", "false");
      if (refocus) anchor.focus();
    };
    const outside = (event) => { if (!box.contains(event.target) && !anchor.contains(event.target)) close(false); };
    const rows = items.map((item) => item === null ? h("hr") : h("button", {
      type: "button", role: item.checked === undefined ? "menuitem" : "menuitemradio", disabled: item.disabled,
      "aria-checked": item.checked === undefined ? null : String(item.checked),
      onclick: () => { close(true); item.run(); },
    }, item.icon ? icon(item.icon, true) : h("span.gap"), h("span", {}, item.label), item.note ? h("small", {}, item.note) : null));
    const box = h("div.nb-menu", { role: "menu", "aria-label": label || anchor.getAttribute("aria-label") || "" }, rows);
    box.anchor = anchor;
    box.addEventListener("keydown", (event) => {
      const buttons = [...box.querySelectorAll("button:not(:disabled)")], at = buttons.indexOf(document.activeElement);
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step) { buttons[(at + step + buttons.length) % buttons.length].focus(); event.preventDefault(); }
      if (event.key === "Escape" || event.key === "Tab") { close(event.key === "Escape"); event.stopPropagation(); }
    });
    document.body.append(box);
    const place = anchor.getBoundingClientRect();
    box.style.left = Math.max(6, Math.min(place.left, innerWidth - box.offsetWidth - 6)) + "px";
    box.style.top = (place.bottom + 4 + box.offsetHeight > innerHeight ? Math.max(6, place.top - box.offsetHeight - 4) : place.bottom + 4) + "px";
    anchor.setAttribute("aria-expanded", "true");
    document.addEventListener("pointerdown", outside, true);
    const first = box.querySelector("[aria-checked=true]") || box.querySelector("button:not(:disabled)");
    if (first) first.focus();
  }

  const stage = { h, fill, icon, iconButton, on, emit, define, mount, t, told, locale, stored, store, seconds, clock, gb, picture, thumb, say, copy, menu, state };
  return stage;
})();

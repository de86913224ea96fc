/* What gallery, benchmark and settings share beyond the core: requests to our own routes, words, dates, downloads. */
(function () {
  "use strict";
  const { h } = nb;

  /* Words of these tabs stand under "tab."; what is not there is a word of the whole page. */
  const t = (key, values) => { const own = nb.t("tab." + key, values); return own === "tab." + key ? nb.t(key, values) : own; };

  async function request(url, options) {
    let answer;
    try { answer = await fetch(url, options); }
    catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error(t("server_gone"));
    }
    if (!answer.ok) {
      const problem = await answer.json().catch(() => ({}));
      throw new Error(nb.told(problem.error) || t("refused", { status: answer.status }));
    }
    return answer.json();
  }
  const read = (url, query, signal) => {
    const used = Object.entries(query || {}).filter(([, value]) => value !== null && value !== undefined && value !== "");
    return request(url + (used.length ? "?" + new URLSearchParams(used) : ""), { signal });
  };
  const write = (url, body) => request(url, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  });
  const complain = (error) => { if (error.name !== "AbortError") nb.say(error.message); };

  function download(url) {
    const link = h("a", { href: url, download: "" });
    document.body.append(link);
    link.click();
    link.remove();
  }

  /* "today 14:02", "yesterday 09:30", "20 Nov 18:41", "3 Mar 2025", in the page's language and the reader's zone. */
  function when(seconds) {
    const then = new Date(seconds * 1000), now = new Date(), language = nb.locale();
    const time = then.toLocaleTimeString(language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
    const days = Math.round((new Date(now).setHours(0, 0, 0, 0) - new Date(then).setHours(0, 0, 0, 0)) / 864e5);
    if (days === 0 || days === 1) {
      return new Intl.RelativeTimeFormat(language, { numeric: "auto" }).format(-days, "day") + " " + time;
    }
    const date = { day: "numeric", month: "short" };
    if (then.getFullYear() !== now.getFullYear()) return then.toLocaleDateString(language, { ...date, year: "numeric" });
    return then.toLocaleDateString(language, date) + " " + time;
  }
  const number = (value) => Number(value).toLocaleString(nb.locale());

  /* Calls `fn` whenever the element becomes visible: its tab was opened. */
  function whenShown(element, fn) {
    new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting)) fn(); }).observe(element);
  }
  /* A button with a word and perhaps an icon: textButton("Restore", "back", run, ".acc") */
  const textButton = (text, glyph, onclick, classes = "", attributes = {}) =>
    h("button.btn" + classes, { type: "button", onclick, ...attributes }, glyph ? nb.icon(glyph, true) : null, text);

  /* How many pictures there are stands in the gallery's tab, also before that tab is opened. */
  function markTab(total) {
    const tab = document.querySelectorAll("#nb-tabs > .tab-wrapper button[role=tab]")[1];
    if (tab) tab.dataset.n = total ? number(total) : "";
  }
  const countPictures = () => read("gallery/facets").then((facets) => markTab(facets.all), () => { /* the header says that the server is gone */ });
  let counted = false;
  nb.on("pulse", () => { if (!counted) { counted = true; countPictures(); } });
  for (const event of ["picture-done", "deleted", "undeleted"]) nb.on(event, countPictures);

  const presetName = (name) => nb.told(Object.hasOwn(nb.state.labels, name) ? nb.state.labels[name] : name);

  nb.parts = { markTab, presetName, t, read, write, request, complain, download, when, number, whenShown, textButton };
})();

/* Small charts as SVG, drawn from numbers; every word in them is a text node. */
(function () {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";

  function s(tag, attributes, text) {
    const node = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes || {})) if (value !== null && value !== undefined) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = String(text);
    return node;
  }
  const fine = (value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2));

  /* About `count` round steps that cover 0 to `most`. */
  function ticks(most, count = 5) {
    if (!(most > 0)) return [0, 1];
    const rough = most / count, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].find((x) => x * power >= rough) * power;
    return Array.from({ length: Math.ceil(most / step - 1e-9) + 1 }, (_, k) => Number((k * step).toPrecision(6)));
  }

  const NARROW = 760;  // pixels below which names stand above their bars and the table's cells below them

  /* Horizontal bars with a table beside them. rows: {label, value, best, reference, cells: [text]}; columns: [title] */
  function bars(rows, { unit, columns = [], floors = [], label, width = 1320 }) {
    const narrow = width < NARROW, cell = 96, top = narrow ? 4 + 16 * floors.length : 26, thick = narrow ? 22 : 28;
    const left = narrow ? 1 : Math.min(220, 24 + 7.2 * Math.max(...rows.map((r) => r.label.replace(/[\u2e80-\uffff]/g, "xx").length)));
    const right = narrow ? width - 66 : width - columns.length * cell - 76, row = narrow ? 54 + 16 * Math.ceil(columns.length / 2) : 40;
    const height = top + rows.length * row + 24;
    const marks = ticks(Math.max(...rows.map((r) => r.value), ...floors.map((f) => f.value)), narrow ? 3 : 5);
    const x = (value) => left + (right - left) * value / marks[marks.length - 1];
    const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, class: "nb-chart", role: "img", "aria-label": label });
    for (const mark of marks) {
      svg.append(s("line", { x1: x(mark), x2: x(mark), y1: top, y2: height - 24, class: "c-g" }),
        s("text", { x: x(mark), y: height - 8, class: "c-ax", "text-anchor": narrow && !mark ? "start" : "middle" }, mark));
    }
    rows.forEach((r, k) => {
      const y = top + k * row, bar = narrow ? y + 22 : y + 5, strong = r.best ? " c-b" : "";
      const name = s("text", { x: narrow ? left : left - 12, y: narrow ? y + 15 : y + 24, class: "c-nm" + strong, "text-anchor": narrow ? "start" : "end" }, r.label);
      if (r.title) name.append(s("title", {}, r.title));
      svg.append(name,
        s("rect", { x: left, y: bar, width: Math.max(2, x(r.value) - left), height: thick, rx: 4, class: r.best ? "c-best" : r.reference ? "c-reference" : "c-ours" }),
        s("text", { x: x(r.value) + 9, y: bar + thick / 2 + 5, class: "c-val" + strong }, fine(r.value) + (unit ? " " + unit : "")));
      if (narrow) {
        const told = r.cells.map((text, c) => [text, columns[c]]).filter(([text]) => text && text !== "–");
        for (let c = 0; c < told.length; c += 2) {
          const line = told.slice(c, c + 2).map(([text, title]) => title + " " + text).join(" · ");
          svg.append(s("text", { x: left, y: bar + thick + 15 + 8 * c, class: "c-ax c-under" }, line));
        }
        return;
      }
      r.cells.forEach((text, c) => svg.append(s("text", { x: width - (columns.length - 1 - c) * cell - 4, y: y + 24, class: "c-td" + strong, "text-anchor": "end" }, text)));
      if (k && columns.length) svg.append(s("line", { x1: right + 76, x2: width, y1: y, y2: y, class: "c-g" }));
    });
    floors.forEach((floor, k) => {
      const from = narrow ? 16 * k : top - 2;  // on a phone each label has a line of its own, right of its mark
      svg.append(s("line", { x1: x(floor.value), x2: x(floor.value), y1: from, y2: height - 24, class: "c-fl" }),
        s("text", { x: x(floor.value) + (narrow ? 5 : 0), y: narrow ? from + 12 : 19, class: "c-flt", "text-anchor": narrow ? "start" : "middle" }, floor.label));
    });
    if (!narrow) columns.forEach((title, c) => svg.append(s("text", { x: width - (columns.length - 1 - c) * cell - 4, y: 15, class: "c-ax", "text-anchor": "end" }, title)));
    return svg;
  }

  /* Points with names. points: {label, x, y, best, soft}; lines: {x, label} dashed */
  function scatter(points, { xTitle, yTitle, lines = [], label, width = 500, height = 236 }) {
    const left = 38, right = width - 16, top = 24, bottom = height - 36;
    const xs = ticks(Math.max(...points.map((p) => p.x), 0.001) * 1.12), ys = ticks(Math.max(...points.map((p) => p.y), 0.001) * 1.15, 4);
    const x = (value) => left + (right - left) * value / xs[xs.length - 1], y = (value) => bottom - (bottom - top) * value / ys[ys.length - 1];
    const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, class: "nb-chart", role: "img", "aria-label": label });
    for (const mark of ys) svg.append(s("line", { x1: left, x2: right, y1: y(mark), y2: y(mark), class: "c-g" }), s("text", { x: left - 8, y: y(mark) + 4, class: "c-ax", "text-anchor": "end" }, mark));
    for (const mark of xs) svg.append(s("text", { x: x(mark), y: bottom + 17, class: "c-ax", "text-anchor": "middle" }, mark));
    for (const line of lines.filter((l) => l.x <= xs[xs.length - 1])) {
      svg.append(s("line", { x1: x(line.x), x2: x(line.x), y1: top - 6, y2: bottom, class: "c-fl" }), s("text", { x: x(line.x), y: 12, class: "c-flt", "text-anchor": "middle" }, line.label));
    }
    svg.append(s("text", { x: right, y: height - 3, class: "c-ax", "text-anchor": "end" }, xTitle), s("text", { x: 0, y: 12, class: "c-ax" }, yTitle));
    for (const p of points) {
      const end = x(p.x) > right - 60 ? "end" : x(p.x) < left + 40 ? "start" : "middle";
      svg.append(s("circle", { cx: x(p.x), cy: y(p.y), r: 6.5, class: p.best ? "c-best" : p.soft ? "c-reference" : "c-ours" }),
        s("text", { x: x(p.x), y: y(p.y) - 11, class: "c-nm c-b", "text-anchor": end }, p.label));
    }
    return svg;
  }

  /* Stacked columns, oldest left. columns: {parts: [[class, value]], title} */
  function columns(list, { label, unit, width = 500, height = 236 }) {
    const left = 38, right = width - 6, top = 14, bottom = height - 12;
    const most = Math.max(...list.map((c) => c.parts.reduce((sum, part) => sum + part[1], 0)), 0.001);
    const ys = ticks(most, 4), y = (value) => bottom - (bottom - top) * value / ys[ys.length - 1];
    const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, class: "nb-chart", role: "img", "aria-label": label });
    for (const mark of ys) svg.append(s("line", { x1: left, x2: right, y1: y(mark), y2: y(mark), class: "c-g" }), s("text", { x: left - 8, y: y(mark) + 4, class: "c-ax", "text-anchor": "end" }, mark));
    svg.append(s("text", { x: 0, y: 10, class: "c-ax" }, unit));
    const step = (right - left) / Math.max(list.length, 12), wide = Math.min(26, step * 0.72);
    list.forEach((column, k) => {
      let sum = 0;
      const group = s("g");
      group.append(s("title", {}, column.title));
      for (const [kind, value] of column.parts) {
        group.append(s("rect", { x: left + k * step + (step - wide) / 2, y: y(sum + value), width: wide, height: Math.max(0, y(sum) - y(sum + value)), class: "c-" + kind }));
        sum += value;
      }
      svg.append(group);
    });
    return svg;
  }

  /* A line over time, newest right; values may have gaps (null). */
  function spark(values, most, label) {
    const width = 240, height = 34, points = 60, kept = values.slice(-points);
    const at = (k) => width * (points - kept.length + k) / (points - 1), y = (v) => height - 2 - (height - 4) * Math.min(1, v / (most || 1));
    const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, class: "nb-spark", preserveAspectRatio: "none", role: "img", "aria-label": label });
    const drawn = kept.map((v, k) => [v, k]).filter(([v]) => v !== null && v !== undefined);
    if (drawn.length > 1) {
      const line = drawn.map(([v, k]) => `${at(k).toFixed(1)},${y(v).toFixed(1)}`).join(" ");
      svg.append(s("polygon", { points: `${at(drawn[0][1])},${height} ${line} ${at(drawn[drawn.length - 1][1])},${height}`, class: "c-area" }), s("polyline", { points: line }));
    }
    return svg;
  }

  nb.charts = { bars, scatter, columns, spark, fine };
})();

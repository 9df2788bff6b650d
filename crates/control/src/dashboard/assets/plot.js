// A plot of one or more series over time, in SVG, with what it shows said in words too.

import { h, s } from "./dom.js";
import { clock, moment } from "./format.js";

const [WIDTH, HEIGHT, TOP, BOTTOM] = [320, 96, 8, 16];

export class Plot extends HTMLElement {
  /** Shows `series`: `[{name, points: [[second, value]], kind}]` from `from` until `until`, in periods of `step`. */
  show({ title, series, from, until, step, format, most }) {
    const length = (until - from) / 1000;
    const values = series.flatMap(({ points }) => points.map(([, value]) => value));
    const top = nice(Math.max(most ?? 0, ...values, 1e-9));
    const x = (second) => ((second + step / 2) / length) * WIDTH;
    const y = (value) => TOP + (1 - Math.min(value / top, 1)) * (HEIGHT - TOP - BOTTOM);
    const last = series.map(({ points }) => points.at(-1)?.[1]);
    const legend = series.map(({ name, kind }, place) =>
      h("span", { class: `legend ${kind}` }, series.length > 1 ? `${name} ` : "", h("b", {}, last[place] === undefined ? "–" : format(last[place]))));
    const lines = series.flatMap(({ points, kind }) => {
      const parts = pieces(points, step);
      const line = parts.map((part) => part.map(([at, value], place) => `${place ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join("")).join("");
      const area = parts.filter((part) => part.length > 1).map((part) =>
        `M${x(part[0][0]).toFixed(1)} ${y(0)}${part.map(([at, value]) => `L${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join("")}L${x(part.at(-1)[0]).toFixed(1)} ${y(0)}z`).join("");
      const dots = parts.filter((part) => part.length === 1).map(([[at, value]]) => s("circle", { class: `dot ${kind}`, cx: x(at), cy: y(value), r: 1.6 }));
      return [s("path", { class: `area ${kind}`, d: area }), s("path", { class: `curve ${kind}`, d: line }), ...dots];
    });
    const said = values.length === 0 ? `${title}: no values` : `${title}: ${series.map(({ name, points }, place) =>
      points.length === 0 ? `${name} none` : `${name} now ${format(last[place])}, highest ${format(Math.max(...points.map(([, value]) => value)))}`).join("; ")}`;
    const edge = until - from > 43_200_000 ? moment : clock;
    const hair = s("line", { class: "hair", y1: TOP, y2: HEIGHT - BOTTOM });
    const drawing = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": said, preserveAspectRatio: "none" },
      s("line", { class: "rule", x1: 0, x2: WIDTH, y1: y(top), y2: y(top) }), s("line", { class: "rule", x1: 0, x2: WIDTH, y1: y(0), y2: y(0) }), lines, hair);
    const below = h("div", { class: "below", "aria-hidden": "true" }, h("span", {}, edge(from)), h("span", {}, edge(until)));
    drawing.addEventListener("pointermove", (event) => {
      const box = drawing.getBoundingClientRect();
      const second = ((event.clientX - box.left) / box.width) * length - step / 2;
      hair.setAttribute("x1", x(second));
      hair.setAttribute("x2", x(second));
      hair.classList.add("on");
      const told = series.map(({ name, points }) => {
        const near = points.reduce((best, point) => (!best || Math.abs(point[0] - second) < Math.abs(best[0] - second) ? point : best), null);
        return near && Math.abs(near[0] - second) <= step ? `${series.length > 1 ? `${name} ` : ""}${format(near[1])}` : null;
      });
      below.replaceChildren(h("span", {}, moment(from + second * 1000)), h("span", {}, told.filter(Boolean).join(" · ") || "no value"));
    });
    drawing.addEventListener("pointerleave", () => {
      hair.classList.remove("on");
      below.replaceChildren(h("span", {}, edge(from)), h("span", {}, edge(until)));
    });
    this.replaceChildren(h("figure", {}, h("figcaption", {}, h("span", { class: "title" }, title), legend),
      h("div", { class: "drawing" }, drawing, h("span", { class: "top", "aria-hidden": "true" }, values.length ? format(top) : "")), below));
  }
}

customElements.define("bowline-plot", Plot);

/** Parts without a gap. */
function pieces(points, step) {
  const parts = [];
  for (const point of points) {
    const part = parts.at(-1);
    // Reports come when they come: one period may pass without.
    if (part && point[0] - part.at(-1)[0] <= step * 2.5) part.push(point);
    else parts.push([point]);
  }
  return parts;
}

/** The next of 1, 2, 2.5, 5 times a power of ten. */
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

// The graph: nodes and edges in SVG, moved and zoomed by pointer and keys. One element of the page's tab order; the
// arrow keys go from node to node. What changes each second are texts and classes, never places.

import { attribute, h, outline, s } from "./dom.js";
import { MODES, STATES, lasted, number, percent, perSecond } from "./format.js";
import { HEIGHT, WIDTH, layout } from "./layout.js";

/** So many edges have their labels shown at once. */
const LABELLED_MAX = 24;
const SCALES = [0.12, 2.5];
/** Below this scale names are all that can be read. */
const FAR = 0.62;

const KINDS = { service: "service", taskGroup: "tasks", loadBalancer: "load balancer", external: "outside the mesh", client: "clients outside" };

export class Graph extends HTMLElement {
  #nodes = new Map();
  #edges = new Map();
  #places = new Map();
  #key = null;
  #view = { x: 0, y: 0, scale: 1 };
  #fitted = true;
  #chosen = null;
  #matches = null;
  #built = false;

  connectedCallback() {
    if (this.#built) return;
    this.#built = true;
    const marker = (name) => s("marker", { id: `arrow-${name}`, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, markerUnits: "userSpaceOnUse", orient: "auto", class: `arrow ${name}` }, s("path", { d: "M0 .5 7.5 4 0 7.5z" }));
    this.lines = s("g", { class: "lines" });
    this.cards = s("g", { class: "cards" });
    this.labels = s("g", { class: "labels", "aria-hidden": "true" });
    this.world = s("g", {}, this.lines, this.cards, this.labels);
    this.svg = s("svg", { class: "graph", role: "group", "aria-label": "Service graph. The arrow keys go from service to service, Enter opens one. T shows the same as tables." },
      s("defs", {}, ["idle", "ok", "warn", "bad"].map(marker)), this.world);
    const button = (label, sign, act) => h("button", { type: "button", class: "tool", "aria-label": label, title: label, onclick: act }, sign);
    this.append(this.svg, h("div", { class: "tools" },
      button("Zoom in (+)", "+", () => this.zoom(1.3)),
      button("Zoom out (−)", "−", () => this.zoom(1 / 1.3)),
      button("Show all (0)", "⤢", () => this.fit())));
    this.svg.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    this.svg.addEventListener("pointerdown", (event) => this.#drag(event));
    this.svg.addEventListener("keydown", (event) => this.#keys(event));
    const over = (event) => this.#choose(event.target.closest?.("[data-id]")?.dataset.id ?? null);
    this.cards.addEventListener("pointerover", over);
    this.cards.addEventListener("pointerleave", () => this.#choose(null));
    this.cards.addEventListener("focusin", (event) => {
      over(event);
      this.#reveal(event.target.dataset.id);
    });
    this.cards.addEventListener("focusout", () => this.#choose(null));
    this.resized = new ResizeObserver(() => this.#fitted && this.fit());
    this.resized.observe(this);
  }

  disconnectedCallback() {
    this.resized?.disconnect();
    this.#built = false;
    this.replaceChildren();
    for (const map of [this.#nodes, this.#edges]) map.clear();
    this.#key = null;
  }

  /**
   * Shows these nodes and edges (`[id, thing]`). `scope` names the choice of nodes: another one is placed anew.
   */
  show(nodes, edges, scope) {
    const key = `${scope}\n${nodes.map(([id]) => id).join("\n")}\n\n${edges.map(([id]) => id).join("\n")}`;
    const isNew = key !== this.#key;
    if (isNew) {
      this.labelled = edges.length <= LABELLED_MAX;
      const same = this.scope === scope;
      this.scope = scope;
      this.#key = key;
      this.#places = layout(nodes.map(([id]) => id), edges.map(([, edge]) => [edge.from, edge.to]), same ? this.#places : null, this.labelled ? [168, 40] : undefined);
      this.#drop(this.#nodes, new Set(nodes.map(([id]) => id)));
      this.#drop(this.#edges, new Set(edges.map(([id]) => id)));
    }
    for (const [id, edge] of edges) this.#edge(id, edge, isNew);
    for (const [id, node] of nodes) this.#node(id, node, isNew);
    if (isNew) {
      if (this.labelled) this.#spread();
      this.#rove();
      if (this.#fitted) this.fit();
      this.match(this.#matches);
    }
  }

  /** Refreshes what has changed, where nothing has come or gone. */
  refresh(nodes, edges) {
    for (const [id, edge] of edges) if (this.#edges.has(id)) this.#edge(id, edge, false);
    for (const [id, node] of nodes) if (this.#nodes.has(id)) this.#node(id, node, false);
  }

  /** Dims all nodes but these; `null`: none. */
  match(ids) {
    this.#matches = ids;
    const dim = (part, is) => attribute(part.element, "data-dim", is);
    for (const [id, part] of this.#nodes) dim(part, ids !== null && !ids.has(id));
    for (const part of this.#edges.values()) {
      dim(part, ids !== null && !(ids.has(part.edge.from) || ids.has(part.edge.to)));
    }
  }

  /** Gives the focus to a node. */
  focusOn(id) {
    this.#nodes.get(id)?.element.focus();
  }

  #drop(parts, kept) {
    for (const [id, part] of parts) {
      if (kept.has(id)) continue;
      part.element.remove();
      part.label?.remove();
      parts.delete(id);
    }
  }

  #node(id, node, moved) {
    let part = this.#nodes.get(id);
    if (!part) {
      const name = s("text", { class: "name", x: 26, y: 19 }, shortened(node.name));
      part = {
        kept: {},
        mark: s("path", { class: "mark", transform: "translate(7 6.5)" }),
        rate: s("text", { class: "figure", x: 26, y: 36 }),
        tasks: s("text", { class: "figure right", x: WIDTH - 10, y: 36 }),
      };
      const bell = s("path", { class: "bell", transform: `translate(${WIDTH - 22} 5)`, d: outline("bell") });
      const page = node.kind === "service" || node.kind === "loadBalancer";
      part.element = s("a", { "data-id": id, tabindex: "-1", href: page ? `#/${id}` : undefined, role: page ? undefined : "img" },
        s("title", {}, `${node.name} (${KINDS[node.kind]}${node.cluster ? ` in ${node.cluster}` : ""})`),
        s("rect", { width: WIDTH, height: HEIGHT, rx: 8 }), part.mark, name, part.rate, part.tasks, bell);
      this.#nodes.set(id, part);
      this.cards.append(part.element);
      moved = true;
    }
    part.node = node;
    if (moved) {
      const { x, y } = this.#places.get(id) ?? { x: 0, y: 0 };
      attribute(part.element, "transform", `translate(${x} ${y})`);
    }
    if (changed(part, "look", `node ${node.kind} ${node.state}${node.alarms > 0 ? " firing" : ""}${node.deploying ? " deploying" : ""}`)) {
      part.element.setAttribute("class", part.kept.look);
      part.mark.setAttribute("d", outline(node.state));
      // Names are for those who hear them: they change with the state, not with each figure.
      part.element.setAttribute("aria-label", `${node.name}, ${KINDS[node.kind]}, ${STATES[node.state]}${node.alarms > 0 ? `, ${node.alarms} in alarm` : ""}${node.deploying ? ", deploying" : ""}`);
    }
    if (changed(part, "rate", figures(node))) part.rate.textContent = part.kept.rate;
    if (changed(part, "tasks", node.desired > 0 ? `${node.running}/${node.desired}` : "")) part.tasks.textContent = part.kept.tasks;
  }

  #edge(id, edge, moved) {
    let part = this.#edges.get(id);
    if (!part) {
      part = { kept: {}, line: s("path", { class: "line" }), sign: s("path", { class: "sign" }) };
      part.element = s("g", {}, part.line, part.sign);
      this.#edges.set(id, part);
      this.lines.append(part.element);
      moved = true;
    }
    part.edge = edge;
    if (moved) this.#route(part);
    const health = edge.rps > 0 || edge.tps > 0 ? judged(edge) : "idle";
    if (changed(part, "look", `edge ${health} ${edge.mode ?? "unknown"}`)) {
      part.element.setAttribute("class", part.kept.look);
      part.line.setAttribute("marker-end", `url(#arrow-${health})`);
      part.sign.setAttribute("d", edge.mode ? outline(edge.mode === "mutual_tls" ? "lock" : "unlock") : "");
    }
    if (changed(part, "width", (1 + Math.min(3, Math.log10(1 + edge.rps + edge.tps) * 0.9)).toFixed(1))) {
      part.line.setAttribute("stroke-width", part.kept.width);
    }
    if (this.labelled || part.kept.lit === "lit") this.#label(part);
  }

  #route(part) {
    const from = this.#places.get(part.edge.from) ?? { x: 0, y: 0 };
    const to = this.#places.get(part.edge.to) ?? { x: 0, y: 0 };
    const a = { x: from.x + WIDTH, y: from.y + HEIGHT / 2 };
    const d = { x: to.x - 3, y: to.y + HEIGHT / 2 };
    const isForth = d.x > a.x;
    const bend = isForth ? Math.max(36, (d.x - a.x) / 2) : 110;
    const lift = isForth || Math.abs(d.y - a.y) >= HEIGHT ? 0 : HEIGHT * 1.6;
    const [b, c] = [{ x: a.x + bend, y: a.y + lift }, { x: d.x - bend, y: d.y + lift }];
    attribute(part.line, "d", `M${a.x} ${a.y}C${b.x} ${b.y} ${c.x} ${c.y} ${d.x} ${d.y}`);
    part.curve = (t) => {
      const [p, q, r, u] = [(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t ** 3];
      return { x: p * a.x + q * b.x + r * c.x + u * d.x, y: p * a.y + q * b.y + r * c.y + u * d.y };
    };
    this.#put(part, part.curve(0.5));
  }

  #put(part, { x, y }) {
    part.middle = { x, y };
    part.sign.setAttribute("transform", `translate(${x - 6} ${y - 6}) scale(.75)`);
    part.label?.setAttribute("transform", `translate(${x} ${y - 9})`);
  }

  /** Moves labels along their edges, so that they do not cover each other. */
  #spread() {
    const taken = [];
    for (const [, part] of [...this.#edges].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const near = (at) => taken.reduce((sum, other) => sum + Math.max(0, 1 - Math.abs(at.x - other.x) / 120) * Math.max(0, 1 - Math.abs(at.y - other.y) / 30), 0);
      const places = [0.5, 0.44, 0.56, 0.38, 0.62].map(part.curve);
      const best = places.reduce((best, at) => (near(at) < near(best) - 0.01 ? at : best));
      taken.push(best);
      this.#put(part, best);
    }
  }

  #label(part) {
    const { edge } = part;
    if (!edge.mode) return;
    if (!part.label) {
      part.label = s("text", { class: "label", "text-anchor": "middle", transform: `translate(${part.middle.x} ${part.middle.y - 9})` });
      this.labels.append(part.label);
    }
    if (changed(part, "shown", "")) part.label.style.display = "";
    if (changed(part, "health", `label ${judged(edge)}`)) part.label.setAttribute("class", part.kept.health);
    const rate = edge.tps > edge.rps ? `${number(edge.tps)} conn/s` : perSecond(edge.rps);
    const how = edge.success === null ? "" : ` · ${percent(edge.success)} · ${lasted(edge.p99)}`;
    if (changed(part, "words", rate + how)) part.label.textContent = part.kept.words;
  }

  #choose(id) {
    if (this.#chosen === id) return;
    this.#chosen = id;
    const near = new Set(id ? [id] : []);
    for (const part of this.#edges.values()) {
      const is = id !== null && (part.edge.from === id || part.edge.to === id);
      light(part, id === null ? undefined : is ? "lit" : "faint");
      if (is) {
        near.add(part.edge.from).add(part.edge.to);
        this.#label(part);
      } else if (!this.labelled && part.label && changed(part, "shown", "none")) part.label.style.display = "none";
    }
    for (const [other, part] of this.#nodes) light(part, id === null ? undefined : near.has(other) ? "lit" : "faint");
  }

  // Where one is: the first node, or the one that had the focus last, is the one that Tab comes to.

  #rove(id) {
    if (!this.#nodes.has(id)) id = this.#nodes.has(this.at) ? this.at : this.#ordered()[0];
    if (this.at !== id) this.#nodes.get(this.at)?.element.setAttribute("tabindex", "-1");
    this.at = id;
    this.#nodes.get(id)?.element.setAttribute("tabindex", "0");
  }

  #ordered() {
    const at = (id) => this.#places.get(id);
    return [...this.#nodes.keys()].sort((a, b) => at(a).x - at(b).x || at(a).y - at(b).y);
  }

  #keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
    const ends = { Home: 0, End: -1 }[event.key];
    if (way) this.#step(way);
    else if (ends !== undefined) this.#go(this.#ordered().at(ends));
    else return;
    event.preventDefault();
  }

  #step([dx, dy]) {
    const here = this.#places.get(this.at);
    let [best, least] = [null, Infinity];
    for (const id of this.#nodes.keys()) {
      const there = this.#places.get(id);
      const [along, across] = dx ? [(there.x - here.x) * dx, Math.abs(there.y - here.y)] : [(there.y - here.y) * dy, Math.abs(there.x - here.x)];
      if (along <= 0) continue;
      const far = along + across * 2.5;
      if (far < least) [best, least] = [id, far];
    }
    if (best) this.#go(best);
  }

  #go(id) {
    this.#rove(id);
    this.focusOn(id);
  }

  // What is seen: moved and scaled.

  zoom(factor, at) {
    const box = this.svg.getBoundingClientRect();
    const { x, y } = at ?? { x: box.width / 2, y: box.height / 2 };
    const scale = Math.min(SCALES[1], Math.max(SCALES[0], this.#view.scale * factor));
    const by = scale / this.#view.scale;
    this.#fitted = false;
    this.#look({ x: x - (x - this.#view.x) * by, y: y - (y - this.#view.y) * by, scale });
  }

  fit() {
    const places = [...this.#places.values()];
    const { clientWidth: width, clientHeight: height } = this;
    if (places.length === 0 || width === 0) return;
    const [left, top] = [Math.min(...places.map((at) => at.x)), Math.min(...places.map((at) => at.y))];
    const [wide, high] = [Math.max(...places.map((at) => at.x)) + WIDTH - left, Math.max(...places.map((at) => at.y)) + HEIGHT - top];
    const margin = 28;
    const scale = Math.min(1.25, (width - 2 * margin) / wide, (height - 2 * margin) / high);
    this.#fitted = true;
    this.#look({ scale, x: (width - wide * scale) / 2 - left * scale, y: (height - high * scale) / 2 - top * scale });
  }

  #reveal(id) {
    const at = this.#places.get(id);
    if (!at) return;
    const { x, y, scale } = this.#view;
    const [left, top] = [at.x * scale + x, at.y * scale + y];
    const [width, height] = [this.clientWidth, this.clientHeight];
    const moved = (start, size, all) => (start < 12 ? 12 - start : start + size > all - 12 ? all - 12 - start - size : 0);
    const [dx, dy] = [moved(left, WIDTH * scale, width), moved(top, HEIGHT * scale, height)];
    if (dx || dy) {
      this.#fitted = false;
      this.#look({ x: x + dx, y: y + dy, scale });
    }
  }

  #look(view) {
    this.#view = view;
    attribute(this.world, "transform", `translate(${view.x.toFixed(1)} ${view.y.toFixed(1)}) scale(${view.scale.toFixed(3)})`);
    this.svg.classList.toggle("far", view.scale < FAR);
  }

  #wheel(event) {
    event.preventDefault();
    const box = this.svg.getBoundingClientRect();
    this.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)), { x: event.clientX - box.left, y: event.clientY - box.top });
  }

  #drag(event) {
    if (event.button !== 0) return;
    const begin = { x: event.clientX, y: event.clientY };
    const { x, y, scale } = this.#view;
    let moves = false;
    const move = (event) => {
      const [dx, dy] = [event.clientX - begin.x, event.clientY - begin.y];
      if (!moves && Math.hypot(dx, dy) < 5) return;
      moves = true;
      this.#fitted = false;
      this.#look({ x: x + dx, y: y + dy, scale });
    };
    const end = () => {
      removeEventListener("pointermove", move);
      removeEventListener("pointerup", end);
      removeEventListener("pointercancel", end);
      // The click that ends a drag opens nothing.
      if (moves) this.svg.addEventListener("click", (event) => event.preventDefault(), { capture: true, once: true });
    };
    addEventListener("pointermove", move);
    addEventListener("pointerup", end);
    addEventListener("pointercancel", end);
  }
}

customElements.define("bowline-graph", Graph);

const shortened = (name) => (name.length > 18 ? `${name.slice(0, 17)}…` : name);

/** Whether a part of a drawing is to have another value than it has. What it has is remembered: to read it would cost more. */
function changed(part, name, value) {
  if (part.kept[name] === value) return false;
  part.kept[name] = value;
  return true;
}

function light(part, lit) {
  if (changed(part, "lit", lit)) attribute(part.element, "data-lit", lit);
}

function figures(node) {
  if (!(node.rps > 0 || node.tps > 0)) return "idle";
  if (node.rps === 0) return `${number(node.tps)} conn/s`;
  return `${perSecond(node.rps)}  ${node.success !== null && node.success < 0.999 ? percent(node.success) : lasted(node.p99)}`;
}

/** How calls go: `ok`, `warn` below 99.9 %, `bad` below 99 %. */
export function judged(rates) {
  if (rates.success === null || rates.success === undefined || rates.success >= 0.999) return "ok";
  return rates.success >= 0.99 ? "warn" : "bad";
}

/** How a hop is protected, for people. */
export const modeText = (mode) => MODES[mode] ?? "nothing was called";

// The graph of all services, and the same as tables.

import { h, icon, table, text } from "./dom.js";
import { STATES, lasted, number, percent, perSecond, span } from "./format.js";
import { judged, modeText } from "./graph.js";
import { store } from "./store.js";

const chosen = { cluster: "", namespace: "", search: "", view: "graph" };

/** The page: puts itself into `main`, and gives its keys and what ends it. */
export function graphPage(main) {
  const search = h("input", { type: "search", placeholder: "Find a service", "aria-label": "Find a service (/)", value: chosen.search });
  const cluster = h("select", { "aria-label": "Cluster" });
  const namespace = h("select", { "aria-label": "Namespace" });
  const found = h("span", { class: "quiet found", role: "status" });
  const summary = h("div", { class: "summary" });
  const graph = document.createElement("bowline-graph");
  const services = table("Services", serviceColumns(), { empty: "There are no services yet." });
  const edges = table("Who calls whom", edgeColumns(), { empty: "Nothing is called at the moment." });
  const tables = h("div", { class: "tables pad" }, services.element, edges.element);
  const empty = h("div", { class: "empty" }, h("p", {}, "There are no services yet."),
    h("p", { class: "quiet" }, "Bring some up with ", h("code", {}, "bowline up"), " and a template, or create them through the AWS endpoint."));
  const radio = (value, label) => {
    const input = h("input", { type: "radio", name: "view", value, checked: chosen.view === value, onchange: () => view(value) });
    return h("label", {}, input, h("span", {}, label));
  };
  const views = h("fieldset", { class: "switch" }, h("legend", { class: "unseen" }, "Show as"), radio("graph", "Graph"), radio("table", "Tables"));
  main.replaceChildren(h("div", { class: "bar" }, h("h1", {}, "Services"), summary, h("div", { class: "filters" }, h("label", { class: "search" }, icon("search"), search), found, cluster, namespace, views)),
    graph, tables, empty, legend());
  main.className = "full";

  const hidden = (node) => (chosen.cluster && node.cluster !== chosen.cluster) || (chosen.namespace && node.namespace !== chosen.namespace);
  const inScope = () => {
    const own = (node) => node.kind === "service" || node.kind === "taskGroup";
    const all = store.all("node");
    const shown = new Map();
    for (const [id, node] of all) if (own(node) && !hidden(node)) shown.set(id, node);
    // What is in no cluster is there with those whom it calls, or who call it.
    const between = [...store.all("edge")];
    for (const [id, node] of all) {
      if (own(node)) continue;
      const has = between.some(([, edge]) => (edge.from === id && shown.has(edge.to)) || (edge.to === id && shown.has(edge.from)));
      if (has || (!chosen.cluster && !chosen.namespace)) shown.set(id, node);
    }
    return { nodes: [...shown], edges: between.filter(([, edge]) => shown.has(edge.from) && shown.has(edge.to)) };
  };

  let scope = { nodes: [], edges: [] };
  function all() {
    options(cluster, "All clusters", "cluster");
    options(namespace, "All namespaces", "namespace");
    scope = inScope();
    const nothing = store.loaded && scope.nodes.length === 0;
    empty.hidden = !nothing;
    graph.hidden = chosen.view !== "graph" || nothing;
    tables.hidden = chosen.view !== "table" || nothing;
    if (chosen.view === "graph") {
      graph.show(scope.nodes, scope.edges, `${chosen.cluster}\n${chosen.namespace}`);
    } else showTables();
    matches();
    sums();
  }

  function showTables() {
    const wanted = wantedIds();
    const is = (id) => wanted === null || wanted.has(id);
    const worst = ([, a], [, b]) => rank(b) - rank(a) || (a.name < b.name ? -1 : 1);
    services.show(scope.nodes.filter(([id, node]) => is(id) && node.kind !== "client" && node.kind !== "external").sort(worst));
    edges.show(scope.edges.filter(([, edge]) => edge.mode && (is(edge.from) || is(edge.to))).sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  function wantedIds() {
    const wanted = chosen.search.trim().toLowerCase();
    if (!wanted) return null;
    return new Set(scope.nodes.filter(([, node]) => `${node.name} ${node.cluster} ${node.namespace ?? ""}`.toLowerCase().includes(wanted)).map(([id]) => id));
  }

  function matches() {
    const wanted = wantedIds();
    graph.match(wanted);
    text(found, wanted === null ? "" : `${wanted.size} found`);
  }

  function sums() {
    const nodes = scope.nodes.map(([, node]) => node).filter((node) => node.kind === "service");
    const count = (test) => nodes.filter(test).length;
    const calls = scope.edges.map(([, edge]) => edge).filter((edge) => edge.mode);
    const rate = calls.reduce((sum, edge) => sum + edge.rps, 0);
    const open = calls.filter((edge) => edge.mode !== "mutual_tls").length;
    const parts = [
      [`${nodes.length} service${nodes.length === 1 ? "" : "s"}`, ""],
      ...[["down", "bad"], ["degraded", "warn"]].map(([state, kind]) => [`${count((node) => node.state === state)} ${state}`, kind]).filter(([words]) => !words.startsWith("0 ")),
      [`${perSecond(rate)}`, ""],
      calls.length > 0 && (open === 0 ? ["all mutual TLS", "good"] : [`${open} of ${calls.length} without mutual TLS`, "warn"]),
    ].filter(Boolean);
    const key = JSON.stringify(parts);
    if (summary.dataset.key === key) return;
    summary.dataset.key = key;
    summary.replaceChildren(...parts.map(([words, kind]) => h("span", { class: `chip ${kind}` }, words)));
  }

  function view(value) {
    chosen.view = value;
    views.querySelector(`[value=${value}]`).checked = true;
    all();
    if (value === "graph") graph.fit();
  }

  search.addEventListener("input", () => {
    chosen.search = search.value;
    if (chosen.view === "table") showTables();
    matches();
  });
  search.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && search.value) {
      search.value = chosen.search = "";
      all();
      event.preventDefault();
    } else if (event.key === "Enter" && chosen.view === "graph") {
      const first = wantedIds()?.values().next().value;
      if (first) graph.focusOn(first);
    }
  });
  cluster.addEventListener("change", () => ((chosen.cluster = cluster.value), all()));
  namespace.addEventListener("change", () => ((chosen.namespace = namespace.value), all()));

  all();
  graph.fit();
  const structure = (changed) => ["node", "edge"].some((kind) => [...(changed.get(kind) ?? [])].some((id) =>
    store.all(kind).has(id) !== scopeHas(kind, id)));
  const scopeHas = (kind, id) => (kind === "node" ? known.nodes : known.edges).has(id);
  const known = { nodes: new Set(store.all("node").keys()), edges: new Set(store.all("edge").keys()) };
  const end = store.listen((changed) => {
    if (!changed.has("node") && !changed.has("edge")) return;
    if (structure(changed) || chosen.view === "table") {
      known.nodes = new Set(store.all("node").keys());
      known.edges = new Set(store.all("edge").keys());
      all();
      return;
    }
    const some = (kind, present) => [...(changed.get(kind) ?? [])].map((id) => [id, store.get(kind, id)]).filter(([, thing]) => thing);
    graph.refresh(some("node"), some("edge"));
    const fresh = (kind, pairs) => pairs.map(([id]) => [id, store.get(kind, id)]);
    scope = { nodes: fresh("node", scope.nodes), edges: fresh("edge", scope.edges) };
    sums();
  });
  return {
    title: "Services",
    end,
    keys: {
      "/": { text: "Find a service", act: () => search.select() },
      t: { text: "Graph or tables", act: () => view(chosen.view === "graph" ? "table" : "graph") },
      "+": { text: "Zoom in", act: () => graph.zoom(1.3) },
      "-": { text: "Zoom out", act: () => graph.zoom(1 / 1.3) },
      0: { text: "Show all", act: () => graph.fit() },
    },
  };
}

function options(select, all, member) {
  const values = [...new Set([...store.all("node").values()].map((node) => node[member]).filter(Boolean))].sort();
  const key = values.join("\n");
  select.hidden = values.length < 2 && !chosen[member];
  if (select.dataset.key === key) return;
  select.dataset.key = key;
  select.replaceChildren(h("option", { value: "" }, all), ...values.map((value) => h("option", { value }, value)));
  select.value = chosen[member];
}

const rank = (node) => ["none", "ok", "degraded", "down"].indexOf(node.state) + (node.alarms > 0 ? 10 : 0);

function legend() {
  const item = (sign, words) => h("span", {}, sign, words);
  return h("p", { class: "legend-line", "aria-label": "Signs" },
    item(icon("lock"), "mutual TLS"), item(icon("unlock"), "not mutual"),
    item(icon("ok"), "healthy"), item(icon("degraded"), "degraded"), item(icon("down"), "down"), item(icon("bell"), "in alarm"));
}

/** A state with its sign. */
export const stateCell = (state) => h("span", { class: `state ${state}` }, icon(state), STATES[state]);

/** How a hop is protected, with its lock. */
export function modeCell(mode) {
  const known = { MUTUAL_TLS: "mutual_tls", TLS: "tls", PLAINTEXT: "plaintext" }[mode] ?? mode;
  if (!known) return h("span", { class: "quiet" }, "–");
  const words = { mutual_tls: "mutual TLS", tls: "TLS", plaintext: "plaintext" }[known];
  return h("span", { class: `mode ${known}`, title: modeText(known) }, icon(known === "mutual_tls" ? "lock" : "unlock"), words);
}

const link = (id, name) => h("a", { href: `#/${id}` }, name);

export const rateColumns = [
  { title: "Requests", numeric: true, cell: (item) => (item.rps > 0 || item.tps === 0 ? perSecond(item.rps) : `${number(item.tps)} conn/s`) },
  { title: "Success", numeric: true, key: (item) => `${item.success}`, cell: (item) => h("span", { class: judged(item) }, percent(item.success)) },
  { title: "p50", numeric: true, cell: (item) => lasted(item.p50) },
  { title: "p99", numeric: true, cell: (item) => lasted(item.p99) },
];

/** A thing of the graph by its name, with a link where it has a page. */
export function party(id) {
  const node = store.get("node", id);
  const name = node?.name || id.slice(id.lastIndexOf("/") + 1);
  const words = id.startsWith("client/") ? "clients outside the mesh" : name;
  return id.startsWith("service/") || id.startsWith("gateway/") ? link(id, words) : words;
}

function serviceColumns() {
  return [
    { title: "Service", key: (node) => node.id, cell: (node) => party(node.id) },
    { title: "State", key: (node) => `${node.state}${node.deploying}${node.alarms}`, cell: (node) => h("span", { class: "states" }, stateCell(node.state), node.deploying && h("span", { class: "chip" }, "deploying"), node.alarms > 0 && h("span", { class: "chip bad" }, icon("bell"), `${node.alarms}`)) },
    { title: "Cluster", cell: (node) => node.cluster || "–" },
    { title: "Tasks", numeric: true, cell: (node) => `${node.running}/${node.desired}` },
    ...rateColumns,
    { title: "Protected by", key: (node) => `${node.mode}`, cell: (node) => modeCell(node.mode) },
    { title: "Certificate ends", numeric: true, cell: (node) => (node.certificateEndsAt ? `in ${span(Math.ceil((node.certificateEndsAt - store.now()) / 60000) * 60000)}` : "–") },
  ];
}

function edgeColumns() {
  return [
    { title: "From", key: (edge) => edge.from, cell: (edge) => party(edge.from) },
    { title: "To", key: (edge) => edge.to, cell: (edge) => party(edge.to) },
    { title: "Name", cell: (edge) => edge.names.join(", ") || "–" },
    ...rateColumns,
    { title: "Protected by", key: (edge) => edge.mode, cell: (edge) => modeCell(edge.mode) },
  ];
}

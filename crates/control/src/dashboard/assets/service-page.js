// One service, or one load balancer: how it goes, what runs, what changes, what it shows and to whom.

import { h, icon, put, table, text } from "./dom.js";
import { bytes, lasted, moment, number, percent, perSecond, span } from "./format.js";
import { modeCell, party, rateColumns, stateCell } from "./graph-page.js";
import { alarmTable } from "./lists.js";
import "./plot.js";
import { act, session } from "./session.js";
import { tell } from "./shell.js";
import { ask, store } from "./store.js";

const RANGES = [["15m", "15 min"], ["1h", "1 h"], ["1d", "1 day"]];
const EVERY = { "15m": 10000, "1h": 30000, "1d": 120000 };
let range = "15m";

export function servicePage(main, id) {
  main.className = "";
  const isService = id.startsWith("service/");
  const heading = h("div", { class: "bar" });
  const plots = h("div", { class: "plots" });
  const choice = h("fieldset", { class: "switch" }, h("legend", { class: "unseen" }, "How far back"),
    RANGES.map(([value, words]) => h("label", {}, h("input", { type: "radio", name: "range", value, checked: value === range, onchange: () => ((range = value), refreshPlots()) }), h("span", {}, words))));
  const callers = table("Callers", [{ title: "From", key: (edge) => edge.from, cell: (edge) => party(edge.from) }, ...rateColumns, protectedBy], { empty: "Nobody calls it at the moment." });
  const called = table("Calls", [{ title: "To", key: (edge) => edge.to, cell: (edge) => party(edge.to) }, ...rateColumns, protectedBy], { empty: "It calls nothing at the moment." });
  const tasks = table("Tasks", taskColumns(id), { empty: "No tasks." });
  const stopped = table("Tasks that have stopped", [
    { title: "Task", cell: (task) => task.id.slice(0, 8) }, { title: "Stopped", cell: (task) => moment(task.stoppedAt), class: "nowrap" },
    { title: "Definition", cell: (task) => task.definition ?? "–" }, { title: "Reason", cell: (task) => task.stoppedReason ?? "–", class: "wide" }], { empty: "None lately." });
  const certificates = table("Certificates", certificateColumns(), { empty: "No certificates are in use." });
  const deployments = h("ol", { class: "deployments" });
  const routes = table("Routes", routeColumns(), { empty: "Nothing leads to it by a name or rule." });
  const alarms = alarmTable("Alarms of it");
  const errors = table("Recent errors", [
    { title: "Time", cell: (trace) => moment(trace.at), class: "nowrap" },
    { title: "Call", cell: (trace) => (trace.isCalled ? "in" : `to ${trace.name || "nowhere"}`) },
    { title: "Request", cell: (trace) => [trace.method, trace.path].filter(Boolean).join(" ") || "TCP", class: "wide" },
    { title: "Status", cell: (trace) => (trace.status ? String(trace.status) : "none") },
    { title: "Flags", cell: (trace) => trace.flags },
    { title: "Lasted", numeric: true, cell: (trace) => lasted(trace.lasted) },
    { title: "Trace", key: (trace) => trace.id, cell: (trace) => h("code", { title: `bowline trace ${trace.id}` }, trace.id) }], { empty: "No call has failed lately." });
  const logs = h("ol", { class: "logs", tabindex: "0", "aria-label": "The latest lines of logs" });
  const section = (title, ...content) => h("section", { class: "card" }, h("h2", {}, title), ...content);
  const errorSection = section("Recent errors", errors.element);
  const logSection = section("Logs", logs);
  main.replaceChildren(heading, h("div", { class: "pad stack" },
    h("section", { class: "card", "aria-label": "Golden signals" }, h("div", { class: "title-line" }, h("h2", {}, "Golden signals"), choice), plots),
    h("div", { class: "two" }, section("Callers", callers.element), section("Calls", called.element)),
    section("Tasks", tasks.element, isService && h("details", {}, h("summary", {}, "Tasks that have stopped"), stopped.element)),
    isService && section("Deployments", deployments),
    section("Routes", routes.element),
    section("Certificates", certificates.element),
    section("Alarms", alarms.element), isService && errorSection, isService && logSection));
  main.querySelectorAll(".card caption").forEach((caption) => caption.classList.add("unseen"));

  let shown = "";
  function title() {
    const node = store.get("node", id);
    const name = node?.name ?? id.slice(id.lastIndexOf("/") + 1);
    const key = JSON.stringify([node?.state, node?.mode, node?.running, node?.desired, node?.deploying, session.who?.arn, store.loaded, !node]);
    if (key === shown) return;
    shown = key;
    if (!node) {
      put(heading, h("h1", {}, name), h("span", { class: "chip" }, store.loaded ? "it is not there" : "loading"));
      return;
    }
    put(heading, 
      h("nav", { "aria-label": "Where this is", class: "crumbs" }, h("a", { href: "#/" }, "Services"), node.cluster && h("span", {}, node.cluster)),
      h("h1", {}, name), stateCell(node.state), h("span", { class: "chip" }, `${node.running} of ${node.desired} tasks`),
      node.deploying && h("span", { class: "chip accent" }, "deploying"), node.mode && modeCell(node.mode),
      node.namespace && h("span", { class: "quiet" }, node.namespace),
      session.who && isService && h("button", { type: "button", class: "end", onclick: () => act({
        question: `Deploy ${name} anew?`, explanation: "All of its tasks are replaced by new ones of the same definition, within the bounds of its deployment configuration.", verb: "Deploy anew",
        body: { action: "forceNewDeployment", cluster: node.cluster, service: node.name }, done: `A new deployment of ${name} has begun`,
      }, tell) }, "Force new deployment"));
  }

  function live() {
    title();
    const of = (member) => [...store.all("edge")].filter(([, edge]) => edge[member] === id).sort(([, a], [, b]) => b.rps - a.rps || (a.from + a.to < b.from + b.to ? -1 : 1));
    callers.show(of("to"));
    called.show(of("from"));
    alarms.show([...store.all("alarm")].filter(([, alarm]) => alarm.of.includes(id)));
  }

  function details() {
    const sorted = (kind, order) => [...store.all(kind)].sort(([, a], [, b]) => order(a, b));
    const all = sorted("task", (a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1));
    tasks.show(all);
    stopped.show(sorted("stopped", (a, b) => b.stoppedAt - a.stoppedAt));
    certificates.show(all.filter(([, task]) => task.certificate).map(([key, task]) => [key, { ...task.certificate, task: task.id }]));
    routes.show([...store.all("route")].sort(([a], [b]) => (a < b ? -1 : 1)));
    showDeployments(deployments, sorted("deployment", (a, b) => a.place - b.place).map(([, deployment]) => deployment));
  }

  async function refreshPlots() {
    const wanted = range;
    const got = await ask(`plots?of=${encodeURIComponent(id)}&range=${wanted}`).catch(() => null);
    if (got && wanted === range && plots.isConnected) showPlots(plots, got, isService);
  }

  async function refreshRecords() {
    if (!isService) return;
    const got = await ask(`records?of=${encodeURIComponent(id)}`).catch(() => null);
    if (!got || !logs.isConnected) return;
    errors.show(got.traces.map((trace) => [`${trace.id}${trace.span}`, trace]));
    logSection.hidden = got.logs === null;
    const key = JSON.stringify(got.logs?.at(-1) ?? null);
    if (logs.dataset.key === key) return;
    logs.dataset.key = key;
    const atEnd = logs.scrollTop + logs.clientHeight >= logs.scrollHeight - 8;
    logs.replaceChildren(...(got.logs ?? []).map((line) => h("li", {}, h("time", {}, moment(line.at)), h("span", { class: "stream" }, line.stream), h("span", { class: "line-text" }, line.message))));
    if (atEnd) logs.scrollTop = logs.scrollHeight;
  }

  live();
  details();
  refreshPlots();
  refreshRecords();
  let passed = 0;
  const timer = setInterval(() => {
    passed += 1000;
    if (document.hidden) return;
    if (passed % EVERY[range] === 0) refreshPlots();
    if (passed % 5000 === 0) refreshRecords();
    if (passed % 1000 === 0) countdowns(main);
  }, 1000);
  const renew = () => ((shown = ""), title(), details());
  session.addEventListener("change", renew);
  const end = store.listen((changed) => {
    if (["node", "edge", "alarm"].some((kind) => changed.has(kind))) live();
    if (["task", "stopped", "deployment", "route"].some((kind) => changed.has(kind))) details();
  });
  return {
    title: id.slice(id.lastIndexOf("/") + 1),
    end: () => (end(), clearInterval(timer), session.removeEventListener("change", renew)),
    keys: Object.fromEntries(RANGES.map(([value, words], at) => [String(at + 1), { text: `Plots of ${words}`, act: () => {
      range = value;
      choice.querySelector(`[value="${value}"]`).checked = true;
      refreshPlots();
    } }])),
  };
}

const protectedBy = { title: "Protected by", key: (edge) => `${edge.mode}`, cell: (edge) => modeCell(edge.mode) };

function showPlots(box, { from, until, step, series }, isService) {
  const get = (name) => series[name] ?? [];
  const requests = new Map(get("requests"));
  const errors = new Map(get("errors"));
  const share = [...requests].filter(([, value]) => value > 0).map(([at, value]) => [at, Math.min(1, (errors.get(at) ?? 0) / value)]);
  const specs = [
    { title: "Requests", format: perSecond, series: [{ name: "requests", kind: "main", points: get("requests") }] },
    { title: "Errors", format: percent, most: 0.01, series: [{ name: "errors", kind: "bad", points: share }] },
    { title: "Response time", format: lasted, series: ["p50", "p99"].map((name, at) => ({ name, kind: ["mid", "main"][at], points: get(name) })) },
    isService
      ? { title: "Saturation", format: (value) => `${number(value)} %`, most: 100, series: [{ name: "CPU", kind: "main", points: get("cpu") }, { name: "memory", kind: "mid", points: get("memory") }] }
      : { title: "New connections", format: perSecond, series: [{ name: "connections", kind: "main", points: get("connections") }] },
  ];
  while (box.children.length < specs.length) box.append(document.createElement("bowline-plot"));
  specs.forEach((spec, at) => box.children[at].show({ from, until, step, ...spec }));
}

/** A countdown, which goes on by itself; the words before and after stay. */
function countdown(until, warnBelow) {
  return h("span", { class: "countdown", "data-until": until, "data-warn": warnBelow }, left(until));
}

const left = (until) => (until > store.now() ? `in ${span(until - store.now())}` : "over");

function countdowns(root) {
  for (const element of root.querySelectorAll("[data-until]")) {
    const until = Number(element.dataset.until);
    text(element, left(until));
    element.classList.toggle("warn", until - store.now() < Number(element.dataset.warn));
  }
}

const used = (value) => h("span", { class: "used" }, h("meter", { min: 0, max: 100, low: 80, high: 95, optimum: 0, value: Math.min(100, value), "aria-hidden": "true" }), `${number(value)} %`);

function taskColumns(id) {
  const cluster = id.split("/")[1];
  return [
    { title: "Task", key: (task) => task.id, cell: (task) => h("code", { title: task.id }, task.id.slice(0, 8)) },
    { title: "State", key: (task) => `${task.status}${task.serves}${task.draining}`, cell: (task) => h("span", { class: "states" }, h("span", { class: `state ${task.serves ? "ok" : task.status === "RUNNING" ? "degraded" : "none"}` }, icon(task.serves ? "ok" : task.status === "RUNNING" ? "degraded" : "none"), task.status.toLowerCase()), task.draining && h("span", { class: "chip" }, "draining")) },
    { title: "Health", cell: (task) => (task.health ?? "–").toLowerCase() },
    { title: "CPU", numeric: true, key: (task) => `${task.cpu}`, cell: (task) => (task.cpu === undefined ? "–" : used(task.cpu)) },
    { title: "Memory", numeric: true, key: (task) => `${task.memory}`, cell: (task) => (task.memory === undefined ? "–" : h("span", { title: bytes(task.memoryBytes) }, used(task.memory))) },
    { title: "Definition", cell: (task) => task.definition ?? "–" },
    { title: "Zone", cell: (task) => task.zone ?? "–" },
    { title: "Begun", cell: (task) => moment(task.createdAt), class: "nowrap" },
    { title: "Certificate ends", numeric: true, key: (task) => `${task.certificate?.notAfter}`, cell: (task) => (task.certificate ? countdown(task.certificate.notAfter, (task.certificate.notAfter - task.certificate.notBefore) / 4) : "–") },
    { title: "Change", hidden: true, key: (task) => `${Boolean(session.who)}${task.desired}`, cell: (task) => session.who && id.startsWith("service/") && task.desired === "RUNNING" ? h("button", { type: "button", class: "small", "aria-label": `Stop task ${task.id.slice(0, 8)}`, onclick: () => act({
      question: `Stop task ${task.id.slice(0, 8)}?`, explanation: "The service starts another one in its place.", verb: "Stop", danger: true,
      body: { action: "stopTask", cluster, task: task.id }, done: `Task ${task.id.slice(0, 8)} is being stopped`,
    }, tell) }, "Stop") : "" },
  ];
}

function certificateColumns() {
  return [
    { title: "Identity", cell: (it) => it.spiffeId ?? "–", class: "wide" },
    { title: "Task", cell: (it) => it.task.slice(0, 8) },
    { title: "Serial", key: (it) => it.serial, cell: (it) => h("code", { title: it.serial }, it.serial.length > 16 ? `${it.serial.slice(0, 16)}…` : it.serial) },
    { title: "Valid since", cell: (it) => moment(it.notBefore), class: "nowrap" },
    { title: "Renewed", numeric: true, key: (it) => String(it.renewsAt), cell: (it) => countdown(it.renewsAt, 0) },
    { title: "Ends", numeric: true, key: (it) => `${it.notAfter}`, cell: (it) => countdown(it.notAfter, (it.notAfter - it.notBefore) / 4) },
    { title: "Status", key: (it) => String(it.revoked), cell: (it) => (it.revoked ? h("span", { class: "chip bad" }, "revoked") : "in use") },
  ];
}

function routeColumns() {
  const kinds = { alias: "Alias", policy: "Traffic policy", gateway: "Load balancer" };
  return [
    { title: "By", cell: (route) => kinds[route.kind] + (route.gateway ? ` ${route.gateway}` : route.policy ? ` ${route.policy}` : "") },
    { title: "Match", cell: (route) => [route.port && `:${route.port}`, route.name, route.match].filter(Boolean).join(" "), class: "wide" },
    { title: "To", key: (route) => JSON.stringify(route.targets), cell: (route) => weights(route.targets) },
    { title: "Protocol", cell: (route) => route.protocol ?? "HTTP" },
    { title: "Protected by", key: (route) => `${route.mode}`, cell: (route) => modeCell(route.mode) },
  ];
}

function weights(targets) {
  const sum = targets.reduce((sum, target) => sum + target.weight, 0) || 1;
  return h("span", { class: "weights" }, targets.map((target) => h("span", {}, target.name || "nothing", targets.length > 1 && h("b", {}, ` ${percent(target.weight / sum)}`))));
}

const GOOD = ["COMPLETED", "ROLLBACK_SUCCESSFUL"];
const BAD = ["STOPPED", "ROLLBACK_FAILED"];

function showDeployments(box, all) {
  const key = JSON.stringify(all);
  if (box.dataset.key === key) return;
  box.dataset.key = key;
  box.replaceChildren(...all.slice(0, 8).map((it) => {
    const kind = GOOD.includes(it.state) ? "good" : BAD.includes(it.state) ? "bad" : it.state.endsWith("IN_PROGRESS") ? "accent" : "";
    const words = it.state.toLowerCase().replaceAll("_", " ");
    const bar = (label, value, most, words) => h("div", { class: "progress" }, h("span", {}, label), h("progress", { max: most || 1, value, "aria-label": `${label}: ${words}` }), h("span", {}, words));
    const isLive = it.current || it.state.endsWith("IN_PROGRESS") || it.tasks > 0;
    return h("li", {},
      h("div", { class: "title-line" }, h("b", {}, it.definition), h("span", { class: `chip ${kind}` }, words), it.stage && h("span", { class: "quiet" }, it.stage.toLowerCase().replaceAll("_", " ")),
        h("span", { class: "quiet end" }, moment(it.createdAt), it.finishedAt ? `, took ${span(it.finishedAt - it.createdAt)}` : "")),
      isLive && h("div", { class: "bars" }, bar("Tasks", it.running, it.current ? it.desired : Math.max(it.tasks, 1), it.current ? `${it.running} of ${it.desired}` : `${it.running} left`),
        it.percent !== null && bar("Traffic", it.percent, 100, `${number(it.percent)} %`)),
      it.hooks.filter((hook) => hook.status === "AWAITING_ACTION").map((hook) => h("p", { class: "warn" }, `It waits at ${hook.stage.toLowerCase().replaceAll("_", " ")} for an action.`)),
      h("p", { class: "quiet" }, it.reason, it.failedTasks > 0 ? ` ${it.failedTasks} task${it.failedTasks === 1 ? " has" : "s have"} failed.` : "", it.alarms.length > 0 ? ` Alarms: ${it.alarms.join(", ")}.` : ""));
  }));
}

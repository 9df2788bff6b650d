// Alarms, events and experiments.

import { h, icon, put, table } from "./dom.js";
import { moment, span } from "./format.js";
import { party } from "./graph-page.js";
import { act, session } from "./session.js";
import { tell } from "./shell.js";
import { ask, store } from "./store.js";

const ORDER = { ALARM: 0, INSUFFICIENT_DATA: 1, OK: 2 };
const WORDS = { ALARM: "in alarm", INSUFFICIENT_DATA: "insufficient data", OK: "OK" };
const SIGNS = { ALARM: "bell", INSUFFICIENT_DATA: "none", OK: "ok" };

/** An alarm's state with its sign. */
export const alarmState = (state) => h("span", { class: `state ${{ ALARM: "down", OK: "ok" }[state] ?? "none"}` }, icon(SIGNS[state]), WORDS[state] ?? state);

const byState = ([, a], [, b]) => ORDER[a.state] - ORDER[b.state] || (a.name < b.name ? -1 : 1);

/** A table of alarms; those who have signed in can change them. */
export function alarmTable(caption) {
  const columns = [
    { title: "Alarm", key: (alarm) => alarm.name, cell: (alarm) => h("a", { href: `#/alarms/${encodeURIComponent(alarm.name)}` }, alarm.name) },
    { title: "State", key: (alarm) => alarm.state, cell: (alarm) => alarmState(alarm.state) },
    { title: "Since", cell: (alarm) => moment(alarm.since), class: "nowrap" },
    { title: "Condition", cell: (alarm) => alarm.rule, class: "wide" },
    { title: "Of", key: (alarm) => alarm.of.join(), cell: (alarm) => h("span", {}, alarm.of.length ? alarm.of.map((id, at) => [at ? ", " : "", party(id)]) : "–") },
    { title: "Actions", cell: (alarm) => (alarm.actions === 0 ? "none" : alarm.actionsEnabled ? `${alarm.actions}, on` : `${alarm.actions}, off`) },
  ];
  return table(caption, columns, { empty: "There are no alarms." });
}

export function alarmsPage(main, name) {
  main.className = "";
  const list = alarmTable("Alarms");
  const detail = h("section", { class: "card", "aria-live": "off" });
  main.replaceChildren(h("div", { class: "bar" }, h("h1", {}, "Alarms")), h("div", { class: "pad stack" }, detail, list.element));
  let seen = "";

  async function one() {
    const alarm = name && store.get("alarm", name);
    detail.hidden = !name;
    if (!name) return;
    if (!alarm) {
      put(detail, h("p", {}, store.loaded ? `There is no alarm ${name}.` : "Loading…"));
      return;
    }
    const key = JSON.stringify([alarm, session.who?.arn]);
    if (key === seen) return;
    seen = key;
    const history = h("ol", { class: "history" });
    const button = (words, spec) => h("button", { type: "button", onclick: () => act(spec, tell) }, words);
    const set = (state) => button(`Set ${WORDS[state]}`, {
      question: `Set ${alarm.name} to ${WORDS[state]}?`, explanation: "It is judged again at its next period. Actions of the state are taken.", verb: "Set",
      body: { action: "setAlarmState", alarm: alarm.name, state }, done: `${alarm.name} is set to ${WORDS[state]}`,
    });
    const on = !alarm.actionsEnabled;
    put(detail, 
      h("div", { class: "title-line" }, h("h2", {}, alarm.name), alarmState(alarm.state), h("a", { href: "#/alarms", class: "close", "aria-label": "Close" }, "×")),
      alarm.description && h("p", {}, alarm.description), h("p", { class: "quiet" }, alarm.rule), h("p", {}, alarm.reason),
      session.who ? h("div", { class: "buttons left" }, Object.keys(ORDER).filter((state) => state !== alarm.state).map(set),
        button(on ? "Turn actions on" : "Turn actions off", {
          question: `Turn the actions of ${alarm.name} ${on ? "on" : "off"}?`, explanation: on ? "They are taken from its next change of state on." : "Its state goes on to be judged; nothing is done about it.", verb: on ? "Turn on" : "Turn off",
          body: { action: on ? "enableAlarmActions" : "disableAlarmActions", alarm: alarm.name }, done: `Actions of ${alarm.name} are ${on ? "on" : "off"}`,
        })) : "",
      h("h3", {}, "History"), history);
    const items = await ask(`alarm?name=${encodeURIComponent(alarm.name)}`).catch(() => []);
    history.replaceChildren(...(items.length ? items.map((item) => h("li", {}, h("time", {}, moment(item.at)), " ", item.summary)) : [h("li", { class: "quiet" }, "Nothing has happened yet.")]));
  }

  const all = () => (list.show([...store.all("alarm")].sort(byState)), one());
  all();
  const end = store.listen((changed) => changed.has("alarm") && all());
  session.addEventListener("change", one);
  return { title: "Alarms", end: () => (end(), session.removeEventListener("change", one)), keys: {} };
}

export function eventsPage(main) {
  main.className = "";
  const search = h("input", { type: "search", placeholder: "Filter", "aria-label": "Filter events (/)" });
  const list = table("Events since the start, the latest first", [
    { title: "Time", cell: (event) => moment(event.at), class: "nowrap" },
    { title: "Of", key: (event) => event.resource, cell: (event) => about(event) },
    { title: "Event", cell: (event) => event.message, class: "wide" },
  ], { empty: "Nothing has happened yet." });
  main.replaceChildren(h("div", { class: "bar" }, h("h1", {}, "Events"), h("div", { class: "filters" }, h("label", { class: "search" }, icon("search"), search))), h("div", { class: "pad stack" }, list.element));
  const all = () => {
    const wanted = search.value.trim().toLowerCase();
    const events = [...store.all("event")].sort(([, a], [, b]) => b.number - a.number);
    list.show(events.filter(([, event]) => !wanted || `${event.subject} ${event.message}`.toLowerCase().includes(wanted)));
  };
  search.addEventListener("input", all);
  all();
  return { title: "Events", end: store.listen((changed) => changed.has("event") && all()), keys: { "/": { text: "Filter events", act: () => search.select() } } };
}

/** What an event is of, with a link where that has a page. */
function about(event) {
  const service = /:service\/([^/]+)\/([^/]+)$/.exec(event.resource);
  const gateway = /:loadbalancer\/[^/]+\/([^/]+)\//.exec(event.resource);
  if (service) return h("a", { href: `#/service/${service[1]}/${service[2]}` }, service[2]);
  return gateway ? h("a", { href: `#/gateway/${gateway[1]}` }, gateway[1]) : event.subject;
}

export function experimentsPage(main) {
  main.className = "";
  const list = table("Experiment templates", [
    { title: "Template", cell: (item) => item.name || item.id },
    { title: "Description", cell: (item) => item.description, class: "wide" },
    { title: "Actions", key: (item) => JSON.stringify(item.actions), cell: (item) => h("span", {}, Object.values(item.actions).join(", ")) },
    { title: "Targets", numeric: true, cell: (item) => String(item.targets) },
    { title: "Stops by", cell: (item) => item.stopConditions.join(", ") },
    { title: "Changed", cell: (item) => `${span(store.now() - item.updatedAt)} ago`.replace(/ \d+ s ago/, " ago"), class: "nowrap" },
  ], { empty: "There are no experiment templates. Create some with aws fis create-experiment-template." });
  const runs = table("Experiments, the latest first", [
    { title: "Experiment", cell: (run) => run.id, class: "nowrap" },
    { title: "Description", cell: (run) => run.description, class: "wide" },
    { title: "State", key: (run) => run.status + run.reason, cell: (run) => h("span", { title: run.reason }, run.status) },
    { title: "Actions", key: (run) => JSON.stringify(run.actions), cell: (run) => h("span", {}, Object.entries(run.actions).map(([name, action]) => `${name}: ${action.status}`).join(", ")) },
    { title: "Done to", numeric: true, cell: (run) => String(run.targets) },
    { title: "Started", cell: (run) => moment(run.createdAt), class: "nowrap" },
    { title: "Lasted", cell: (run) => run.endedAt ? span(run.endedAt - run.createdAt) : "", class: "nowrap" },
  ], { empty: "No experiment was started yet. Start one with aws fis start-experiment." });
  main.replaceChildren(h("div", { class: "bar" }, h("h1", {}, "Experiments")), h("div", { class: "pad stack" }, runs.element, list.element));
  const all = () => {
    runs.show([...store.all("experiment")].sort(([, a], [, b]) => b.createdAt - a.createdAt));
    list.show([...store.all("template")].sort(([a], [b]) => (a < b ? -1 : 1)));
  };
  all();
  return { title: "Experiments", end: store.listen((changed) => (changed.has("template") || changed.has("experiment")) && all()), keys: {} };
}

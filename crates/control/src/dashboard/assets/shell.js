// What stands around the pages: the head, the theme, the keys, and what is said aloud.

import { h, text } from "./dom.js";
import { STATES } from "./format.js";
import { dialog, session, signIn, signOut } from "./session.js";
import { store } from "./store.js";

export const PAGES = [
  { name: "Graph", path: "#/", key: "g" },
  { name: "Alarms", path: "#/alarms", key: "a" },
  { name: "Events", path: "#/events", key: "e" },
  { name: "Experiments", path: "#/experiments", key: "x" },
];

const THEMES = ["system", "light", "dark"];
const kept = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
const keep = (name, value) => { try { localStorage.setItem(name, value); } catch { /* then it lasts until the page is left */ } };

let theme = THEMES.includes(kept("bowline-theme")) ? kept("bowline-theme") : "system";
let keysOn = kept("bowline-keys") !== "off";

function applyTheme() {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

function nextTheme() {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  keep("bowline-theme", theme);
  applyTheme();
  themeButton.setAttribute("aria-label", `Theme: ${theme}. Change it (D)`);
  text(themeButton, SIGNS[theme]);
  say(`Theme: ${theme}`);
}

const SIGNS = { system: "◐", light: "☀", dark: "☾" };
const themeButton = h("button", { type: "button", class: "tool", title: "Theme (D)", "aria-label": `Theme: ${theme}. Change it (D)`, onclick: nextTheme }, SIGNS[theme]);
const live = h("span", { class: "live connecting" }, h("span", { class: "dot" }), h("span", { class: "word" }, "connecting"));
const who = h("div", { class: "who" });
const links = PAGES.map((page) => h("a", { href: page.path, title: `${page.name} (${page.key.toUpperCase()})` }, page.name));
const firing = h("span", { class: "count", hidden: true });

/** The head of all pages. */
export function head() {
  applyTheme();
  links[1].append(firing);
  document.getElementById("top").append(
    h("a", { class: "brand", href: "#/", "aria-label": "Bowline, to the graph" }, h("img", { src: "icon.svg", alt: "", width: 22, height: 22 }), "Bowline"),
    h("nav", { "aria-label": "Pages" }, links),
    h("div", { class: "side" }, live, who, themeButton,
      h("button", { type: "button", class: "tool", title: "Keys (?)", "aria-label": "Keyboard shortcuts (?)", onclick: help }, "?")));
  store.addEventListener("state", () => {
    live.className = `live ${store.state}`;
    text(live.lastChild, { live: "live", lost: "reconnecting", connecting: "connecting" }[store.state]);
    if (store.state === "lost") say("The connection is lost. It is being made again.");
  });
  session.addEventListener("change", showWho);
  showWho();
  store.listen(announce);
}

/** Marks the page that is shown. */
export function mark(path) {
  PAGES.forEach((page, place) => {
    const is = page.path === path;
    if (is) links[place].setAttribute("aria-current", "page");
    else links[place].removeAttribute("aria-current");
  });
}

function showWho() {
  who.replaceChildren(...(session.who
    ? [h("span", { class: "arn", title: session.who.arn }, session.who.arn.split(":").slice(5).join(":")), h("button", { type: "button", onclick: signOut }, "Sign out")]
    : [h("button", { type: "button", onclick: signIn }, "Sign in")]));
}

// What is said aloud: changes of states, a few at a time.

const said = document.getElementById("said");
let waiting = [];
let timer = 0;
const states = new Map();

/** Says something to those who listen. */
export function say(what) {
  waiting.push(what);
  timer ||= setTimeout(() => {
    timer = 0;
    const some = waiting.slice(0, 4);
    const rest = waiting.length - some.length;
    said.textContent = some.join(". ") + (rest > 0 ? `. And ${rest} more changes` : "");
    waiting = [];
  }, 400);
}

/** Says something to everybody. */
export function tell(what) {
  const note = h("div", { class: "note" }, what);
  document.body.append(note);
  setTimeout(() => note.remove(), 5000);
  say(what);
}

function announce(changed) {
  const news = (key, state, sentence) => {
    const before = states.get(key);
    states.set(key, state);
    // What was there at the beginning is no news.
    if (before !== undefined && before !== state) say(sentence);
  };
  for (const id of changed.get("node") ?? []) {
    const node = store.get("node", id);
    if (node && node.kind !== "client") news(`node/${id}`, node.state, `${node.name} is ${STATES[node.state]}`);
  }
  for (const id of changed.get("alarm") ?? []) {
    const alarm = store.get("alarm", id);
    if (alarm) news(`alarm/${id}`, alarm.state, `Alarm ${alarm.name}: ${alarm.state === "ALARM" ? "in alarm" : alarm.state === "OK" ? "OK" : "insufficient data"}`);
  }
  if (changed.has("alarm")) {
    const count = [...store.all("alarm").values()].filter((alarm) => alarm.state === "ALARM").length;
    firing.hidden = count === 0;
    text(firing, String(count));
    firing.setAttribute("aria-label", `${count} in alarm`);
  }
}

// Keys. Each page adds its own.

let own = {};
/** The keys of the page that is shown: `{key: {text, act}}`. */
export function keys(those) {
  own = those;
}

const general = {
  ...Object.fromEntries(PAGES.map((page) => [page.key, { text: page.name, act: () => (location.hash = page.path) }])),
  d: { text: "Theme: system, light, dark", act: nextTheme },
  "?": { text: "These keys", act: help },
};

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (event.target.closest?.("input, textarea, select, dialog")) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const found = own[key] ?? general[key];
  if (!found || (!keysOn && key !== "?")) return;
  event.preventDefault();
  found.act();
});

function help() {
  const list = (title, those) => [h("h3", {}, title), h("dl", { class: "keys" }, Object.entries(those).map(([key, { text }]) =>
    h("div", {}, h("dt", {}, h("kbd", {}, key.length === 1 ? key.toUpperCase() : key)), h("dd", {}, text))))];
  const box = h("input", { type: "checkbox", id: "keys-on", checked: keysOn, onchange: (event) => {
    keysOn = event.target.checked;
    keep("bowline-keys", keysOn ? "on" : "off");
  } });
  const element = dialog("Keyboard shortcuts", h("div", { class: "help" }, h("h2", {}, "Keyboard shortcuts"),
    list("Everywhere", general), Object.keys(own).length > 0 && list("On this page", own),
    h("p", { class: "check" }, box, h("label", { for: "keys-on" }, "Single keys do these things")),
    h("div", { class: "buttons" }, h("button", { type: "button", class: "primary", onclick: () => element.close() }, "Close"))));
}

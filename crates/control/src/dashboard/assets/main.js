// The pages by their addresses, which are in the fragment: `#/`, `#/service/CLUSTER/NAME`, `#/alarms` and so on.

import "./graph.js";
import { h } from "./dom.js";
import { graphPage } from "./graph-page.js";
import { alarmsPage, eventsPage, experimentsPage } from "./lists.js";
import { servicePage } from "./service-page.js";
import { load } from "./session.js";
import { head, keys, mark } from "./shell.js";
import { store } from "./store.js";

const main = document.getElementById("main");
let page = null;

function missing(main) {
  main.className = "";
  main.replaceChildren(h("div", { class: "pad" }, h("h1", {}, "There is no such page"), h("p", {}, h("a", { href: "#/" }, "To the graph"))));
  return { title: "No such page", end: () => {}, keys: {} };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function route() {
  const path = decoded(location.hash.replace(/^#\/?/, ""));
  // The skip link's fragment is no page.
  if (path === "main") return;
  const isFirst = page === null;
  page?.end();
  const [kind] = path.split("/");
  const subject = kind === "service" || kind === "gateway" ? path : null;
  store.follow(subject);
  page = subject ? servicePage(main, subject)
    : path === "" ? graphPage(main)
    : kind === "alarms" ? alarmsPage(main, path.slice("alarms/".length))
    : path === "events" ? eventsPage(main)
    : path === "experiments" ? experimentsPage(main)
    : missing(main);
  document.title = `${page.title} · Bowline`;
  mark(subject ? "" : path === "" ? "#/" : `#/${kind}`);
  keys(page.keys);
  scrollTo(0, 0);
  // Who does not see the page change hears it.
  if (!isFirst) main.focus({ preventScroll: true });
}

head();
addEventListener("hashchange", route);
route();
load();

// Elements without markup: whatever comes from outside is only ever a text node or an attribute's value.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children) {
    if (child === undefined || child === null || child === false) continue;
    if (Array.isArray(child)) append(element, child);
    else element.append(child);
  }
}

/** Puts these in the place of what an element holds; what is `false` or nothing is left out. */
export function put(element, ...children) {
  element.replaceChildren();
  append(element, children);
}

/** An element: `h("a", {href: "#/"}, "text", …)`. */
export function h(tag, properties, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** The same of SVG. */
export function s(tag, properties, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

/** Sets a text, if it is another one: what stays is not drawn anew. */
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

/** Sets an attribute, if it is another one; `undefined` removes it. */
export function attribute(element, name, value) {
  if (value === undefined || value === null || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

const ICONS = {
  lock: "M5 7V5a3 3 0 0 1 6 0v2h1v7H4V7zm1.5 0h3V5a1.5 1.5 0 0 0-3 0z",
  unlock: "M5 7V4.5a3 3 0 0 1 5.8-1.1l-1.4.6A1.5 1.5 0 0 0 6.5 4.5V7H12v7H4V7z",
  bell: "M8 1.5a4 4 0 0 1 4 4V9l1.5 2.5h-11L4 9V5.5a4 4 0 0 1 4-4zM6.5 13h3a1.5 1.5 0 0 1-3 0z",
  ok: "M8 3a5 5 0 1 0 0 10A5 5 0 0 0 8 3z",
  degraded: "M8 2.5 14 13H2z",
  down: "M3 3h10v10H3z",
  none: "M8 3a5 5 0 1 0 0 10A5 5 0 0 0 8 3zm0 1.5a3.5 3.5 0 1 1 0 7 3.5 3.5 0 0 1 0-7z",
  search: "M7 2a5 5 0 1 0 3 9l3 3 1.2-1.2-3-3A5 5 0 0 0 7 2zm0 1.600a3.4 3.4 0 1 1 0 6.8 3.4 3.4 0 0 1 0-6.800z",
};

/** The outline of a pictogram in a box of 16 by 16. */
export const outline = (name) => ICONS[name];

/** A pictogram, which says nothing by itself unless it has a `label`. */
export function icon(name, label, kind) {
  const properties = { viewBox: "0 0 16 16", class: `icon ${kind ?? name}` };
  if (label) Object.assign(properties, { role: "img", "aria-label": label });
  else properties["aria-hidden"] = "true";
  return s("svg", properties, label ? s("title", {}, label) : null, s("path", { d: ICONS[name], "fill-rule": "evenodd" }));
}

/**
 * A table whose rows have keys. A column is `{title, cell(item) → string | Node, key(item)?, class?, numeric?}`;
 * a cell is made anew only where its string, or its key, is another one.
 */
export function table(caption, columns, { empty = "None." } = {}) {
  const body = h("tbody");
  const heads = columns.map((column) =>
    h("th", { scope: "col", class: column.numeric ? "number" : undefined },
      column.hidden ? h("span", { class: "unseen" }, column.title) : column.title));
  const element = h("div", { class: "scroll", role: "region", "aria-label": caption, tabindex: "0" },
    h("table", {}, h("caption", {}, caption), h("thead", {}, h("tr", {}, heads)), body));
  const rows = new Map();
  const nothing = h("tr", {}, h("td", { colspan: columns.length, class: "quiet" }, empty));

  function make(item) {
    const cells = columns.map((column, place) =>
      h(place === 0 ? "th" : "td", { scope: place === 0 ? "row" : undefined, class: [column.class, column.numeric && "number"].filter(Boolean).join(" ") || undefined }));
    const row = { element: h("tr", {}, cells), cells, keys: [] };
    refresh(row, item);
    return row;
  }

  function refresh(row, item) {
    columns.forEach((column, place) => {
      const key = column.key ? column.key(item) : column.cell(item);
      if (row.keys[place] === key && key !== undefined) return;
      row.keys[place] = key;
      const content = column.key ? column.cell(item) : key;
      row.cells[place].replaceChildren(content ?? "");
    });
  }

  /** Shows these `[key, item]`, in this order. */
  function show(entries) {
    const present = new Set();
    let before = null;
    for (const [key, item] of entries) {
      present.add(key);
      let row = rows.get(key);
      if (row) refresh(row, item);
      else rows.set(key, (row = make(item)));
      const next = before ? before.nextSibling : body.firstChild;
      if (next !== row.element) body.insertBefore(row.element, next);
      before = row.element;
    }
    for (const [key, row] of rows) {
      if (!present.has(key)) {
        row.element.remove();
        rows.delete(key);
      }
    }
    if (rows.size === 0) body.append(nothing);
    else nothing.remove();
  }

  return { element, show };
}

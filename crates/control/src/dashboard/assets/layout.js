// Where nodes are: in layers, from who calls to who is called (Sugiyama's way: break cycles, rank, order, place).
// What has a place keeps it: only what is new is placed, unless too much is.

export const WIDTH = 176;
export const HEIGHT = 46;
/** Width to height of what is to be filled. */
const ASPECT = 1.8;
/** Share of new nodes from which on everything is placed anew. */
const RENEW = 0.25;

/**
 * Places for `nodes` (ids) with `edges` (pairs of ids): a map of ids to `{x, y}`. `before` is the result for what was
 * there until now, `gap` the room between columns and rows.
 */
export function layout(nodes, edges, before, gap = [84, 18]) {
  const grid = { width: WIDTH + gap[0], row: HEIGHT + gap[1] };
  const ids = [...nodes].sort();
  const known = before ? ids.filter((id) => before.has(id)) : [];
  if (known.length > 0 && ids.length - known.length <= Math.max(2, ids.length * RENEW)) {
    return extended(ids, edges, before, grid);
  }
  return placed(ids, edges, grid);
}

function neighbours(ids, edges) {
  const next = new Map(ids.map((id) => [id, []]));
  const back = new Map(ids.map((id) => [id, []]));
  for (const [from, to] of [...edges].sort()) {
    if (from === to || !next.has(from) || !next.has(to)) continue;
    next.get(from).push(to);
    back.get(to).push(from);
  }
  return { next, back };
}

function placed(ids, edges, { width, row }) {
  const { next, back } = acyclic(ids, neighbours(ids, edges));
  const alone = ids.filter((id) => next.get(id).length === 0 && back.get(id).length === 0);
  const linked = ids.filter((id) => !alone.includes(id));
  const layers = ordered(ranked(linked, next, back), next, back);
  const columns = filled(layers, width, row);
  const places = new Map();
  const height = Math.max(0, ...columns.map((column) => column.length)) * row;
  columns.forEach((column, x) => {
    const top = (height - column.length * row) / 2;
    column.forEach((id, y) => places.set(id, { x: x * width, y: top + y * row }));
  });
  // Who neither calls nor is called stands below, as wide as the rest.
  const wide = Math.max(columns.length, Math.min(6, Math.ceil(Math.sqrt(alone.length * 0.6))), 1);
  const below = height > 0 ? height + row * 0.6 : 0;
  alone.forEach((id, place) =>
    places.set(id, { x: (place % wide) * width, y: below + Math.floor(place / wide) * row }));
  return places;
}

/** Without the edges that close a cycle, as a search in depth finds them. */
function acyclic(ids, { next, back }) {
  const state = new Map();
  const kept = { next: new Map(ids.map((id) => [id, []])), back: new Map(ids.map((id) => [id, []])) };
  const roots = [...ids].sort((a, b) => back.get(a).length - back.get(b).length || (a < b ? -1 : 1));
  for (const root of roots) {
    if (state.has(root)) continue;
    const path = [[root, 0]];
    state.set(root, 1);
    while (path.length > 0) {
      const top = path[path.length - 1];
      const to = next.get(top[0])[top[1]++];
      if (to === undefined) {
        state.set(top[0], 2);
        path.pop();
        continue;
      }
      if (state.get(to) === 1) continue;
      kept.next.get(top[0]).push(to);
      kept.back.get(to).push(top[0]);
      if (!state.has(to)) {
        state.set(to, 1);
        path.push([to, 0]);
      }
    }
  }
  return kept;
}

/** Layers by the longest way from one whom nobody calls; such a one stands right before the first that it calls. */
function ranked(ids, next, back) {
  const rank = new Map();
  const left = new Map(ids.map((id) => [id, back.get(id).length]));
  const ready = ids.filter((id) => left.get(id) === 0);
  ready.forEach((id) => rank.set(id, 0));
  for (let place = 0; place < ready.length; place++) {
    const id = ready[place];
    for (const to of next.get(id)) {
      rank.set(to, Math.max(rank.get(to) ?? 0, rank.get(id) + 1));
      left.set(to, left.get(to) - 1);
      if (left.get(to) === 0) ready.push(to);
    }
  }
  for (const id of ids) {
    if (back.get(id).length === 0) rank.set(id, Math.min(...next.get(id).map((to) => rank.get(to))) - 1);
  }
  const layers = [];
  for (const id of ids) (layers[rank.get(id)] ??= []).push(id);
  return layers.filter((layer) => layer?.length > 0);
}

/** The order in each layer: by the mean place of the neighbours, forth and back some times. */
function ordered(layers, next, back) {
  const place = new Map();
  const number = (layer) => layer.forEach((id, at) => place.set(id, (at + 0.5) / layer.length));
  layers.forEach(number);
  const mean = (id, of) => {
    const all = of.get(id);
    return all.length === 0 ? place.get(id) : all.reduce((sum, other) => sum + place.get(other), 0) / all.length;
  };
  for (let round = 0; round < 8; round++) {
    const forth = round % 2 === 0;
    const way = forth ? layers : [...layers].reverse();
    for (const layer of way) {
      const means = new Map(layer.map((id) => [id, mean(id, forth ? back : next)]));
      layer.sort((a, b) => means.get(a) - means.get(b) || (a < b ? -1 : 1));
      number(layer);
    }
  }
  return layers;
}

/** Columns of layers, long ones divided such that all is as large as can be in the space there is. */
function filled(layers, width, row) {
  const longest = Math.max(0, ...layers.map((layer) => layer.length));
  let [best, size] = [layers, Infinity];
  for (let rows = 6; rows <= Math.max(6, longest); rows++) {
    const columns = layers.flatMap((layer) => chunks(layer, rows));
    const high = Math.max(...columns.map((column) => column.length)) * row;
    const needed = Math.max(columns.length * width, high * ASPECT);
    if (needed < size) [best, size] = [columns, needed];
  }
  return best;
}

function chunks(layer, most) {
  const count = Math.ceil(layer.length / most);
  const size = Math.ceil(layer.length / count);
  return Array.from({ length: count }, (_, at) => layer.slice(at * size, (at + 1) * size));
}

/** New nodes among those that stay where they are: beside whom they call or are called by, in the next free place. */
function extended(ids, edges, before, { width, row }) {
  const places = new Map(ids.filter((id) => before.has(id)).map((id) => [id, before.get(id)]));
  const isTaken = ({ x, y }) => [...places.values()].some((at) => Math.abs(at.x - x) < WIDTH && Math.abs(at.y - y) < HEIGHT + 8);
  const { next, back } = neighbours(ids, edges);
  for (const id of ids.filter((id) => !places.has(id))) {
    const of = (others) => others.map((other) => places.get(other)).filter(Boolean);
    const [callers, called] = [of(back.get(id)), of(next.get(id))];
    const near = [...callers, ...called];
    const x = callers.length > 0 ? Math.max(...callers.map((at) => at.x)) + width
      : called.length > 0 ? Math.min(...called.map((at) => at.x)) - width : 0;
    const bottom = Math.max(0, ...[...places.values()].map((at) => at.y)) + row;
    let y = near.length > 0 ? near.reduce((sum, at) => sum + at.y, 0) / near.length : bottom;
    for (let step = 1; isTaken({ x, y }); step++) y += (step % 2 === 0 ? -step : step) * (row / 2);
    places.set(id, { x, y });
  }
  return places;
}

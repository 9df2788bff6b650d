// What there is, kept in step by one stream. Things have keys, `KIND/ID`; who wants to know of a kind is told once for
// all that changed, in the next frame.

const RETRY = [500, 1000, 2000, 5000, 10000];

class Store extends EventTarget {
  #kinds = new Map();
  #listeners = new Set();
  #changed = new Map();
  #source = null;
  #subject = null;
  #tries = 0;
  #timer = 0;
  #frame = 0;
  #fresh = false;
  /** The server's clock less ours, in milliseconds. */
  offset = 0;
  /** `connecting`, `live` or `lost`. */
  state = "connecting";

  /** All things of a kind, by id. */
  all(kind) {
    let things = this.#kinds.get(kind);
    if (!things) this.#kinds.set(kind, (things = new Map()));
    return things;
  }

  get(kind, id) {
    return this.all(kind).get(id);
  }

  now() {
    return Date.now() + this.offset;
  }

  /** Whether the first message has come. */
  get loaded() {
    return this.#fresh;
  }

  /** Calls `listener(changed)` with a map of kinds to sets of ids, after changes; gives what ends that. */
  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Follows everything, and one subject in detail. */
  follow(subject) {
    if (this.#source && this.#subject === subject) return;
    this.#subject = subject;
    this.#tries = 0;
    for (const kind of ["task", "stopped", "deployment", "route"]) this.all(kind).clear();
    this.#connect();
  }

  #connect() {
    clearTimeout(this.#timer);
    this.#source?.close();
    const query = this.#subject ? `?of=${encodeURIComponent(this.#subject)}` : "";
    const source = (this.#source = new EventSource(`api/stream${query}`));
    source.onmessage = (event) => this.#take(event.data);
    source.onerror = () => {
      // It would try again by itself, but at the same pace for ever, and not after a refusal.
      source.close();
      if (this.#source !== source) return;
      this.#say("lost");
      this.#timer = setTimeout(() => this.#connect(), RETRY[Math.min(this.#tries++, RETRY.length - 1)]);
    };
  }

  #say(state) {
    if (this.state === state) return;
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }

  #take(data) {
    const began = performance.now();
    const message = JSON.parse(data);
    this.offset = message.at - Date.now();
    this.#tries = 0;
    if (message.reset) {
      for (const [kind, things] of this.#kinds) {
        for (const id of things.keys()) if (!(`${kind}/${id}` in message.set)) this.#drop(kind, id);
      }
      this.#fresh = true;
    }
    for (const key of message.drop ?? []) this.#drop(...split(key));
    for (const key in message.set) {
      const [kind, id] = split(key);
      this.all(kind).set(id, message.set[key]);
      this.#mark(kind, id);
    }
    this.#say("live");
    performance.measure("bowline:receive", { start: began });
    this.#frame ||= requestAnimationFrame(() => this.#flush());
  }

  #drop(kind, id) {
    this.all(kind).delete(id);
    this.#mark(kind, id);
  }

  #mark(kind, id) {
    let ids = this.#changed.get(kind);
    if (!ids) this.#changed.set(kind, (ids = new Set()));
    ids.add(id);
  }

  #flush() {
    const began = performance.now();
    this.#frame = 0;
    const changed = this.#changed;
    this.#changed = new Map();
    for (const listener of this.#listeners) listener(changed);
    performance.measure("bowline:render", { start: began });
  }
}

function split(key) {
  const at = key.indexOf("/");
  return at < 0 ? [key, ""] : [key.slice(0, at), key.slice(at + 1)];
}

export const store = new Store();

/** Asks for JSON; fails with the text that the server gives. */
export async function ask(path, { method = "GET", body, headers = {} } = {}) {
  const sent = body === undefined ? headers : { ...headers, "content-type": "application/json" };
  const response = await fetch(`api/${path}`, { method, headers: sent, body: body && JSON.stringify(body) });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.message ?? `The server answered ${response.status}.`);
  return answer;
}

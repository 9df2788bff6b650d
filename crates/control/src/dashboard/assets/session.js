// Who has signed in, and what those may do.

import { h } from "./dom.js";
import { ask } from "./store.js";

export const session = new EventTarget();
session.who = null;

function set(answer) {
  session.who = answer.signedIn ? answer : null;
  session.dispatchEvent(new Event("change"));
}

export async function load() {
  set(await ask("session").catch(() => ({})));
}

/** A dialog, which is gone when it closes. */
export function dialog(label, ...content) {
  const element = h("dialog", { "aria-label": label }, ...content);
  element.addEventListener("close", () => element.remove());
  element.addEventListener("click", (event) => event.target === element && element.close());
  document.body.append(element);
  element.showModal();
  return element;
}

export function signIn() {
  const failure = h("p", { class: "failure", role: "alert" });
  const key = h("input", { id: "key", name: "username", autocomplete: "username", required: true, spellcheck: "false", autocapitalize: "off" });
  const secret = h("input", { id: "secret", name: "password", type: "password", autocomplete: "current-password", required: true });
  const button = h("button", { class: "primary" }, "Sign in");
  const form = h("form", {},
    h("h2", {}, "Sign in"),
    h("p", { class: "quiet" }, "With an access key of this Bowline. What you do is allowed by its IAM policies, and recorded."),
    h("label", { for: "key" }, "Access key ID"), key,
    h("label", { for: "secret" }, "Secret access key"), secret,
    failure,
    h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => box.close() }, "Cancel"), button));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    failure.textContent = "";
    try {
      set(await ask("session", { method: "POST", body: { accessKeyId: key.value, secretAccessKey: secret.value } }));
      box.close();
    } catch (error) {
      failure.textContent = error.message;
      secret.value = "";
      secret.focus();
    }
    button.disabled = false;
  });
  const box = dialog("Sign in", form);
  key.focus();
}

const csrf = () => ({ "x-bowline-csrf": session.who?.csrfToken ?? "" });

export async function signOut() {
  await ask("session", { method: "DELETE", headers: csrf() }).catch(() => {});
  await load();
}

/** Asks whether to do something, does it, and says how it ended: by `said(text)`. */
export function act({ question, explanation, verb, danger, body, done }, said) {
  const failure = h("p", { class: "failure", role: "alert" });
  const button = h("button", { class: danger ? "danger" : "primary" }, verb);
  const form = h("form", {}, h("h2", {}, question), h("p", { class: "quiet" }, explanation), failure,
    h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => box.close() }, "Cancel"), button));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      await ask("action", { method: "POST", headers: csrf(), body });
      box.close();
      said(done);
    } catch (error) {
      failure.textContent = error.message;
      // The session may have ended meanwhile.
      load();
    }
    button.disabled = false;
  });
  const box = dialog(question, form);
}

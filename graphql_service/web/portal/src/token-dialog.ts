// Asks for a bearer token. It lives in the page's memory and ends with it: no storage, no address holds it.

import { h } from "./elements.ts";

let open: Promise<string | null> | null = null;

/** The token that was entered; null where the dialog was closed. Those who ask meanwhile get the same answer. */
export function askForToken(message: string): Promise<string | null> {
  open ??= show(message).finally(() => {
    open = null;
  });
  return open;
}

function show(message: string): Promise<string | null> {
  const input = h("input", {
    type: "password",
    name: "token",
    autocomplete: "off",
    spellcheck: false,
    required: true,
    "aria-label": "Key or access token",
  });
  const dialog = h(
    "dialog",
    { class: "token-dialog", "aria-labelledby": "token-dialog-title" },
    h(
      "form",
      { method: "dialog" },
      h("h2", { id: "token-dialog-title" }, "Sign in"),
      h("p", {}, message),
      input,
      h("p", { class: "hint" }, "Kept in this page's memory until you close or reload it."),
      h(
        "menu",
        {},
        h("button", { type: "button", onclick: () => dialog.close() }, "Not now"),
        h("button", { type: "submit", value: "ok", class: "primary" }, "Continue"),
      ),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      // Whole headers are copied too.
      const token = input.value.trim().replace(/^Bearer\s+/i, "");
      resolve(dialog.returnValue === "ok" ? token || null : null);
    });
  });
}

// The panel at the right (below on narrow screens): one image set, or what a search means.

import { type Child, h, replace } from "./elements.ts";

export class Drawer {
  readonly element: HTMLElement;
  readonly #title = h("h2", { tabindex: -1 });
  readonly #body = h("div", { class: "drawer-body" });
  #closed: () => void = () => undefined;
  #asking = new AbortController();

  constructor() {
    const close = h(
      "button",
      { type: "button", class: "quiet cross", "aria-label": "Close", onclick: () => this.close() },
      "×",
    );
    this.element = h(
      "aside",
      { class: "drawer", hidden: true, "aria-label": "Details" },
      h("header", {}, this.#title, close),
      this.#body,
    );
    document.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Opens it, or takes over what is open; the signal aborts once it shows something else. */
  open(title: string, closed: () => void): AbortSignal {
    this.#asking.abort();
    this.#closed();
    this.#closed = closed;
    this.#asking = new AbortController();
    replace(this.#title, title);
    replace(this.#body, h("p", { class: "hint", role: "status" }, "Loading…"));
    this.element.hidden = false;
    document.body.classList.add("with-drawer");
    this.#title.focus({ preventScroll: true });
    return this.#asking.signal;
  }

  show(...content: Child[]): void {
    replace(this.#body, ...content);
  }

  close(): void {
    if (this.element.hidden) return;
    this.#asking.abort();
    this.element.hidden = true;
    document.body.classList.remove("with-drawer");
    const closed = this.#closed;
    this.#closed = () => undefined;
    closed();
  }

  /** Escape closes it, but where something else has the focus and an Escape of its own. */
  #key(event: KeyboardEvent): void {
    const focused = document.activeElement;
    const ours = !focused || focused === document.body || this.element.contains(focused);
    if (event.key === "Escape" && ours && !document.querySelector("dialog[open], :popover-open")) this.close();
  }
}

// A panel that floats below what opened it. The browser closes it at Escape and at a click outside.

import { h } from "./elements.ts";

const GAP = 4;
const MARGIN = 8;

export interface Popover {
  readonly element: HTMLElement;
  close(): void;
}

/** Opens a panel; what opened it says whether it is open (`aria-expanded`) and gets the focus back. */
export function openPopover(anchor: HTMLElement, label: string, ...content: readonly Node[]): Popover {
  const element = h("div", { class: "popover", popover: "auto", role: "dialog", "aria-label": label }, content);
  document.body.append(element);
  anchor.setAttribute("aria-expanded", "true");
  element.addEventListener("toggle", (event) => {
    if ((event as ToggleEvent).newState !== "closed") return;
    anchor.setAttribute("aria-expanded", "false");
    // A closed one has no way back: the next is made anew.
    element.remove();
  });
  element.showPopover();
  place(element, anchor);
  const resized = new ResizeObserver(() => place(element, anchor));
  resized.observe(element);
  const target =
    element.querySelector<HTMLElement>("[data-focus]") ?? element.querySelector<HTMLElement>("input, select, button");
  target?.focus();
  return { element, close: () => element.isConnected && element.hidePopover() };
}

function place(element: HTMLElement, anchor: HTMLElement): void {
  const around = anchor.getBoundingClientRect();
  const { width, height } = element.getBoundingClientRect();
  const below = innerHeight - around.bottom - GAP - MARGIN;
  const above = around.top - GAP - MARGIN;
  const top = height > below && above > below ? Math.max(MARGIN, around.top - GAP - height) : around.bottom + GAP;
  element.style.left = `${Math.max(MARGIN, Math.min(around.left, innerWidth - width - MARGIN))}px`;
  element.style.top = `${top}px`;
  element.style.maxHeight = `${Math.max(below, above, 160)}px`;
}

// A button that copies a text and says that it has.

import { h } from "./elements.ts";

export function copyButton(label: string, text: () => string): HTMLButtonElement {
  const button = h("button", { type: "button", class: "quiet copy", onclick: () => void copy() }, label);
  async function copy(): Promise<void> {
    button.textContent = (await write(text())) ? "Copied" : "Copying is not allowed here";
    setTimeout(() => {
      button.textContent = label;
    }, 1600);
  }
  return button;
}

async function write(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return writeBySelection(text);
  }
}

/** Where the page is served without TLS there is no clipboard but this one. */
function writeBySelection(text: string): boolean {
  const area = h("textarea", { class: "unseen", "aria-hidden": "true" });
  area.value = text;
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  const focused = document.activeElement;
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  if (focused instanceof HTMLElement) focused.focus();
  return copied;
}

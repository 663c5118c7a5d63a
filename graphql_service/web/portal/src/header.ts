// The top of the page: which data store is searched, in which zone times are shown, light or dark, and the way to help.

import { h, replace } from "./elements.ts";
import { ZONE, zoneWords } from "./moments.ts";
import { readTheme, type Theme, writeTheme } from "./preferences.ts";
import type { Datastore } from "./search.ts";

export interface HeaderHost {
  help(): void;
  chooseDatastore(datastoreId: string): void;
}

const THEMES: Readonly<Record<Theme, string>> = { system: "auto", light: "light", dark: "dark" };

export class Header {
  readonly element: HTMLElement;
  readonly #host: HeaderHost;
  readonly #stores = h("div", { class: "datastores" });
  readonly #theme = h("button", { type: "button", class: "quiet", onclick: () => this.#nextTheme() });

  constructor(host: HeaderHost) {
    this.#host = host;
    this.element = h(
      "header",
      { class: "top" },
      h("a", { class: "brand", href: "./" }, h("span", { class: "mark", "aria-hidden": "true" }), "imagesets"),
      this.#stores,
      h("span", { class: "zone", title: `Times are shown in your time zone, ${ZONE}` }, zoneWords()),
      h(
        "nav",
        { "aria-label": "Portal" },
        h("button", { type: "button", class: "quiet", onclick: () => host.help() }, "Help"),
        this.#theme,
        h("a", { class: "quiet to-graphiql", href: "graphql" }, "GraphiQL"),
      ),
    );
    this.#applyTheme(readTheme());
  }

  /** The name of the only data store, or a choice where there are several. */
  showDatastores(datastores: readonly Datastore[], chosen: string | null): void {
    const [only, second] = datastores;
    if (!second) return replace(this.#stores, only && h("span", { title: only.datastoreId }, only.name));
    const known = datastores.some(({ datastoreId }) => datastoreId === chosen);
    const choice = h(
      "select",
      { "aria-label": "Data store", onchange: () => this.#host.chooseDatastore(choice.value) },
      h("option", { value: "", disabled: true, selected: !known }, "Choose a data store"),
      datastores.map(({ datastoreId, name }) =>
        h("option", { value: datastoreId, selected: datastoreId === chosen }, name),
      ),
    );
    replace(this.#stores, choice);
  }

  #nextTheme(): void {
    const order = Object.keys(THEMES) as Theme[];
    const standing = document.documentElement.dataset.theme as Theme;
    const theme = order[(order.indexOf(standing) + 1) % order.length] ?? "system";
    writeTheme(theme);
    this.#applyTheme(theme);
  }

  #applyTheme(theme: Theme): void {
    document.documentElement.dataset.theme = theme;
    this.#theme.textContent = `Theme: ${THEMES[theme]}`;
  }
}

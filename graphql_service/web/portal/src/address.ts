// The search in the page's address, behind "#": no server and no proxy is sent that, and it can be kept and passed on.

import type { View } from "./search.ts";

export interface Address {
  readonly query: string;
  readonly view: View;
  readonly datastoreId: string | null;
}

export function readAddress(): Address {
  const given = new URLSearchParams(location.hash.slice(1));
  return {
    query: given.get("q") ?? "",
    view: given.get("view") === "studies" ? "studies" : "imageSets",
    datastoreId: given.get("datastore"),
  };
}

export function sameAddress(one: Address, other: Address): boolean {
  return one.query === other.query && one.view === other.view && one.datastoreId === other.datastoreId;
}

/** A new entry of the browser's history, but where the address is the same already. */
export function writeAddress({ query, view, datastoreId }: Address): void {
  const parts = new URLSearchParams();
  if (query) parts.set("q", query);
  if (view !== "imageSets") parts.set("view", view);
  if (datastoreId !== null) parts.set("datastore", datastoreId);
  const hash = parts.size ? `#${parts}` : "";
  if (hash === location.hash) return;
  history.pushState(null, "", `${location.pathname}${location.search}${hash}`);
}

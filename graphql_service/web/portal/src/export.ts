// The whole result as a file, with progress and a way to stop. The file is made in memory, page by page.

import { type Connection, isAbort } from "./api.ts";
import { h, replace } from "./elements.ts";
import { writeCsvHeader, writeCsvLine, writeNdjsonLine } from "./export-format.ts";
import { toApiError } from "./failure.ts";
import type { Field } from "./fields.ts";
import { type Count, type Search, readAll } from "./search.ts";

export type Format = "csv" | "ndjson";

const TYPES: Readonly<Record<Format, string>> = { csv: "text/csv;charset=utf-8", ndjson: "application/x-ndjson" };

/** Runs at most one export at a time; its progress stands in `element`. */
export class Exporter {
  readonly element = h("div", { class: "export-progress", role: "status", hidden: true });
  readonly #connection: Connection;
  #running: AbortController | null = null;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** `columns` are those of CSV: the fields in the language's own order. */
  async run(search: Search, format: Format, columns: readonly Field[], count: Count | null): Promise<void> {
    this.#running?.abort();
    const running = new AbortController();
    this.#running = running;
    const bar = h("progress", { "aria-label": "Exported", max: count?.precision === "EXACT" ? count.value : null });
    const text = h("span", {});
    const stop = h("button", { type: "button", class: "quiet", onclick: () => running.abort() }, "Cancel");
    replace(this.element, text, bar, stop);
    this.element.hidden = false;
    const tell = (rows: number, more = "") => {
      text.textContent = `Exported ${rows.toLocaleString("en")}${totalWords(count, rows)}${more}`;
      if (bar.hasAttribute("max")) bar.value = rows;
    };
    let rows = 0;
    const parts: string[] = format === "csv" ? [writeCsvHeader(columns)] : [];
    const wait = async (seconds: number) => {
      tell(rows, `, waiting ${Math.ceil(seconds)} s: the store is asked too much`);
      await sleep(seconds, running.signal);
    };
    tell(0);
    try {
      for await (const page of readAll(this.#connection, search, running.signal, wait)) {
        const lines = page.map((it) => (format === "csv" ? writeCsvLine(columns, it) : writeNdjsonLine(it)));
        parts.push(lines.join(""));
        rows += page.length;
        tell(rows);
      }
      save(new Blob(parts, { type: TYPES[format] }), `image-sets-${new Date().toISOString().slice(0, 10)}.${format}`);
      this.#end(`Exported ${rows.toLocaleString("en")} image ${rows === 1 ? "set" : "sets"}.`);
    } catch (error) {
      const stopped = isAbort(error) || running.signal.aborted;
      if (this.#running === running)
        this.#end(stopped ? "Export stopped: nothing was saved." : `Export failed: ${message(error)}`);
    }
  }

  #end(text: string): void {
    this.#running = null;
    const close = () => {
      this.element.hidden = true;
    };
    replace(
      this.element,
      h("span", {}, text),
      h("button", { type: "button", class: "quiet", onclick: close }, "Close"),
    );
  }
}

function message(error: unknown): string {
  return `${toApiError(error).message} Nothing was saved.`;
}

function totalWords(count: Count | null, rows: number): string {
  // Of how many it will be nothing is known once there are as many as were counted.
  if (!count || (count.precision !== "EXACT" && rows >= count.value)) return "";
  return ` of ${count.precision === "EXACT" ? "" : "more than "}${count.value.toLocaleString("en")}`;
}

function save(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

function sleep(seconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("stopped", "AbortError"));
    });
  });
}

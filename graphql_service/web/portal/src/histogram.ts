// How many image sets there are over time, as bars. Dragging over them, or arrows and Enter, chooses a range of dates.

import { h, replace, svg } from "./elements.ts";
import type { Field } from "./fields.ts";
import { writeDay } from "./moments.ts";
import type { Bucket, Interval } from "./search.ts";

export interface HistogramHost {
  choose(field: Field, from: string, to: string): void;
}

const HEIGHT = 64;
/** Fewer bars would be as wide as walls: empty ones stand beside them. */
const FEWEST = 12;

/** The interval whose bars are neither too few nor too many for what lies between these days. */
export function fitInterval(buckets: readonly Bucket[]): Interval {
  const [first, last] = [buckets[0], buckets.at(-1)];
  if (!first || !last) return "MONTH";
  const days = (Date.parse(last.to) - Date.parse(first.from)) / 86_400_000;
  if (days <= 93) return "DAY";
  return days <= 366 * 15 ? "MONTH" : "YEAR";
}

export class Histogram {
  readonly element = h("section", { class: "histogram", "aria-label": "Image sets over time" });
  readonly #host: HistogramHost;
  #field: Field | null = null;
  #buckets: readonly Bucket[] = [];
  #interval: Interval = "MONTH";
  #bars: SVGRectElement[] = [];
  readonly #tip = h("div", { class: "tip", hidden: true });
  readonly #said = h("p", { class: "unseen", role: "status" });
  /** The ends of what is being chosen; the second is where the pointer or the cursor is. */
  #range: [number, number] | null = null;
  #dragging = false;

  constructor(host: HistogramHost) {
    this.#host = host;
  }

  /** Another search runs: what stands there is not of it. */
  wait(): void {
    this.element.setAttribute("aria-busy", "true");
  }

  /** Instead of bars: why there are none, maybe with a button. */
  note(...content: (Node | string)[]): void {
    this.element.removeAttribute("aria-busy");
    this.#bars = [];
    replace(this.element, h("p", { class: "hint" }, content));
  }

  show(field: Field, interval: Interval, found: readonly Bucket[]): void {
    const { label } = field;
    this.#field = field;
    this.#interval = interval;
    this.#buckets = widen(fillGaps(found, interval), interval);
    this.#range = null;
    this.#dragging = false;
    const count = this.#buckets.length;
    const most = Math.max(...this.#buckets.map((bucket) => bucket.count));
    const [first, last] = [this.#buckets[0], this.#buckets.at(-1)];
    if (!first || !last) return this.note(`No chart: none of these image sets has this date (${label}).`);
    const height = ({ count: bars }: Bucket) => (bars ? Math.max(2, (bars / most) * HEIGHT) : 0);
    this.#bars = this.#buckets.map((bucket, index) =>
      svg("rect", { x: index + 0.08, width: 0.84, y: HEIGHT - height(bucket), height: height(bucket) }),
    );
    const chart = svg(
      "svg",
      { viewBox: `0 0 ${count} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
      this.#bars,
    );
    const plot = h(
      "div",
      {
        class: "plot",
        tabindex: 0,
        role: "slider",
        "aria-label": `${label} by ${interval.toLowerCase()}: choose a range with the arrows, Shift and Enter`,
        "aria-valuemin": 0,
        "aria-valuemax": count - 1,
        "aria-valuenow": count - 1,
        "aria-valuetext": this.#describe(count - 1, count - 1),
        onpointerdown: (event: PointerEvent) => this.#press(event, plot),
        onpointermove: (event: PointerEvent) => this.#point(event, plot),
        onpointerup: () => this.#release(),
        onpointercancel: () => this.#cancel(),
        onpointerleave: () => this.#dragging || this.#cancel(),
        onkeydown: (event: KeyboardEvent) => this.#key(event, plot),
        onblur: () => this.#cancel(),
      },
      chart,
      this.#tip,
    );
    const atLeast = this.#buckets.some((bucket) => bucket.precision === "AT_LEAST");
    const title = `${label}, by ${interval.toLowerCase()}${atLeast ? " (at least so many)" : ""}`;
    this.element.removeAttribute("aria-busy");
    replace(
      this.element,
      h("div", { class: "scale" }, h("span", {}, title), h("span", {}, `most: ${most.toLocaleString("en")}`)),
      plot,
      h(
        "div",
        { class: "scale" },
        h("span", {}, writeDay(first.from, interval)),
        h("span", {}, writeDay(last.from, interval)),
      ),
      this.#said,
    );
  }

  #describe(low: number, high: number): string {
    const [from, to] = [this.#buckets[low], this.#buckets[high]];
    if (!from || !to) return "";
    const count = this.#buckets.slice(low, high + 1).reduce((sum, bucket) => sum + bucket.count, 0);
    const days = [writeDay(from.from, this.#interval), writeDay(to.from, this.#interval)];
    const when = low === high ? days[0] : `${days[0]} – ${days[1]}`;
    return `${when}: ${count.toLocaleString("en")}`;
  }

  #at(event: PointerEvent, plot: HTMLElement): number {
    const { left, width } = plot.getBoundingClientRect();
    const place = Math.floor(((event.clientX - left) / width) * this.#buckets.length);
    return Math.max(0, Math.min(this.#buckets.length - 1, place));
  }

  #press(event: PointerEvent, plot: HTMLElement): void {
    if (event.button !== 0) return; // the context menu's
    plot.setPointerCapture(event.pointerId);
    this.#dragging = true;
    const place = this.#at(event, plot);
    this.#mark([place, place], plot);
  }

  #point(event: PointerEvent, plot: HTMLElement): void {
    const place = this.#at(event, plot);
    this.#mark([this.#dragging ? (this.#range?.[0] ?? place) : place, place], plot);
  }

  #release(): void {
    if (!this.#dragging) return;
    this.#dragging = false;
    this.#take();
  }

  #cancel(): void {
    this.#dragging = false;
    this.#range = null;
    this.#tip.hidden = true;
    for (const bar of this.#bars) bar.classList.remove("chosen");
  }

  #take(): void {
    if (!this.#range) return;
    const [low, high] = [Math.min(...this.#range), Math.max(...this.#range)];
    const [from, to] = [this.#buckets[low], this.#buckets[high]];
    if (this.#field && from && to) this.#host.choose(this.#field, from.from, to.to);
  }

  #key(event: KeyboardEvent, plot: HTMLElement): void {
    const steps: Record<string, number> = {
      ArrowLeft: -1,
      ArrowRight: 1,
      Home: -this.#buckets.length,
      End: this.#buckets.length,
    };
    if (event.key === "Enter") this.#take();
    else if (event.key === "Escape") this.#cancel();
    else if (event.key in steps) {
      const last = this.#buckets.length - 1;
      const standing = this.#range?.[1] ?? last + (steps[event.key] === -1 ? 1 : 0);
      const place = Math.max(0, Math.min(last, standing + (steps[event.key] ?? 0)));
      this.#mark([event.shiftKey ? (this.#range?.[0] ?? place) : place, place], plot);
      plot.setAttribute("aria-valuenow", String(place));
      plot.setAttribute("aria-valuetext", this.#tip.textContent ?? "");
    } else return;
    event.preventDefault();
  }

  #mark(range: [number, number], plot: HTMLElement): void {
    this.#range = range;
    const [low, high] = [Math.min(...range), Math.max(...range)];
    for (const [index, bar] of this.#bars.entries()) bar.classList.toggle("chosen", index >= low && index <= high);
    this.#tip.textContent = this.#describe(low, high);
    this.#tip.hidden = false;
    const { width } = plot.getBoundingClientRect();
    const middle = (((low + high + 1) / 2) * width) / this.#buckets.length;
    const half = this.#tip.offsetWidth / 2;
    this.#tip.style.left = `${Math.max(half, Math.min(width - half, middle))}px`;
  }
}

/** With the buckets that hold none: the service leaves them out. */
function fillGaps(found: readonly Bucket[], interval: Interval): readonly Bucket[] {
  const filled: Bucket[] = [];
  for (const bucket of found) {
    for (let last = filled.at(-1); last && filled.length <= 10_000; last = filled.at(-1)) {
      const from = moveDay(last.to, 1);
      if (from >= bucket.from) break;
      filled.push({ from, to: lastDay(from, interval), count: 0, precision: bucket.precision });
    }
    filled.push(bucket);
  }
  return filled;
}

/** With empty buckets at both ends, as long as there are few; at the ends of the calendar at one alone. */
function widen(buckets: readonly Bucket[], interval: Interval): readonly Bucket[] {
  const wide = [...buckets];
  while (wide.length && wide.length < FEWEST) {
    const empty = { count: 0, precision: "EXACT" } as const;
    const last = wide.at(-1)?.to ?? "";
    const from = moveDay(last, 1);
    const to = moveDay(wide[0]?.from ?? "", -1);
    if (from > last) wide.push({ ...empty, from, to: lastDay(from, interval) });
    if (to > "0001") wide.unshift({ ...empty, from: firstDay(to, interval), to });
  }
  return wide;
}

function moveDay(day: string, by: 1 | -1): string {
  return writeUtcDay(new Date(Date.parse(`${day}T00:00:00Z`) + by * 86_400_000));
}

function firstDay(last: string, interval: Interval): string {
  if (interval === "DAY") return last;
  return interval === "MONTH" ? `${last.slice(0, 7)}-01` : `${last.slice(0, 4)}-01-01`;
}

function lastDay(first: string, interval: Interval): string {
  const date = new Date(`${first}T00:00:00Z`);
  if (interval === "DAY") return first;
  if (interval === "MONTH") date.setUTCMonth(date.getUTCMonth() + 1, 0);
  else date.setUTCFullYear(date.getUTCFullYear(), 11, 31);
  return writeUtcDay(date);
}

function writeUtcDay(date: Date): string {
  return date.toISOString().slice(0, 10);
}

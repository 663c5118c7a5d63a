// The searches of this page, newest last. They hold patients' values, so they live in its memory and end with it.

const LIMIT = 100;

/** A list that is walked back and forth from a draft, as a shell's. */
export class Recall {
  readonly #searches: string[] = [];
  #place = 0;
  #draft = "";

  /** Newest first. */
  get searches(): readonly string[] {
    return this.#searches.toReversed();
  }

  add(search: string): void {
    const text = search.trim();
    const known = this.#searches.indexOf(text);
    if (known >= 0) this.#searches.splice(known, 1);
    if (text) this.#searches.push(text);
    if (this.#searches.length > LIMIT) this.#searches.shift();
    this.#place = this.#searches.length;
  }

  /** The search before (-1) or after (1) the one that stands there; null where there is none. */
  step(by: -1 | 1, standing: string): string | null {
    if (this.#place >= this.#searches.length) this.#draft = standing;
    else if (this.#searches[this.#place] !== standing.trim()) {
      this.#place = this.#searches.length;
      this.#draft = standing;
    }
    // What stands there already is no step.
    let place = this.#place + by;
    if (by < 0 && this.#searches[place] === standing.trim()) place -= 1;
    if (place < 0 || place > this.#searches.length) return null;
    this.#place = place;
    return this.#searches[place] ?? this.#draft;
  }
}

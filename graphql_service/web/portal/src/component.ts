// <imageset-search endpoint="/graphql" datastore="…">: the search box, for this portal and any other.
//
// Attributes: `endpoint` (the service's /graphql), `datastore` (an id, where there are several), `time-zone` (an IANA
// name, by default the browser's), `query` (the text at first), `placeholder`, `first` (rows of a page).
// Properties: `query`, `token` (sent as a bearer token), `analysis`. Methods: search(), focus().
// Events, all bubbling: `analysis` {query, analysis}; `search` {query, datastoreId, timeZone}, which can be cancelled by
// who searches himself; else `results` {query, imageSets} or `failure` {query, error}.

import {
  acceptCompletion,
  autocompletion,
  closeCompletion,
  completionKeymap,
  completionStatus,
  selectedCompletion,
} from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, insertNewline } from "@codemirror/commands";
import { type Diagnostic, linter, setDiagnostics } from "@codemirror/lint";
import { EditorState, Prec } from "@codemirror/state";
import { EditorView, keymap, placeholder } from "@codemirror/view";
import { type Analysis, analyse } from "./analysis.ts";
import { ApiError, type Connection, type Problem, applyFix, ask, isAbort } from "./api.ts";
import { completionSource } from "./completions.ts";
import css from "./component.css";
import { h, replace, svg } from "./elements.ts";
import { queryLanguage } from "./language.ts";
import { Recall } from "./recall.ts";

/** Milliseconds without a key before the query is looked at. */
const PAUSE = 40;
/** Milliseconds without a key before a screen reader is told. */
const LONG_PAUSE = 900;

const PAGE = `query ($query: String!, $timeZone: String, $datastoreId: ID, $first: Int) {
  imageSets(query: $query, timeZone: $timeZone, datastoreId: $datastoreId, first: $first) {
    totalCount { value precision }
    nodes {
      id imageSetId datastoreId version createdAt updatedAt lastAccessedAt storageTier isPrimary
      patient { patientId name birthDate sex }
      study { instanceUid studyId accessionNumber description date time seriesCount instanceCount }
      series { instanceUid number modality bodyPart }
    }
    pageInfo { hasNextPage endCursor }
    search { complete scanned requests }
  }
}`;

const CLOCK = "M9 1.5a7.5 7.5 0 1 0 0 15 7.5 7.5 0 0 0 0-15zM9 5v4.3l2.8 1.7";
const CROSS = "m4.5 4.5 9 9m0-9-9 9";

export class ImagesetSearch extends HTMLElement {
  static readonly observedAttributes = ["endpoint", "datastore", "time-zone"];

  readonly #connection: Connection = { endpoint: "/graphql", token: null };
  readonly #recall = new Recall();
  readonly #view: EditorView;
  readonly #box: HTMLElement;
  readonly #said = h("div", { class: "said", id: "said" });
  readonly #heard = h("div", { class: "heard", role: "status" });
  readonly #recent = h("div", { class: "recent", hidden: true });
  readonly #clear = icon("Clear the search", CROSS, () => this.#clearText());
  readonly #history = icon("Recent searches", CLOCK, () => this.#toggleRecent());

  #analysis: Analysis | null = null;
  #analysed: string | null = null;
  /** Whether the person has asked to search what stands there: unfinished words are faults from then on. */
  #insisted = false;
  #pause = 0;
  #longPause = 0;
  #asking = new AbortController();
  #searching = new AbortController();

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open", delegatesFocus: true });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(css);
    root.adoptedStyleSheets = [sheet];
    const editor = h("div", { class: "editor" });
    const go = h("button", { type: "button", class: "go", part: "button", onclick: () => this.search() }, "Search");
    this.#box = h("div", { class: "box", part: "box" }, editor, this.#clear, this.#history, go, this.#recent);
    this.#history.hidden = true;
    this.#history.setAttribute("aria-expanded", "false");
    this.#clear.hidden = true;
    root.append(h("div", { role: "search", "aria-label": "Search image sets" }, this.#box, this.#said, this.#heard));
    root.addEventListener("keydown", (event) => this.#closeRecent(event as KeyboardEvent));
    this.addEventListener("focusout", (event) => {
      if (!root.contains(event.relatedTarget as Node | null)) this.#showRecent(false);
    });
    this.#view = new EditorView({ parent: editor, root, state: this.#makeState("") });
  }

  connectedCallback(): void {
    const first = this.getAttribute("query");
    if (first !== null && !this.query) this.query = first;
    else this.#analyseSoon(0);
    if (this.hasAttribute("autofocus")) this.focus();
  }

  disconnectedCallback(): void {
    this.#asking.abort();
    this.#searching.abort();
    window.clearTimeout(this.#pause);
    window.clearTimeout(this.#longPause);
  }

  attributeChangedCallback(name: string, _: string | null, value: string | null): void {
    if (name === "endpoint") this.#connection.endpoint = value || "/graphql";
    this.#analysed = null;
    if (this.isConnected) this.#analyseSoon(0);
  }

  /** The text that stands there. */
  get query(): string {
    return this.#view.state.doc.toString();
  }

  set query(text: string) {
    if (text === this.query) return;
    this.#view.dispatch({
      changes: { from: 0, to: this.#view.state.doc.length, insert: text },
      selection: { anchor: text.length },
    });
    closeCompletion(this.#view);
  }

  /** Sent as a bearer token; it is never stored. */
  get token(): string | null {
    return this.#connection.token;
  }

  set token(token: string | null) {
    this.#connection.token = token;
    this.#analysed = null;
    if (this.isConnected) this.#analyseSoon(0);
  }

  /** What the service says of the text; null as long as it has not. */
  get analysis(): Analysis | null {
    return this.#analysed === this.query ? this.#analysis : null;
  }

  override focus(options?: FocusOptions): void {
    if (options?.preventScroll) this.#view.contentDOM.focus(options);
    else this.#view.focus();
  }

  /** Searches what stands there, as Enter does; with problems known, shows them instead. */
  search(): void {
    this.#insisted = true;
    closeCompletion(this.#view);
    this.#showRecent(false);
    const query = this.query;
    if (this.analysis?.problems.length) {
      this.#showProblems();
      this.#tell();
      return;
    }
    this.#recall.add(query);
    this.#history.hidden = false;
    const scope = this.#scope();
    if (this.#send("search", { query, ...scope }, true)) void this.#fetch(query);
  }

  #scope() {
    return {
      datastoreId: this.getAttribute("datastore") || null,
      timeZone: this.getAttribute("time-zone") ?? Intl.DateTimeFormat().resolvedOptions().timeZone,
    };
  }

  async #fetch(query: string): Promise<void> {
    this.#searching.abort();
    this.#searching = new AbortController();
    const { signal } = this.#searching;
    const first = Number(this.getAttribute("first")) || null;
    this.#box.setAttribute("aria-busy", "true");
    try {
      const { imageSets } = await ask<{ imageSets: unknown }>(
        this.#connection,
        PAGE,
        { query, ...this.#scope(), first },
        signal,
      );
      this.#send("results", { query, imageSets });
    } catch (error) {
      if (isAbort(error)) return;
      this.#send("failure", { query, error });
      if (error instanceof ApiError && error.code !== "INVALID_QUERY") this.#say("problem", error.message);
    } finally {
      if (!signal.aborted) this.#box.removeAttribute("aria-busy");
    }
  }

  #send(type: string, detail: unknown, cancelable = false): boolean {
    return this.dispatchEvent(new CustomEvent(type, { detail, bubbles: true, composed: true, cancelable }));
  }

  #makeState(doc: string): EditorState {
    const label = this.getAttribute("aria-label") ?? "Search query";
    return EditorState.create({
      doc,
      extensions: [
        queryLanguage(),
        history(),
        EditorView.lineWrapping,
        placeholder(this.getAttribute("placeholder") ?? "Such as: name = garcia and modality in (CT, MR)"),
        EditorView.contentAttributes.of({
          "aria-label": label,
          "aria-describedby": "said",
          autocapitalize: "off",
          autocorrect: "off",
          enterkeyhint: "search",
          spellcheck: "false",
        }),
        autocompletion({
          override: [completionSource(this.#connection, () => this.#scope().datastoreId)],
          activateOnTypingDelay: PAUSE,
          selectOnOpen: false,
          // None is chosen by itself, so none is taken by mistake: keys count at once.
          interactionDelay: 0,
          icons: false,
          defaultKeymap: false,
          maxRenderedOptions: 60,
        }),
        linter(null),
        Prec.highest(
          keymap.of([
            { key: "Enter", run: () => this.#enter(), shift: insertNewline },
            { key: "Tab", run: (view) => this.#tab(view) },
            { key: "ArrowUp", run: (view) => this.#step(view, -1) },
            { key: "ArrowDown", run: (view) => this.#step(view, 1) },
          ]),
        ),
        keymap.of([...completionKeymap, ...historyKeymap, ...defaultKeymap]),
        EditorView.domEventHandlers({ beforeinput: typeOver }),
        EditorView.updateListener.of((update) => {
          if (!update.docChanged) return;
          this.#insisted = false;
          this.#clear.hidden = update.state.doc.length === 0;
          this.#analyseSoon(PAUSE);
        }),
      ],
    });
  }

  #enter(): boolean {
    if (completionStatus(this.#view.state) === "active" && selectedCompletion(this.#view.state)) {
      return acceptCompletion(this.#view);
    }
    this.search();
    return true;
  }

  /** Tab takes the chosen completion, or the first where none is chosen; without completions it leaves the box. */
  #tab(view: EditorView): boolean {
    if (completionStatus(view.state) !== "active") return false;
    if (!selectedCompletion(view.state)) {
      const down = completionKeymap.find((binding) => binding.key === "ArrowDown");
      down?.run?.(view);
    }
    return acceptCompletion(view);
  }

  /** At the first or last line the arrows walk through the recent searches. */
  #step(view: EditorView, by: -1 | 1): boolean {
    if (completionStatus(view.state) === "active") return false;
    const { main } = view.state.selection;
    const edge = view.coordsAtPos(by < 0 ? 0 : view.state.doc.length);
    const caret = view.coordsAtPos(main.head);
    if (!main.empty || !edge || !caret || Math.abs(edge.top - caret.top) > 4) return false;
    const search = this.#recall.step(by, this.query);
    if (search === null) return false;
    this.query = search;
    return true;
  }

  #clearText(): void {
    this.query = "";
    this.focus();
  }

  #toggleRecent(): void {
    this.#showRecent(this.#recent.hidden !== false);
  }

  #showRecent(shown: boolean): void {
    if (this.#recent.hidden === !shown) return;
    this.#recent.hidden = !shown;
    this.#history.setAttribute("aria-expanded", String(shown));
    if (!shown) return;
    const take = (search: string) => () => {
      this.query = search;
      this.focus();
      this.search();
    };
    replace(
      this.#recent,
      this.#recall.searches.map((search) =>
        h("button", { type: "button", title: search, onclick: take(search) }, search),
      ),
    );
    this.#recent.querySelector("button")?.focus();
  }

  #closeRecent(event: KeyboardEvent): void {
    if (this.#recent.hidden) return;
    const buttons = [...this.#recent.querySelectorAll("button")];
    const place = buttons.indexOf(this.shadowRoot?.activeElement as HTMLButtonElement);
    if (event.key === "Escape") {
      this.#showRecent(false);
      this.#history.focus();
    } else if (event.key === "ArrowDown" && place >= 0) buttons[Math.min(place + 1, buttons.length - 1)]?.focus();
    else if (event.key === "ArrowUp" && place >= 0) buttons[Math.max(place - 1, 0)]?.focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #analyseSoon(pause: number): void {
    window.clearTimeout(this.#pause);
    window.clearTimeout(this.#longPause);
    this.#asking.abort();
    this.#pause = window.setTimeout(() => void this.#analyse(), pause);
    this.#longPause = window.setTimeout(() => this.#tell(), LONG_PAUSE);
  }

  async #analyse(): Promise<void> {
    const query = this.query;
    if (query === this.#analysed) return;
    this.#asking = new AbortController();
    const { signal } = this.#asking;
    try {
      this.#analysis = await analyse(this.#connection, query, this.#scope(), signal);
    } catch (error) {
      if (isAbort(error) || query !== this.query) return;
      // The box works on without checks; who searches is told what is wrong.
      this.#analysis = null;
      this.#analysed = null;
      this.#view.dispatch(setDiagnostics(this.#view.state, []));
      this.#say("", "");
      this.#send("failure", { query, error });
      return;
    }
    if (signal.aborted) return;
    this.#analysed = query;
    this.#showProblems();
    this.#send("analysis", { query, analysis: this.#analysis });
  }

  /** Whether a problem is only that the query is not finished: it lies where the person is still typing. */
  #isUnfinished(problem: Problem): boolean {
    if (this.#insisted) return false;
    const end = this.query.trimEnd().length;
    const atEnd = this.#view.state.selection.main.head >= end;
    const begun = problem.code === "bare_value" || problem.code === "unterminated_quote" || problem.code === "bad_date";
    return (
      atEnd && (problem.utf16Start >= end || (begun && this.#view.hasFocus && problem.utf16End >= this.query.length))
    );
  }

  #showProblems(): void {
    const analysis = this.analysis;
    if (!analysis) return;
    const faults: readonly Problem[] = analysis.problems.filter((problem) => !this.#isUnfinished(problem));
    const diagnostics = [
      ...faults.map((problem) => this.#diagnose(problem, "error")),
      ...analysis.notices.map((notice) => this.#diagnose(notice, "warning")),
    ].sort((one, other) => one.from - other.from);
    this.#view.dispatch(setDiagnostics(this.#view.state, diagnostics));
    this.#view.contentDOM.setAttribute("aria-invalid", String(faults.length > 0));
    this.#box.classList.toggle("wrong", faults.length > 0);
    const [problem = analysis.problems[0]] = faults;
    const [notice] = analysis.notices;
    if (problem) this.#say(faults.length > 0 ? "problem" : "", problem, faults.length - 1);
    else if (notice) this.#say("notice", notice);
    else this.#say("", "");
  }

  #diagnose(problem: Problem, severity: "error" | "warning"): Diagnostic {
    const length = this.query.length;
    const { fix } = problem;
    const actions = fix ? [{ name: `Write ${applyFix(this.query, fix)}`, apply: () => this.#fix(problem) }] : [];
    return {
      from: Math.min(problem.utf16Start, length),
      to: Math.min(problem.utf16End, length),
      severity,
      message: problem.message,
      actions,
    };
  }

  #fix(problem: Problem): void {
    // A fix is good for the text that it was found in alone.
    if (!problem.fix || !this.analysis) return;
    const points = Array.from(this.query);
    const place = (point: number) => points.slice(0, point).join("").length;
    const { start, end, text } = problem.fix;
    this.#view.dispatch({ changes: { from: place(start), to: place(end), insert: text }, userEvent: "input.fix" });
    this.focus();
  }

  #say(kind: "" | "problem" | "notice", what: string | Problem, more = 0): void {
    this.#said.className = `said ${kind}`;
    if (typeof what === "string") {
      replace(this.#said, what);
      return;
    }
    const fixed = what.fix && applyFix(this.query, what.fix);
    replace(
      this.#said,
      h("span", {}, what.message),
      fixed !== null &&
        h(
          "button",
          { type: "button", class: "fix", onclick: () => this.#fix(what) },
          "Fix: ",
          h("code", {}, shorten(fixed)),
        ),
      more > 0 && h("span", {}, `and ${more} more`),
    );
  }

  /** Tells a screen reader what is said, once the person rests. */
  #tell(): void {
    const spoken = this.#said.textContent ?? "";
    if (this.#heard.textContent !== spoken) this.#heard.textContent = spoken;
  }
}

/**
 * Types over what is selected. The browser would do it too, but gives the new text the colours of the old as an inline
 * style, which a strict policy of the page refuses loudly.
 */
function typeOver(event: InputEvent, view: EditorView): boolean {
  if (event.inputType !== "insertText" || !event.data || view.state.selection.main.empty) return false;
  view.dispatch(
    view.state.update(view.state.replaceSelection(event.data), { userEvent: "input.type", scrollIntoView: true }),
  );
  event.preventDefault();
  return true;
}

function shorten(text: string): string {
  return text.length > 60 ? `${text.slice(0, 59)}…` : text;
}

function icon(label: string, path: string, onclick: () => void): HTMLButtonElement {
  const drawing = svg("path", { d: path, fill: "none", stroke: "currentColor", "stroke-width": 1.5 });
  return h(
    "button",
    { type: "button", class: "icon", "aria-label": label, title: label, onclick },
    svg("svg", { viewBox: "0 0 18 18", "aria-hidden": "true" }, drawing),
  );
}

declare global {
  interface HTMLElementTagNameMap {
    "imageset-search": ImagesetSearch;
  }
}

if (!customElements.get("imageset-search")) customElements.define("imageset-search", ImagesetSearch);

// The search portal: the search box, its filters, the results, and what can be done with them. The text in the search
// box says what is searched; everything else here reads it, or writes it.

import { readAddress, writeAddress } from "./address.ts";
import { type Analysis, analyse } from "./analysis.ts";
import { type ApiError, type Connection, ask, isAbort } from "./api.ts";
import { openCopyAs } from "./copy-as.ts";
import { describeImageSet } from "./detail.ts";
import { Drawer } from "./drawer.ts";
import { type Child, h, replace } from "./elements.ts";
import { describeExplanation } from "./explanation.ts";
import { Exporter, type Format } from "./export.ts";
import { type Remedies, describeFailure, toApiError } from "./failure.ts";
import { type Field, type ImageSet, inColumnOrder, isTemporal, loadFields } from "./fields.ts";
import { FilterBar } from "./filter-bar.ts";
import { readConditions, writeFilter } from "./filter.ts";
import { describeLanguage } from "./help.ts";
import { Histogram, fitInterval } from "./histogram.ts";
import { zoneWords, ZONE } from "./moments.ts";
import { openPopover } from "./popover.ts";
import { readColumns, readTheme, type Theme, writeColumns, writeTheme } from "./preferences.ts";
import { addCondition, replaceCondition, setSort } from "./query-text.ts";
import { DEFAULT_SORT, ResultsTable, type SortKey } from "./results-table.ts";
import {
  type Count,
  type Datastore,
  type Page,
  type Report,
  type Search,
  type Study,
  type View,
  countRows,
  loadDatastores,
  loadExplanation,
  loadHistogram,
  loadImageSets,
  loadStudies,
  loadStudyImageSets,
} from "./search.ts";
import { StudiesList } from "./studies-list.ts";
import { askForToken } from "./token-dialog.ts";

/** GraphQL's names of the dates that a chart can be over. */
const CHARTED: Readonly<Record<string, string>> = {
  updatedAt: "UPDATED_AT",
  createdAt: "CREATED_AT",
  lastAccessedAt: "LAST_ACCESSED_AT",
  DICOMStudyDateAndTime: "STUDY_DATE_AND_TIME",
  DICOMPatientBirthDate: "PATIENT_BIRTH_DATE",
};

const button = (label: string, attributes: Record<string, unknown> = {}) =>
  h("button", { type: "button", class: "quiet", ...attributes }, label);

/** What is known of the search that is shown. */
interface Shown {
  readonly search: Search;
  /** Ends with the search: what comes later belongs to another one. */
  readonly signal: AbortSignal;
  rows: number;
  count: Count | null;
  report: Report | null;
  sort: readonly SortKey[];
  next: string | null;
  /** Of a search by study: how many of the image sets that are found belong to no study. */
  loose: Count | null;
}

class Portal {
  readonly #connection: Connection = { endpoint: new URL("graphql", location.href).href, token: null };
  readonly #box = document.createElement("imageset-search");
  readonly #filters: FilterBar;
  readonly #chart: Histogram;
  readonly #table: ResultsTable;
  readonly #studies: StudiesList;
  readonly #drawer = new Drawer();
  readonly #exporter = new Exporter(this.#connection);
  readonly #results = h("div", { class: "results-pane", tabindex: -1 });
  readonly #state = h("div", { class: "state-pane" });
  readonly #counted = h("p", { class: "counted", role: "status" });
  readonly #more = h("div", { class: "more" });
  readonly #stores = h("div", { class: "datastores" });
  readonly #views: readonly HTMLButtonElement[];
  readonly #tools: readonly HTMLButtonElement[];

  #fields: readonly Field[] = [];
  #datastores: readonly Datastore[] = [];
  #datastoreId: string | null = null;
  #view: View = "imageSets";
  #shown: Shown | null = null;
  #running = new AbortController();
  /** Whether the person has asked for what costs the store more than a page: a count, a chart. */
  #thorough = false;

  constructor() {
    this.#filters = new FilterBar({
      search: (text) => this.search(text),
      check: (condition) => this.#check(condition),
      suggest: (field) => this.#suggest(field),
    });
    this.#chart = new Histogram({ choose: (from, to) => this.#chooseDates(from, to) });
    const host = {
      open: (imageSet: ImageSet) => void this.#open(imageSet),
      sort: (field: Field, direction: "asc" | "desc") => this.#sortBy(field, direction),
    };
    this.#table = new ResultsTable(host);
    this.#studies = new StudiesList({
      ...host,
      load: (study, after) => this.#loadStudy(study, after),
    });
    const views: readonly [View, string][] = [
      ["imageSets", "Image sets"],
      ["studies", "Studies"],
    ];
    this.#views = views.map(([view, name]) =>
      button(name, { class: "", "data-view": view, onclick: () => this.#group(view) }),
    );
    this.#tools = [
      button("Sort", {
        class: "quiet sort",
        "aria-haspopup": "dialog",
        onclick: (event: Event) => this.#chooseSort(event),
      }),
      button("Columns", { "aria-haspopup": "dialog", onclick: (event: Event) => this.#chooseColumns(event) }),
      button("Export", { "aria-haspopup": "dialog", onclick: (event: Event) => this.#chooseExport(event) }),
      button("Copy as code", { "aria-haspopup": "dialog", onclick: () => this.#copyAs() }),
      button("Explain", { onclick: () => void this.#explain() }),
    ];
    this.#build();
  }

  async start(): Promise<void> {
    addEventListener("popstate", () => this.#followAddress());
    this.#followAddress();
    await this.#prepare();
  }

  /** Puts a text into the search box and searches it. */
  search(text: string): void {
    this.#box.query = text;
    this.#box.search();
  }

  #build(): void {
    this.#box.setAttribute("endpoint", this.#connection.endpoint);
    this.#box.setAttribute("time-zone", ZONE);
    this.#box.addEventListener("search", (event) => {
      event.preventDefault();
      void this.#run((event as CustomEvent<{ query: string }>).detail.query);
    });
    this.#box.addEventListener("analysis", (event) => {
      const { query, analysis } = (event as CustomEvent<{ query: string; analysis: Analysis }>).detail;
      this.#filters.show(query, analysis);
    });
    const theme = button("", { onclick: () => this.#nextTheme(theme) });
    this.#applyTheme(readTheme(), theme);
    const header = h(
      "header",
      { class: "top" },
      h("a", { class: "brand", href: "./" }, h("span", { class: "mark", "aria-hidden": "true" }), "imagesets"),
      this.#stores,
      h("span", { class: "zone", title: "Times are shown in your time zone" }, zoneWords()),
      h(
        "nav",
        { "aria-label": "Portal" },
        button("Help", { onclick: () => this.#help() }),
        theme,
        h("a", { class: "quiet to-graphiql", href: "graphql" }, "GraphiQL"),
      ),
    );
    const toolbar = h(
      "div",
      { class: "toolbar" },
      h("div", { class: "segments", role: "group", "aria-label": "Group by" }, this.#views),
      this.#counted,
      h("div", { class: "tools" }, this.#tools),
    );
    this.#results.append(this.#state, this.#table.element, this.#studies.element, this.#more);
    document.body.replaceChildren(
      header,
      h(
        "main",
        {},
        h("h1", { class: "unseen" }, "Search medical image sets"),
        h("div", { class: "query" }, this.#box, this.#filters.element),
        this.#chart.element,
        toolbar,
        h("div", { class: "split" }, this.#results, this.#drawer.element),
        this.#exporter.element,
      ),
    );
    this.#showView();
  }

  /** Loads what does not depend on the search: the fields of the language, and the data stores there are. */
  async #prepare(): Promise<void> {
    try {
      const [fields, datastores] = await Promise.all([loadFields(this.#connection), loadDatastores(this.#connection)]);
      this.#fields = fields;
      this.#datastores = datastores;
      this.#filters.fields = inColumnOrder(fields);
      this.#filters.show(this.#box.query, this.#box.analysis);
      this.#showDatastores();
      await this.#run(this.#box.query);
    } catch (error) {
      if (!isAbort(error)) this.#fail(toApiError(error), () => void this.#prepare());
    }
  }

  #followAddress(): void {
    const { query, view, datastoreId } = readAddress();
    const same = this.#shown?.search.query === query && this.#view === view && this.#datastoreId === datastoreId;
    this.#view = view;
    this.#datastoreId = datastoreId;
    this.#box.query = query;
    this.#showView();
    this.#showDatastores();
    if (!same && this.#fields.length) void this.#run(query);
  }

  async #run(query: string): Promise<void> {
    // Until the fields are there nothing can be shown: then it is searched.
    if (!this.#fields.length) return;
    this.#running.abort();
    this.#running = new AbortController();
    const { signal } = this.#running;
    const search: Search = { query, datastoreId: this.#datastoreId, timeZone: ZONE };
    writeAddress({ query, view: this.#view, datastoreId: this.#datastoreId });
    this.#drawer.close();
    replace(this.#more);
    this.#busy(true);
    try {
      const shown: Shown = { search, signal, rows: 0, count: null, report: null, sort: [], next: null, loose: null };
      const page = await this.#loadPage(shown);
      this.#shown = shown;
      this.#begin();
      this.#append(shown, page);
      this.#results.scrollTop = 0;
      void this.#enrich(shown);
    } catch (error) {
      if (!isAbort(error) && !signal.aborted) this.#fail(toApiError(error), () => void this.#run(query));
    } finally {
      if (!signal.aborted) this.#busy(false);
    }
  }

  /** The next page. Raises an AbortError where another search has begun meanwhile, however late that was. */
  async #loadPage({ search, next, signal }: Shown): Promise<Page<ImageSet> | Page<Study>> {
    const load = this.#view === "studies" ? loadStudies : loadImageSets;
    const page = await load(this.#connection, search, next, signal);
    signal.throwIfAborted();
    return page;
  }

  /** What comes after the rows: how they are sorted, how many there are, when they are from. */
  async #enrich(shown: Shown): Promise<void> {
    const { signal } = shown;
    const ready = this.#box.query === shown.search.query ? this.#box.analysis : null;
    try {
      const analysis = ready ?? (await analyse(this.#connection, shown.search.query, shown.search, signal));
      shown.sort = analysis.meaning?.sort ?? [];
      this.#table.showSort(shown.sort);
      const whole = this.#fields.every((field) => field.served);
      if (whole || this.#thorough) await this.#countAndDraw(shown);
      else this.#offerMore(shown);
    } catch (error) {
      if (!isAbort(error)) this.#chart.note(toApiError(error).message);
    }
  }

  /** A store that is read row by row is not counted unless somebody wants it. */
  #offerMore(shown: Shown): void {
    const draw = button("Count and chart this search", {
      onclick: () => {
        this.#thorough = true;
        void this.#countAndDraw(shown);
      },
    });
    this.#chart.note("Counting reads the whole store. ", draw);
  }

  async #countAndDraw(shown: Shown): Promise<void> {
    await Promise.all([this.#count(shown), this.#draw(shown)]);
  }

  async #count(shown: Shown): Promise<void> {
    const { search, signal } = shown;
    try {
      shown.count = await countRows(this.#connection, search, this.#view, signal);
      if (this.#view === "studies") {
        const query = addCondition(search.query, "study is null");
        shown.loose = await countRows(this.#connection, { ...search, query }, "imageSets", signal);
      }
    } catch (error) {
      if (isAbort(error)) return;
    }
    if (!signal.aborted) this.#tellCount(shown);
  }

  async #draw({ search, sort, signal }: Shown): Promise<void> {
    const field = this.#chartedField(sort);
    const name = CHARTED[field?.name ?? ""];
    if (!field || !name) return;
    try {
      let interval = fitInterval([]);
      let buckets = await loadHistogram(this.#connection, search, name, interval, signal);
      const fitting = fitInterval(buckets);
      if (fitting !== interval && buckets.length) {
        interval = fitting;
        buckets = await loadHistogram(this.#connection, search, name, interval, signal);
      }
      this.#chart.show(field.label, interval, buckets);
    } catch (error) {
      if (!isAbort(error)) this.#chart.note(`No chart: ${toApiError(error).message}`);
    }
  }

  /** The date that is sorted by; without one, the last update. */
  #chartedField(sort: readonly SortKey[]): Field | undefined {
    const names = [...sort.map((key) => key.field), DEFAULT_SORT.field];
    return names.flatMap((name) => this.#fields.filter((field) => field.name === name && isTemporal(field)))[0];
  }

  #begin(): void {
    replace(this.#state);
    const columns = this.#columns();
    this.#table.begin(columns, this.#shown?.sort ?? []);
    this.#studies.begin(this.#fields);
    this.#showView();
  }

  #columns(): readonly Field[] {
    const chosen = readColumns();
    const columns = inColumnOrder(this.#fields).filter((field) => chosen.includes(field.name));
    return columns.length ? columns : inColumnOrder(this.#fields).slice(0, 1);
  }

  #append(shown: Shown, page: Page<ImageSet> | Page<Study>): void {
    if (this.#view === "studies") this.#studies.append(page.nodes as readonly Study[]);
    else this.#table.append(page.nodes as readonly ImageSet[]);
    shown.rows += page.nodes.length;
    shown.report = addReports(shown.report, page.search);
    shown.next = page.pageInfo.hasNextPage ? page.pageInfo.endCursor : null;
    this.#tellCount(shown);
    this.#showMore(shown, page.search.complete);
    if (!shown.rows && shown.next === null) this.#showEmpty(shown);
    this.#showView();
  }

  #tellCount({ rows, count, next, loose }: Shown): void {
    const what = this.#view === "studies" ? ["study", "studies"] : ["image set", "image sets"];
    const many = (number: number) => number.toLocaleString("en");
    const tell = ({ value, precision }: Count) => `${many(value)}${precision === "EXACT" ? "" : "+"}`;
    // When all are shown they are counted, whatever the service has said.
    const total = next === null ? many(rows) : count ? tell(count) : "more";
    const counted = rows
      ? [h("b", {}, `1–${many(rows)} of ${total}`), ` ${rows === 1 && next === null ? what[0] : what[1]}`]
      : [h("b", {}, next === null ? `No ${what[1]}` : `No ${what[1]} yet`)];
    const others = loose?.value === 1 ? "image set belongs" : "image sets belong";
    replace(this.#counted, ...counted, loose?.value ? `; ${tell(loose)} more ${others} to no study` : null);
  }

  #showMore(shown: Shown, complete: boolean): void {
    if (shown.next === null) return replace(this.#more);
    const go = button(complete ? "Load more" : "Go on", {
      class: "primary-quiet",
      onclick: () => void this.#loadMore(shown),
    });
    const scanned = shown.report?.scanned.toLocaleString("en");
    const note = complete ? null : h("p", { class: "hint" }, `${scanned} image sets read so far; the store has more.`);
    replace(this.#more, note, go);
  }

  async #loadMore(shown: Shown): Promise<void> {
    replace(this.#more, h("p", { class: "hint", role: "status" }, "Loading more…"));
    try {
      this.#append(shown, await this.#loadPage(shown));
    } catch (error) {
      if (isAbort(error) || shown.signal.aborted) return;
      const failure = toApiError(error);
      const restart = failure.code === "INVALID_CURSOR";
      const again = () => void (restart ? this.#run(shown.search.query) : this.#loadMore(shown));
      replace(this.#more, describeFailure(failure, this.#remedies(again)));
    }
  }

  #showEmpty({ search }: Shown): void {
    const everything = !search.query.trim() || search.query.trim() === "*";
    const [title, advice, remedy] =
      this.#view === "studies"
        ? [
            "No study matches",
            "No study has an image set that meets every condition. Image sets that belong to no study, for they have" +
              " no Study Instance UID, are not shown here.",
            button("Show image sets", { onclick: () => this.#group("imageSets") }),
          ]
        : everything
          ? ["This data store is empty", "Load image sets with: imagesets load FILE --datastore NAME", null]
          : [
              "Nothing matches",
              "No image set meets every condition of the search. Remove a filter above, or widen one.",
              button("Show everything", { onclick: () => this.search("") }),
            ];
    replace(
      this.#state,
      h("div", { class: "state", "data-code": "EMPTY" }, h("h2", {}, title), h("p", {}, advice), remedy),
    );
  }

  #fail(error: ApiError, retry: () => void): void {
    this.#shown = null;
    this.#busy(false);
    replace(this.#more);
    replace(this.#counted);
    this.#chart.note();
    this.#table.begin([], []);
    this.#studies.begin([]);
    if (error.code === "UNAUTHENTICATED") void this.#signIn(error, retry);
    const failure = describeFailure(error, this.#remedies(retry));
    if (error.code === "DATASTORE_NOT_FOUND" && this.#datastores.length) {
      failure.querySelector("button")?.replaceWith(h("div", { class: "choices" }, this.#datastoreButtons()));
    }
    replace(this.#state, failure);
    this.#showView();
  }

  #remedies(retry: () => void): Remedies {
    return {
      retry,
      signIn: () => void this.#signIn(null, retry),
      withoutSort: () => this.search(setSort(this.#box.query, null)),
      chooseDatastore: () => void this.#prepare(),
      focusQuery: () => this.#box.focus(),
    };
  }

  /** Asks for a token, once however many requests were refused, and goes on with it. */
  async #signIn(error: ApiError | null, retry: () => void): Promise<void> {
    const token = await askForToken(error?.message ?? "This service wants an access token.");
    if (!token) return;
    this.#connection.token = token;
    this.#box.token = token;
    retry();
  }

  #busy(busy: boolean): void {
    this.#results.setAttribute("aria-busy", String(busy));
    if (busy && !this.#shown)
      replace(
        this.#state,
        h(
          "div",
          { class: "skeleton", "aria-hidden": "true" },
          Array.from({ length: 8 }, () => h("i")),
        ),
      );
  }

  #showView(): void {
    const rows = (this.#shown?.rows ?? 0) > 0;
    this.#table.element.hidden = !rows || this.#view !== "imageSets";
    this.#studies.element.hidden = !rows || this.#view !== "studies";
    for (const view of this.#views) view.setAttribute("aria-pressed", String(view.dataset.view === this.#view));
    for (const tool of this.#tools) if (tool.textContent === "Columns") tool.hidden = this.#view !== "imageSets";
  }

  #group(view: View): void {
    if (view === this.#view) return;
    this.#view = view;
    this.#showView();
    void this.#run(this.#shown?.search.query ?? this.#box.query);
  }

  /** Edits the text in the box, and searches it. What has problems is left as it is typed, and they are shown. */
  async #edit(change: (text: string, canonical: string) => string): Promise<void> {
    const { query } = this.#box;
    try {
      const scope = { datastoreId: this.#datastoreId, timeZone: ZONE };
      const { canonical } = this.#box.analysis ?? (await analyse(this.#connection, query, scope));
      if (this.#box.query !== query) return; // somebody types on
      if (canonical === null) {
        this.#box.focus();
        this.#box.search();
      } else this.search(change(query, canonical));
    } catch (error) {
      this.#fail(toApiError(error), () => void this.#run(query));
    }
  }

  #sortBy(field: Field, direction: "asc" | "desc"): void {
    void this.#edit((text) => setSort(text, `${field.short} ${direction}`));
  }

  /** For screens without room for a table's headers. */
  #chooseSort(event: Event): void {
    const [key = DEFAULT_SORT] = this.#shown?.sort ?? [];
    const fields = inColumnOrder(this.#fields);
    const option = (value: string, name: string, selected: boolean) => h("option", { value, selected }, name);
    const field = h(
      "select",
      { "aria-label": "Sort by" },
      fields.map((each) => option(each.name, each.label, each.name === key.field)),
    );
    const direction = h(
      "select",
      { "aria-label": "Direction" },
      option("asc", "ascending", key.dir === "asc"),
      option("desc", "descending", key.dir === "desc"),
    );
    const apply = () => {
      popover.close();
      const chosen = fields.find((each) => each.name === field.value);
      if (chosen) this.#sortBy(chosen, direction.value === "asc" ? "asc" : "desc");
    };
    const form = h("div", { class: "choices" }, field, direction, button("Sort", { class: "primary", onclick: apply }));
    const popover = openPopover(event.currentTarget as HTMLElement, "Sort", form);
  }

  #chooseDates(from: string, to: string): void {
    const field = this.#chartedField(this.#shown?.sort ?? []);
    if (!field) return;
    const condition = writeFilter({ field, operator: "between", values: [from, to] });
    void this.#edit((text, canonical) => {
      const standing = readConditions(text, canonical, inColumnOrder(this.#fields));
      const index = standing.conditions.findIndex(
        ({ filter }) => filter?.field.name === field.name && /^(?:[=<>]=?|between)$/.test(filter.operator),
      );
      return index < 0 ? addCondition(standing.text, condition) : replaceCondition(standing.text, index, condition);
    });
  }

  async #check(condition: string): Promise<string | null> {
    try {
      const scope = { datastoreId: this.#datastoreId, timeZone: ZONE };
      return (await analyse(this.#connection, condition, scope)).problems[0]?.message ?? null;
    } catch (error) {
      return toApiError(error).message;
    }
  }

  async #suggest(field: Field): Promise<readonly string[]> {
    if (field.kind !== "CODE") return [];
    const query = `${field.short} = `;
    const document = `query ($query: String!, $position: Int!, $datastoreId: ID) {
      searchCompletions(query: $query, position: $position, datastoreId: $datastoreId) { label kind }
    }`;
    const variables = { query, position: query.length, datastoreId: this.#datastoreId };
    type Answer = { searchCompletions: readonly { label: string; kind: string }[] };
    const { searchCompletions } = await ask<Answer>(this.#connection, document, variables);
    return searchCompletions.filter(({ kind }) => kind === "VALUE").map(({ label }) => label);
  }

  #loadStudy(study: Study, after: string | null): Promise<Page<ImageSet> | null> {
    const search = this.#shown?.search ?? { query: "", datastoreId: this.#datastoreId, timeZone: ZONE };
    return loadStudyImageSets(this.#connection, search, study.id, after, this.#running.signal);
  }

  async #open(imageSet: ImageSet): Promise<void> {
    const list = this.#view === "studies" ? this.#studies : this.#table;
    const signal = this.#drawer.open("Image set", () => {
      list.mark(null);
      list.focus(imageSet);
    });
    list.mark(imageSet);
    await this.#fillDrawer(() =>
      describeImageSet(
        { connection: this.#connection, fields: this.#fields, search: (text) => this.search(text) },
        imageSet,
        signal,
      ),
    );
  }

  async #explain(): Promise<void> {
    const search = this.#currentSearch();
    const signal = this.#drawer.open("What this search means", () => undefined);
    const whole = this.#fields.every((field) => field.served);
    const answered = { whole, report: this.#shown?.report ?? null, shown: this.#shown?.rows ?? 0 };
    await this.#fillDrawer(async () =>
      describeExplanation(await loadExplanation(this.#connection, search, signal), answered),
    );
  }

  async #fillDrawer(describe: () => Promise<readonly Child[]>): Promise<void> {
    try {
      this.#drawer.show(...(await describe()));
    } catch (error) {
      if (isAbort(error)) return;
      this.#drawer.show(
        describeFailure(
          toApiError(error),
          this.#remedies(() => void this.#fillDrawer(describe)),
        ),
      );
    }
  }

  #help(): void {
    this.#drawer.open("The search language", () => undefined);
    this.#drawer.show(...describeLanguage(this.#fields, (text) => this.search(text)));
  }

  #currentSearch(): Search {
    return this.#shown?.search ?? { query: this.#box.query, datastoreId: this.#datastoreId, timeZone: ZONE };
  }

  #copyAs(): void {
    openCopyAs(this.#connection, this.#currentSearch());
  }

  #chooseExport(event: Event): void {
    const anchor = event.currentTarget as HTMLElement;
    const export_ = (format: Format) => () => {
      popover.close();
      const count = this.#view === "imageSets" ? (this.#shown?.count ?? null) : null;
      void this.#exporter.run(this.#currentSearch(), format, this.#fields, count);
    };
    const item = (name: string, text: string, format: Format) =>
      h(
        "button",
        { type: "button", class: "item", onclick: export_(format) },
        h("b", {}, name),
        h("span", { class: "hint" }, text),
      );
    const popover = openPopover(
      anchor,
      "Export the whole result",
      h("p", { class: "hint" }, "Every image set that the search finds:"),
      item("CSV", "a column for each field, for spreadsheets", "csv"),
      item("NDJSON", "a summary on each line, as “imagesets load” reads it", "ndjson"),
    );
  }

  #chooseColumns(event: Event): void {
    const chosen = this.#columns().map((field) => field.name);
    const boxes = inColumnOrder(this.#fields).map((field) => {
      const checked = chosen.includes(field.name);
      return h("label", { class: "choice" }, h("input", { type: "checkbox", value: field.name, checked }), field.label);
    });
    const list = h("fieldset", { class: "choices columns", "aria-label": "Columns" }, boxes);
    list.addEventListener("change", () => {
      writeColumns([...list.querySelectorAll<HTMLInputElement>("input:checked")].map((box) => box.value));
      if (this.#shown) void this.#run(this.#shown.search.query);
    });
    openPopover(event.currentTarget as HTMLElement, "Columns", list);
  }

  #showDatastores(): void {
    if (this.#datastores.length < 2) {
      const [only] = this.#datastores;
      return replace(this.#stores, only && h("span", { title: only.datastoreId }, only.name));
    }
    const choice = h(
      "select",
      { "aria-label": "Data store", onchange: () => this.#chooseDatastore(choice.value || null) },
      h("option", { value: "", disabled: true, selected: this.#datastoreId === null }, "Choose a data store"),
      this.#datastores.map(({ datastoreId, name }) =>
        h("option", { value: datastoreId, selected: datastoreId === this.#datastoreId }, name),
      ),
    );
    replace(this.#stores, choice);
    this.#scopeBox();
  }

  #scopeBox(): void {
    if (this.#datastoreId === null) this.#box.removeAttribute("datastore");
    else if (this.#box.getAttribute("datastore") !== this.#datastoreId)
      this.#box.setAttribute("datastore", this.#datastoreId);
  }

  #datastoreButtons(): Node[] {
    return this.#datastores.map(({ datastoreId, name }) =>
      button(name, { class: "item", onclick: () => this.#chooseDatastore(datastoreId) }),
    );
  }

  #chooseDatastore(datastoreId: string | null): void {
    this.#datastoreId = datastoreId;
    this.#showDatastores();
    void this.#run(this.#box.query);
  }

  #nextTheme(shown: HTMLButtonElement): void {
    const order: readonly Theme[] = ["system", "light", "dark"];
    const standing = document.documentElement.dataset.theme as Theme;
    const theme = order[(order.indexOf(standing) + 1) % order.length] ?? "system";
    writeTheme(theme);
    this.#applyTheme(theme, shown);
  }

  #applyTheme(theme: Theme, shown: HTMLButtonElement): void {
    document.documentElement.dataset.theme = theme;
    const names: Readonly<Record<Theme, string>> = { system: "auto", light: "light", dark: "dark" };
    shown.textContent = `Theme: ${names[theme]}`;
  }
}

function addReports(sum: Report | null, page: Report): Report {
  if (!sum) return page;
  return { complete: page.complete, scanned: sum.scanned + page.scanned, requests: sum.requests + page.requests };
}

// The component's script is deferred, as this module is, and stands before it: the element is defined.
void new Portal().start();

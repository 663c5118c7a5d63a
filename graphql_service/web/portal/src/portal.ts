// The search portal: the search box, its filters, the results, and what can be done with them. The text in the search
// box says what is searched; everything else here reads it, or writes it.

import { type Address, readAddress, sameAddress, writeAddress } from "./address.ts";
import { type Analysis, analyse } from "./analysis.ts";
import { type ApiError, type Connection, isAbort } from "./api.ts";
import { openCopyAs } from "./copy-as.ts";
import { describeImageSet } from "./detail.ts";
import { Drawer } from "./drawer.ts";
import { type Child, h } from "./elements.ts";
import { describeExplanation } from "./explanation.ts";
import { Exporter, type Format } from "./export.ts";
import { type Remedies, describeFailure, toApiError } from "./failure.ts";
import { type Field, type ImageSet, inColumnOrder, isTemporal, loadFields } from "./fields.ts";
import { FilterBar } from "./filter-bar.ts";
import { readConditions, writeFilter } from "./filter.ts";
import { type Found, addPage, beginFound, describeCount, describeEmpty, describeMore } from "./found.ts";
import { Header } from "./header.ts";
import { describeLanguage } from "./help.ts";
import { Histogram, fitInterval } from "./histogram.ts";
import { ZONE } from "./moments.ts";
import { addCondition, replaceCondition, setSort } from "./query-text.ts";
import { ResultsPane } from "./results-pane.ts";
import { DEFAULT_SORT, type SortKey } from "./results-table.ts";
import {
  type Datastore,
  type Page,
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
  loadValues,
} from "./search.ts";
import { askForToken } from "./token-dialog.ts";
import { Toolbar } from "./toolbar.ts";

/** GraphQL's names of the dates that a chart can be over. */
const CHARTED: Readonly<Record<string, string>> = {
  updatedAt: "UPDATED_AT",
  createdAt: "CREATED_AT",
  lastAccessedAt: "LAST_ACCESSED_AT",
  DICOMStudyDateAndTime: "STUDY_DATE_AND_TIME",
  DICOMPatientBirthDate: "PATIENT_BIRTH_DATE",
};

class Portal {
  readonly #connection: Connection = { endpoint: new URL("graphql", location.href).href, token: null };
  readonly #box = document.createElement("imageset-search");
  readonly #header: Header;
  readonly #filters: FilterBar;
  readonly #chart: Histogram;
  readonly #toolbar: Toolbar;
  readonly #results: ResultsPane;
  readonly #drawer = new Drawer();
  readonly #exporter = new Exporter(this.#connection);

  /** While what does not depend on the search is loaded. */
  #preparing: Promise<void> | null = null;
  #fields: readonly Field[] = [];
  #datastores: readonly Datastore[] = [];
  #datastoreId: string | null = null;
  #view: View = "imageSets";
  /** What was searched last, whether it has been answered or not; null where it has failed. */
  #asked: Address | null = null;
  #found: Found | null = null;
  #running = new AbortController();
  /** Whether the person has asked for what costs the store more than a page: a count, a chart. */
  #thorough = false;

  constructor() {
    const sort = (field: Field, direction: "asc" | "desc") => this.#sortBy(field, direction);
    this.#header = new Header({
      help: () => this.#help(),
      chooseDatastore: (datastoreId) => this.#chooseDatastore(datastoreId),
    });
    this.#filters = new FilterBar({
      text: () => this.#box.query,
      search: (text) => this.search(text),
      check: (condition) => this.#check(condition),
      suggest: (field) => this.#suggest(field),
    });
    this.#chart = new Histogram({ choose: (field, from, to) => this.#chooseDates(field, from, to) });
    this.#toolbar = new Toolbar({
      group: (view) => this.#group(view),
      sort,
      showColumns: () => this.#results.showColumns(this.#fields),
      export: (format) => this.#export(format),
      copyAs: () => openCopyAs(this.#connection, this.#currentSearch()),
      explain: () => void this.#explain(),
    });
    this.#results = new ResultsPane({
      open: (imageSet) => void this.#open(imageSet),
      sort,
      load: (study, after) => this.#loadStudy(study, after),
    });
    this.#build();
  }

  start(): void {
    addEventListener("popstate", () => this.#followAddress());
    this.#followAddress();
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
    // What cannot be looked at has no filters that could be shown.
    this.#box.addEventListener("failure", () => this.#filters.show(this.#box.query, null));
    document.body.replaceChildren(
      this.#header.element,
      h(
        "main",
        {},
        h("h1", { class: "unseen" }, "Search medical image sets"),
        h("div", { class: "query" }, this.#box, this.#filters.element),
        this.#chart.element,
        this.#toolbar.element,
        h("div", { class: "split" }, this.#results.element, this.#drawer.element),
        this.#exporter.element,
      ),
    );
  }

  /** Loads what does not depend on the search, the fields of the language and the data stores there are; then searches. */
  #prepare(): Promise<void> {
    this.#preparing ??= this.#loadBasis().finally(() => {
      this.#preparing = null;
    });
    return this.#preparing;
  }

  async #loadBasis(): Promise<void> {
    try {
      const [fields, datastores] = await Promise.all([loadFields(this.#connection), loadDatastores(this.#connection)]);
      this.#fields = fields;
      this.#datastores = datastores;
      this.#filters.fields = inColumnOrder(fields);
      this.#toolbar.fields = fields;
      this.#filters.show(this.#box.query, this.#box.analysis);
      this.#showDatastores();
      void this.#run(this.#box.query);
    } catch (error) {
      this.#fail(toApiError(error), () => void this.#prepare());
    }
  }

  #followAddress(): void {
    const address = readAddress();
    const same = this.#asked !== null && sameAddress(this.#asked, address);
    this.#view = address.view;
    this.#datastoreId = address.datastoreId;
    this.#box.query = address.query;
    this.#toolbar.view = address.view;
    this.#showDatastores();
    if (!same) void this.#run(address.query);
  }

  async #run(query: string): Promise<void> {
    // Until the fields are there nothing can be shown: then what stands in the box is searched.
    if (!this.#fields.length) return this.#prepare();
    this.#running.abort();
    this.#running = new AbortController();
    const { signal } = this.#running;
    const search: Search = { query, datastoreId: this.#datastoreId, timeZone: ZONE };
    this.#asked = { query, view: this.#view, datastoreId: this.#datastoreId };
    writeAddress(this.#asked);
    this.#drawer.close();
    this.#results.busy = true;
    this.#chart.wait();
    try {
      const found = beginFound(search, this.#view, signal);
      const page = await this.#loadPage(found);
      this.#found = found;
      this.#results.begin(found.view, this.#fields);
      this.#append(found, page);
      void this.#enrich(found);
    } catch (error) {
      if (!isAbort(error) && !signal.aborted) this.#fail(toApiError(error), () => void this.#run(query));
    } finally {
      if (!signal.aborted) this.#results.busy = false;
    }
  }

  /** The next page. Raises an AbortError where another search has begun meanwhile, however late that was. */
  async #loadPage({ search, view, next, signal }: Found): Promise<Page<ImageSet> | Page<Study>> {
    const load = view === "studies" ? loadStudies : loadImageSets;
    const page = await load(this.#connection, search, next, signal);
    signal.throwIfAborted();
    return page;
  }

  #append(found: Found, page: Page<ImageSet> | Page<Study>): void {
    addPage(found, page);
    this.#results.append(page);
    this.#toolbar.tellCount(describeCount(found));
    this.#results.tellBelow(describeMore(found, () => void this.#loadMore(found)));
    if (found.rows || found.next !== null) return;
    const remedies = { showImageSets: () => this.#group("imageSets"), showEverything: () => this.search("") };
    this.#results.clear(describeEmpty(found, remedies));
  }

  async #loadMore(found: Found): Promise<void> {
    this.#results.tellBelow(h("p", { class: "hint", role: "status" }, "Loading more…"));
    try {
      this.#append(found, await this.#loadPage(found));
    } catch (error) {
      if (isAbort(error) || found.signal.aborted) return;
      const failure = toApiError(error);
      const restart = failure.code === "INVALID_CURSOR";
      const again = () => void (restart ? this.#run(found.search.query) : this.#loadMore(found));
      this.#results.tellBelow(describeFailure(failure, this.#remedies(again)));
    }
  }

  /** What comes after the rows: how they are sorted, how many there are, when they are from. */
  async #enrich(found: Found): Promise<void> {
    const { search, signal } = found;
    const ready = this.#box.query === search.query ? this.#box.analysis : null;
    try {
      const analysis = ready ?? (await analyse(this.#connection, search.query, search, signal));
      found.sort = analysis.meaning?.sort ?? [];
      this.#toolbar.sort = found.sort;
      this.#results.showSort(found.sort);
      if (this.#whole || this.#thorough) await this.#countAndDraw(found);
      else this.#offerMore(found);
    } catch (error) {
      if (!isAbort(error)) this.#chart.note(toApiError(error).message);
    }
  }

  /** Whether the store that is searched filters by every field itself. */
  get #whole(): boolean {
    return this.#fields.every((field) => field.served);
  }

  /** A store that is read row by row is not counted unless somebody wants it. */
  #offerMore(found: Found): void {
    const draw = () => {
      this.#thorough = true;
      void this.#countAndDraw(found);
    };
    const button = h("button", { type: "button", class: "quiet", onclick: draw }, "Count and chart this search");
    this.#chart.note("Counting may read the whole store. ", button);
  }

  async #countAndDraw(found: Found): Promise<void> {
    await Promise.all([this.#count(found), this.#draw(found)]);
  }

  async #count(found: Found): Promise<void> {
    const { search, view, signal } = found;
    try {
      found.count = await countRows(this.#connection, search, view, signal);
      if (view === "studies") {
        const query = addCondition(search.query, "study is null");
        found.loose = await countRows(this.#connection, { ...search, query }, "imageSets", signal);
      }
    } catch (error) {
      if (isAbort(error)) return;
    }
    if (!signal.aborted) this.#toolbar.tellCount(describeCount(found));
  }

  async #draw({ search, sort, signal, rows, next }: Found): Promise<void> {
    const field = this.#chartedField(sort);
    const name = CHARTED[field?.name ?? ""];
    // Of nothing there is no chart: that nothing was found is said already.
    if (!field || !name || (!rows && next === null)) return this.#chart.note();
    try {
      let interval = fitInterval([]);
      let buckets = await loadHistogram(this.#connection, search, name, interval, signal);
      const fitting = fitInterval(buckets);
      if (fitting !== interval && buckets.length) {
        interval = fitting;
        buckets = await loadHistogram(this.#connection, search, name, interval, signal);
      }
      this.#chart.show(field, interval, buckets);
    } catch (error) {
      if (!isAbort(error)) this.#chart.note(`No chart: ${toApiError(error).message}`);
    }
  }

  /** The date that is sorted by; without one, the last update. */
  #chartedField(sort: readonly SortKey[]): Field | undefined {
    const names = [...sort.map((key) => key.field), DEFAULT_SORT.field];
    return names.flatMap((name) => this.#fields.filter((field) => field.name === name && isTemporal(field)))[0];
  }

  #fail(error: ApiError, retry: () => void): void {
    this.#asked = null;
    this.#found = null;
    this.#results.busy = false;
    this.#toolbar.tellCount();
    this.#chart.note();
    if (error.code === "UNAUTHENTICATED") void this.#signIn(retry);
    const failure = describeFailure(error, this.#remedies(retry));
    if (error.code === "DATASTORE_NOT_FOUND" && this.#datastores.length) {
      failure.querySelector("button")?.replaceWith(h("div", { class: "choices" }, this.#datastoreButtons()));
    }
    this.#results.clear(failure);
  }

  #remedies(retry: () => void): Remedies {
    return {
      retry,
      signIn: () => void this.#signIn(retry),
      withoutSort: () => this.search(setSort(this.#box.query, null)),
      chooseDatastore: () => void this.#prepare(),
      focusQuery: () => this.#box.focus(),
    };
  }

  /** Asks for a token, once however many requests were refused, and goes on with it. */
  async #signIn(retry: () => void): Promise<void> {
    const refused = this.#connection.token !== null;
    const token = await askForToken(
      refused
        ? "This token does not let you in. Check that it is whole, or ask whoever runs this service for another."
        : "This service wants a key or an access token. Whoever runs it can give you one.",
    );
    if (!token) return;
    this.#connection.token = token;
    this.#box.token = token;
    retry();
  }

  #group(view: View): void {
    if (view === this.#view) return;
    this.#view = view;
    this.#toolbar.view = view;
    void this.#run(this.#found?.search.query ?? this.#box.query);
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

  #chooseDates(field: Field, from: string, to: string): void {
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
    // Without suggestions one writes the value: what is wrong with the service is told when it is searched.
    return field.kind === "CODE" ? loadValues(this.#connection, field, this.#datastoreId).catch(() => []) : [];
  }

  #loadStudy(study: Study, after: string | null): Promise<Page<ImageSet> | null> {
    return loadStudyImageSets(this.#connection, this.#currentSearch(), study.id, after, this.#running.signal);
  }

  async #open(imageSet: ImageSet): Promise<void> {
    const signal = this.#drawer.open("Image set", () => {
      this.#results.mark(null);
      this.#results.focus(imageSet);
    });
    this.#results.mark(imageSet);
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
    const answered = { whole: this.#whole, report: this.#found?.report ?? null, shown: this.#found?.rows ?? 0 };
    await this.#fillDrawer(async () =>
      describeExplanation(await loadExplanation(this.#connection, search, signal), answered),
    );
  }

  async #fillDrawer(describe: () => Promise<readonly Child[]>): Promise<void> {
    try {
      this.#drawer.show(...(await describe()));
    } catch (error) {
      if (isAbort(error)) return;
      const again = () => void this.#fillDrawer(describe);
      this.#drawer.show(describeFailure(toApiError(error), this.#remedies(again)));
    }
  }

  #help(): void {
    this.#drawer.open("The search language", () => undefined);
    this.#drawer.show(...describeLanguage(this.#fields, (text) => this.search(text)));
  }

  /** The search that is shown, also while another is being typed. */
  #currentSearch(): Search {
    return this.#found?.search ?? { query: this.#box.query, datastoreId: this.#datastoreId, timeZone: ZONE };
  }

  #export(format: Format): void {
    const count = this.#found?.view === "imageSets" ? this.#found.count : null;
    void this.#exporter.run(this.#currentSearch(), format, this.#fields, count);
  }

  /** The search box completes and checks for the data store that is searched. */
  #showDatastores(): void {
    this.#header.showDatastores(this.#datastores, this.#datastoreId);
    if (this.#datastoreId === null) this.#box.removeAttribute("datastore");
    else if (this.#box.getAttribute("datastore") !== this.#datastoreId)
      this.#box.setAttribute("datastore", this.#datastoreId);
  }

  #datastoreButtons(): Node[] {
    return this.#datastores.map(({ datastoreId, name }) => {
      const choose = () => this.#chooseDatastore(datastoreId);
      return h("button", { type: "button", class: "quiet item", onclick: choose }, name);
    });
  }

  #chooseDatastore(datastoreId: string): void {
    this.#datastoreId = datastoreId;
    this.#showDatastores();
    void this.#run(this.#box.query);
  }
}

// The component's script is deferred, as this module is, and stands before it: the element is defined.
new Portal().start();

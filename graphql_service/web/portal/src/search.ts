// What the portal asks of the service for one search: pages, counts, studies, charts, one image set, everything.

import { ApiError, type Connection, ask, isAbort } from "./api.ts";
import { parseExactly, parseToShow } from "./exact-json.ts";
import type { Exported } from "./export-format.ts";
import { type Field, IMAGE_SET, type ImageSet } from "./fields.ts";

/** A search as it is asked: the text, its data store, the zone that its dates are read in. */
export interface Search {
  readonly query: string;
  readonly datastoreId: string | null;
  readonly timeZone: string;
}

export interface Report {
  readonly complete: boolean;
  readonly scanned: number;
  readonly requests: number;
}

export interface Page<Row> {
  readonly nodes: readonly Row[];
  readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor: string | null };
  readonly search: Report;
}

export interface Count {
  readonly value: number;
  readonly precision: "EXACT" | "AT_LEAST";
}

export interface Study {
  readonly id: string;
  readonly instanceUid: string;
  readonly patient: ImageSet["patient"];
  readonly accessionNumber: string | null;
  readonly description: string | null;
  readonly date: string | null;
  readonly time: string | null;
  readonly modalities: readonly string[];
  readonly imageSetCount: number;
}

const SIGNATURE = "$query: String, $datastoreId: ID, $timeZone: String";
const SAME = "query: $query, datastoreId: $datastoreId, timeZone: $timeZone";
const PAGE = "pageInfo { hasNextPage endCursor } search { complete scanned requests }";

const IMAGE_SETS = `query ImageSets(${SIGNATURE}, $after: String) {
  page: imageSets(${SAME}, after: $after) { nodes {${IMAGE_SET} } ${PAGE} }
}`;

export async function loadImageSets(to: Connection, search: Search, after: string | null, signal: AbortSignal) {
  return (await ask<{ page: Page<ImageSet> }>(to, IMAGE_SETS, { ...search, after }, signal)).page;
}

const STUDIES = `query Studies(${SIGNATURE}, $after: String) {
  page: studies(${SAME}, after: $after) {
    nodes {
      id instanceUid patient { patientId name birthDate sex } accessionNumber description date time modalities imageSetCount
    }
    ${PAGE}
  }
}`;

export async function loadStudies(to: Connection, search: Search, after: string | null, signal: AbortSignal) {
  return (await ask<{ page: Page<Study> }>(to, STUDIES, { ...search, after }, signal)).page;
}

const STUDY = `query Study($id: ID!, $query: String, $timeZone: String, $after: String) {
  node(id: $id) { ... on Study {
    page: imageSets(query: $query, timeZone: $timeZone, after: $after) { nodes {${IMAGE_SET} } ${PAGE} }
  } }
}`;

/** Those of a study's image sets that the search finds; null where the study is gone. */
export async function loadStudyImageSets(
  to: Connection,
  { query, timeZone }: Search,
  id: string,
  after: string | null,
  signal: AbortSignal,
): Promise<Page<ImageSet> | null> {
  type Answer = { node: { page: Page<ImageSet> } | null };
  return (await ask<Answer>(to, STUDY, { id, query, timeZone, after }, signal)).node?.page ?? null;
}

const counting = (what: string) => `query Count(${SIGNATURE}) {
  counted: ${what}(${SAME}, first: 1) { totalCount { value precision } }
}`;

export async function countRows(to: Connection, search: Search, what: View, signal: AbortSignal): Promise<Count> {
  const answer = await ask<{ counted: { totalCount: Count } }>(to, counting(what), { ...search }, signal);
  return answer.counted.totalCount;
}

/** How the results are shown: also the names of the fields that answer them. */
export type View = "imageSets" | "studies";

export type Interval = "DAY" | "MONTH" | "YEAR";

export interface Bucket {
  readonly from: string;
  readonly to: string;
  readonly count: number;
  readonly precision: Count["precision"];
}

const HISTOGRAM = `query Histogram(${SIGNATURE}, $field: HistogramField!, $interval: Interval!) {
  imageSetHistogram(${SAME}, field: $field, interval: $interval) { from to count precision }
}`;

export async function loadHistogram(
  to: Connection,
  search: Search,
  field: string,
  interval: Interval,
  signal: AbortSignal,
): Promise<readonly Bucket[]> {
  const variables = { ...search, field, interval };
  return (await ask<{ imageSetHistogram: readonly Bucket[] }>(to, HISTOGRAM, variables, signal)).imageSetHistogram;
}

export interface Detail extends ImageSet {
  readonly dicomTags: Readonly<Record<string, unknown>>;
  readonly versions: readonly {
    readonly version: number | null;
    readonly createdAt: string | null;
    readonly updatedAt: string | null;
    readonly state: string;
  }[];
}

const DETAIL = `query Detail($datastoreId: ID, $imageSetId: ID!) {
  imageSet(datastoreId: $datastoreId, imageSetId: $imageSetId) {
    ${IMAGE_SET} dicomTags versions { version createdAt updatedAt state }
  }
}`;

export async function loadDetail(to: Connection, it: ImageSet, signal: AbortSignal): Promise<Detail | null> {
  const { datastoreId, imageSetId } = it;
  const variables = { datastoreId, imageSetId };
  return (await ask<{ imageSet: Detail | null }>(to, DETAIL, variables, signal, parseToShow)).imageSet;
}

const METADATA = `query Metadata($datastoreId: ID, $imageSetId: ID!) {
  imageSet(datastoreId: $datastoreId, imageSetId: $imageSetId) { metadata }
}`;

export async function loadMetadata(to: Connection, it: ImageSet, signal: AbortSignal): Promise<unknown> {
  const { datastoreId, imageSetId } = it;
  type Answer = { imageSet: { metadata: unknown } | null };
  const answer = await ask<Answer>(to, METADATA, { datastoreId, imageSetId }, signal, parseToShow);
  return answer.imageSet?.metadata ?? null;
}

const EXPLANATION = `query Explanation(${SIGNATURE.replace("String", "String!")}) {
  searchAnalysis(${SAME}) { canonical meaning timeZone plan searchCriteria }
}`;

export interface Explanation {
  readonly canonical: string | null;
  readonly meaning: unknown;
  readonly timeZone: string;
  readonly plan: {
    readonly store: string;
    readonly refused?: string;
    readonly branches?: readonly string[];
    readonly residual?: string | null;
  } | null;
  readonly searchCriteria: readonly unknown[];
}

export async function loadExplanation(to: Connection, search: Search, signal: AbortSignal): Promise<Explanation> {
  return (await ask<{ searchAnalysis: Explanation }>(to, EXPLANATION, { ...search }, signal)).searchAnalysis;
}

export const SAMPLE_LANGUAGES = {
  CLI: "AWS CLI",
  PYTHON: "Python",
  JAVASCRIPT: "JavaScript",
  JAVA: "Java",
  CPP: "C++",
} as const;

const SAMPLE = `query Sample(${SIGNATURE.replace("String", "String!")}, $language: SampleLanguage!) {
  searchAnalysis(${SAME}) { sample(language: $language) plan }
}`;

/** The search as code, or why there is none. */
export async function loadSample(to: Connection, search: Search, language: string, signal: AbortSignal) {
  type Answer = { searchAnalysis: { sample: string | null; plan: Explanation["plan"] } };
  const { sample, plan } = (await ask<Answer>(to, SAMPLE, { ...search, language }, signal)).searchAnalysis;
  return { sample, refused: plan?.refused ?? "The search has problems." };
}

const VALUES = `query Values($query: String!, $position: Int!, $datastoreId: ID) {
  searchCompletions(query: $query, position: $position, datastoreId: $datastoreId) { label kind }
}`;

/** Values that a data store has of a field, where the service completes them. */
export async function loadValues(to: Connection, field: Field, datastoreId: string | null): Promise<readonly string[]> {
  const query = `${field.short} = `;
  type Answer = { searchCompletions: readonly { label: string; kind: string }[] };
  const { searchCompletions } = await ask<Answer>(to, VALUES, { query, position: query.length, datastoreId });
  return searchCompletions.filter(({ kind }) => kind === "VALUE").map(({ label }) => label);
}

export interface Datastore {
  readonly datastoreId: string;
  readonly name: string;
}

const DATASTORES = `query Datastores($after: String) {
  datastores(after: $after) { nodes { datastoreId name } pageInfo { hasNextPage endCursor } }
}`;

export async function loadDatastores(to: Connection): Promise<readonly Datastore[]> {
  const all: Datastore[] = [];
  for (let after: string | null = null; ;) {
    type Answer = { datastores: Omit<Page<Datastore>, "search"> };
    const { datastores }: Answer = await ask<Answer>(to, DATASTORES, { after });
    all.push(...datastores.nodes);
    if (!datastores.pageInfo.hasNextPage) return all;
    after = datastores.pageInfo.endCursor;
  }
}

const EXPORT = `query Export(${SIGNATURE}, $first: Int, $after: String) {
  page: imageSets(${SAME}, first: $first, after: $after) { nodes {${IMAGE_SET} dicomTags } ${PAGE} }
}`;

/** Codes of what passes by itself. */
export const PASSING: ReadonlySet<string> = new Set(["THROTTLED", "OVERLOADED"]);

/**
 * Every image set of a search, page by page. Where the service asks to wait, `wait` is called with the seconds, and the
 * same page is asked for again: nothing is left out and nothing comes twice.
 */
export async function* readAll(
  to: Connection,
  search: Search,
  signal: AbortSignal,
  wait: (seconds: number) => Promise<void>,
): AsyncGenerator<readonly Exported[]> {
  let first: number | null = 500;
  for (let after: string | null = null; ;) {
    let page: Page<Exported>;
    try {
      ({ page } = await ask<{ page: Page<Exported> }>(to, EXPORT, { ...search, first, after }, signal, parseExactly));
    } catch (error) {
      if (isAbort(error) || !(error instanceof ApiError)) throw error;
      // A service may allow smaller pages alone.
      if (error.code === "INVALID_ARGUMENT" && first !== null) first = null;
      else if (PASSING.has(error.code)) await wait(error.retryAfter ?? 2);
      else throw error;
      continue;
    }
    yield page.nodes;
    if (!page.pageInfo.hasNextPage) return;
    after = page.pageInfo.endCursor;
  }
}

// One image set whole: patient, study, series, versions, the stored tags as they are, and its metadata where asked for.

import { type Connection, isAbort } from "./api.ts";
import { showCell } from "./cells.ts";
import { copyButton } from "./copying.ts";
import { type Child, h, replace } from "./elements.ts";
import { writeWideInteger } from "./export-format.ts";
import { toApiError } from "./failure.ts";
import { type Field, type ImageSet, readValue } from "./fields.ts";
import { writeInstantExactly } from "./moments.ts";
import { writeValue } from "./query-text.ts";
import { type Detail, loadDetail, loadMetadata } from "./search.ts";

/** Characters of a metadata document that are shown; the whole can be saved. */
const SHOWN_METADATA = 100_000;

const GROUPS: readonly (readonly [string, readonly string[]])[] = [
  ["Patient", ["DICOMPatientId", "DICOMPatientName", "DICOMPatientBirthDate", "DICOMPatientSex"]],
  [
    "Study",
    [
      "DICOMStudyDateAndTime",
      "DICOMStudyDescription",
      "DICOMAccessionNumber",
      "DICOMStudyId",
      "DICOMStudyInstanceUID",
      "DICOMNumberOfStudyRelatedSeries",
      "DICOMNumberOfStudyRelatedInstances",
    ],
  ],
  ["Series", ["DICOMSeriesModality", "DICOMSeriesBodyPart", "DICOMSeriesNumber", "DICOMSeriesInstanceUID"]],
  ["Image set", ["imageSetId", "version", "updatedAt", "createdAt", "lastAccessedAt", "isPrimary", "storageTier"]],
];
/** Values that one looks for again. */
const SEARCHED = [
  "DICOMPatientId",
  "DICOMPatientName",
  "DICOMStudyInstanceUID",
  "DICOMSeriesInstanceUID",
  "DICOMAccessionNumber",
];

export interface DetailHost {
  readonly connection: Connection;
  readonly fields: readonly Field[];
  search(text: string): void;
}

/** What the panel shows of an image set. Raises ApiError, and what an abort raises. */
export async function describeImageSet(
  host: DetailHost,
  imageSet: ImageSet,
  signal: AbortSignal,
): Promise<readonly Child[]> {
  const detail = await loadDetail(host.connection, imageSet, signal);
  if (!detail) return [h("p", {}, "This image set is gone: search again.")];
  return [
    ...GROUPS.map(([title, names]) => section(title, facts(host, detail, names))),
    section("Versions", versions(detail)),
    section("Stored tags", tags(detail)),
    section("Metadata", metadata(host.connection, detail, signal)),
  ];
}

function section(title: string, ...content: Child[]): HTMLElement {
  return h("section", {}, h("h3", {}, title), ...content);
}

function facts(host: DetailHost, detail: Detail, names: readonly string[]): HTMLElement {
  const fields = names.flatMap((name) => host.fields.filter((field) => field.name === name));
  return h(
    "dl",
    {},
    fields.map((field) => [h("dt", {}, field.label), h("dd", {}, fact(host, detail, field))]),
  );
}

function fact(host: DetailHost, detail: Detail, field: Field): Child {
  const value = readValue(field, detail);
  const text = String(value ?? "");
  const shown = field.kind === "INSTANT" && value ? writeInstantExactly(text) : showCell(field, detail);
  if (field.kind === "INTEGER" && value === null) return writeWideInteger(detail.dicomTags[field.name]) || shown;
  if (!value) return shown;
  // A name is found by any of its groups.
  const sought = field.kind === "PERSON_NAME" ? (text.split("=").find(Boolean) ?? text) : text;
  const search = () => host.search(`${field.short} = ${writeValue(sought)}`);
  const copied = field.kind === "ID" || field.kind === "UID";
  return [
    h("span", { class: copied ? "value mono" : "value" }, shown),
    SEARCHED.includes(field.name) &&
      h(
        "button",
        { type: "button", class: "quiet", title: `Search all of this ${field.label.toLowerCase()}`, onclick: search },
        "Find all",
      ),
    copied && copyButton("Copy", () => text),
  ];
}

function versions(detail: Detail): HTMLElement {
  const row = ({ version, state, createdAt, updatedAt }: Detail["versions"][number]) =>
    h(
      "tr",
      {},
      h("td", {}, version ?? "–"),
      h("td", {}, state.toLowerCase()),
      h("td", {}, createdAt ? writeInstantExactly(createdAt) : "–"),
      h("td", {}, updatedAt ? writeInstantExactly(updatedAt) : "–"),
    );
  const head = ["Version", "State", "Created", "Updated"].map((name) => h("th", { scope: "col" }, name));
  return h(
    "div",
    { class: "scroll-x", tabindex: 0, role: "region", "aria-label": "Versions" },
    h("table", { class: "plain" }, h("thead", {}, h("tr", {}, head)), h("tbody", {}, detail.versions.map(row))),
  );
}

function tags(detail: Detail): HTMLElement {
  const names = Object.keys(detail.dicomTags).sort();
  if (!names.length) return h("p", { class: "hint" }, "The store keeps no tags of it.");
  const show = (value: unknown) => (typeof value === "string" ? value : JSON.stringify(value));
  const list = names.map((name) => [
    h("dt", {}, breakable(name)),
    h("dd", { class: "mono" }, show(detail.dicomTags[name])),
  ]);
  return h(
    "div",
    {},
    h("dl", { class: "tags" }, list),
    copyButton("Copy as JSON", () => JSON.stringify(detail.dicomTags, null, 2)),
  );
}

/** A keyword that breaks between its words where it must. */
function breakable(keyword: string): readonly Child[] {
  return keyword.split(/(?<=[a-z])(?=[A-Z])/).flatMap((word, index) => (index ? [h("wbr"), word] : [word]));
}

function metadata(connection: Connection, imageSet: ImageSet, signal: AbortSignal): HTMLElement {
  const element = h("div", {});
  const load = async (): Promise<void> => {
    replace(element, h("p", { class: "hint", role: "status" }, "Loading…"));
    try {
      const document = await loadMetadata(connection, imageSet, signal);
      if (document === null) return replace(element, h("p", { class: "hint" }, "This store keeps no metadata of it."));
      const text = JSON.stringify(document, null, 2);
      const cut = text.length > SHOWN_METADATA;
      return replace(
        element,
        h("pre", { tabindex: 0, "aria-label": "Metadata" }, text.slice(0, SHOWN_METADATA)),
        cut &&
          h(
            "p",
            { class: "hint" },
            `The first ${SHOWN_METADATA.toLocaleString("en")} characters of ${text.length.toLocaleString("en")}.`,
          ),
        copyButton("Copy all as JSON", () => text),
      );
    } catch (error) {
      if (isAbort(error)) return;
      replace(element, h("p", { role: "alert" }, toApiError(error).message), button("Try again"));
    }
  };
  const button = (label: string) => h("button", { type: "button", class: "quiet", onclick: () => void load() }, label);
  replace(element, button("Load the metadata"), h("p", { class: "hint" }, "It may have some megabytes."));
  return element;
}

// The fields of the query language as the portal shows them: what the service tells of each (`searchFields`), and where
// an image set has its value.

import { type Connection, ask } from "./api.ts";

export type Kind =
  | "ID"
  | "UID"
  | "PERSON_NAME"
  | "TEXT"
  | "CODE"
  | "SEX"
  | "TIER"
  | "BOOLEAN"
  | "INSTANT"
  | "WALL_CLOCK"
  | "DATE"
  | "INTEGER";

export interface Field {
  /** Its name in the HealthImaging API, as canonical queries have it. */
  readonly name: string;
  /** The name that is written into queries. */
  readonly short: string;
  /** Every way to write it, folded as `foldName` does. */
  readonly spellings: readonly string[];
  readonly label: string;
  readonly kind: Kind;
  readonly operators: readonly string[];
  readonly description: string;
  readonly served: boolean;
}

type Json = string | number | boolean | null | undefined;

export interface ImageSet {
  readonly id: string;
  readonly imageSetId: string;
  readonly datastoreId: string;
  readonly version: number | null;
  readonly createdAt: string | null;
  readonly updatedAt: string | null;
  readonly lastAccessedAt: string | null;
  readonly storageTier: string | null;
  readonly isPrimary: boolean | null;
  readonly patient: { readonly [name: string]: Json };
  readonly study: { readonly [name: string]: Json };
  readonly series: { readonly [name: string]: Json };
}

/** What GraphQL is asked of each image set that is shown. */
export const IMAGE_SET = `
  id imageSetId datastoreId version createdAt updatedAt lastAccessedAt storageTier isPrimary
  patient { patientId name birthDate sex }
  study { instanceUid studyId accessionNumber description date time seriesCount instanceCount }
  series { instanceUid number modality bodyPart }`;

interface Shown {
  readonly label: string;
  readonly read: (imageSet: ImageSet) => Json;
}

// Where no time is stored, there is none, though it sorts as midnight.
const studyMoment = ({ study }: ImageSet): Json =>
  study.date && study.time ? `${study.date}T${study.time}` : study.date;

/** By canonical name, in the order in which columns stand. A field that is not here has no column. */
const SHOWN: Readonly<Record<string, Shown>> = {
  DICOMPatientId: { label: "Patient ID", read: (it) => it.patient.patientId },
  DICOMPatientName: { label: "Patient name", read: (it) => it.patient.name },
  DICOMPatientBirthDate: { label: "Birth date", read: (it) => it.patient.birthDate },
  DICOMPatientSex: { label: "Sex", read: (it) => it.patient.sex },
  DICOMStudyDateAndTime: { label: "Study date", read: studyMoment },
  DICOMSeriesModality: { label: "Modality", read: (it) => it.series.modality },
  DICOMSeriesBodyPart: { label: "Body part", read: (it) => it.series.bodyPart },
  DICOMStudyDescription: { label: "Description", read: (it) => it.study.description },
  DICOMAccessionNumber: { label: "Accession", read: (it) => it.study.accessionNumber },
  DICOMStudyId: { label: "Study ID", read: (it) => it.study.studyId },
  DICOMStudyInstanceUID: { label: "Study UID", read: (it) => it.study.instanceUid },
  DICOMSeriesInstanceUID: { label: "Series UID", read: (it) => it.series.instanceUid },
  DICOMSeriesNumber: { label: "Series number", read: (it) => it.series.number },
  DICOMNumberOfStudyRelatedSeries: { label: "Series in study", read: (it) => it.study.seriesCount },
  DICOMNumberOfStudyRelatedInstances: { label: "Instances in study", read: (it) => it.study.instanceCount },
  updatedAt: { label: "Updated", read: (it) => it.updatedAt },
  createdAt: { label: "Created", read: (it) => it.createdAt },
  lastAccessedAt: { label: "Last accessed", read: (it) => it.lastAccessedAt },
  version: { label: "Version", read: (it) => it.version },
  isPrimary: { label: "Primary", read: (it) => it.isPrimary },
  storageTier: { label: "Storage tier", read: (it) => it.storageTier },
  imageSetId: { label: "Image set ID", read: (it) => it.imageSetId },
};

export const DEFAULT_COLUMNS: readonly string[] = [
  "DICOMPatientId",
  "DICOMPatientName",
  "DICOMStudyDateAndTime",
  "DICOMSeriesModality",
  "DICOMSeriesBodyPart",
  "DICOMStudyDescription",
  "updatedAt",
];

export function readValue(field: Field, imageSet: ImageSet): Json {
  return SHOWN[field.name]?.read(imageSet);
}

/** How the language compares names: without case and underscores. */
export function foldName(name: string): string {
  return name.replaceAll("_", "").toLowerCase();
}

export function isTemporal(field: Field): boolean {
  return field.kind === "INSTANT" || field.kind === "WALL_CLOCK" || field.kind === "DATE";
}

interface Told {
  readonly name: string;
  readonly aliases: readonly string[];
  readonly type: Kind;
  readonly operators: readonly string[];
  readonly servedBy: "STORE" | "SERVICE";
  readonly description: string;
}

const FIELDS = "{ searchFields { name aliases type operators servedBy description } }";

/** The fields of the language, in its own order. Raises ApiError. */
export async function loadFields(to: Connection): Promise<readonly Field[]> {
  const { searchFields } = await ask<{ searchFields: readonly Told[] }>(to, FIELDS, {});
  return searchFields.map(({ name, aliases, type: kind, operators, servedBy, description }) => {
    const spellings = [name, ...aliases].map(foldName);
    const label = SHOWN[name]?.label ?? name;
    return {
      name,
      short: aliases[0] ?? name,
      spellings,
      label,
      kind,
      operators,
      description,
      served: servedBy === "STORE",
    };
  });
}

const ORDER = Object.keys(SHOWN);

/** The fields that have a column, in the order in which columns and menus have them. */
export function inColumnOrder(fields: readonly Field[]): readonly Field[] {
  return ORDER.flatMap((name) => fields.filter((field) => field.name === name));
}

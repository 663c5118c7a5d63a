// Image sets as CSV and NDJSON, byte for byte as `imagesets search --format csv` and `ndjson` write them.

import { rawNumber } from "./exact-json.ts";
import { type Field, type ImageSet, readValue } from "./fields.ts";

export interface Exported extends ImageSet {
  readonly dicomTags: Readonly<Record<string, unknown>>;
}

/** One summary, as SearchImageSets answers it and `imagesets load` reads it; what is missing has no key. */
export function writeNdjsonLine(imageSet: Exported): string {
  const summary = {
    imageSetId: imageSet.imageSetId,
    version: imageSet.version ?? undefined,
    createdAt: imageSet.createdAt ?? undefined,
    updatedAt: imageSet.updatedAt ?? undefined,
    lastAccessedAt: imageSet.lastAccessedAt ?? undefined,
    storageTier: imageSet.storageTier ?? undefined,
    isPrimary: imageSet.isPrimary ?? undefined,
    DICOMTags: imageSet.dicomTags,
  };
  return `${JSON.stringify(summary)}\n`;
}

export function writeCsvHeader(fields: readonly Field[]): string {
  return `${fields.map((field) => field.name).join(",")}\n`;
}

export function writeCsvLine(fields: readonly Field[], imageSet: Exported): string {
  return `${fields.map((field) => quote(cell(field, imageSet))).join(",")}\n`;
}

function quote(text: string): string {
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

const TEXTS = new Set(["ID", "UID", "PERSON_NAME", "TEXT", "CODE", "SEX"]);
/** What a spreadsheet takes as the start of a formula, its full-width forms too. */
const FORMULA = /^[=+\-@＝＋－＠]/;

function cell(field: Field, imageSet: Exported): string {
  const value = readValue(field, imageSet);
  const stored = imageSet.dicomTags[field.name];
  if (field.kind === "INTEGER") return rawNumber(value) ?? writeWideInteger(stored);
  if (value === null || value === undefined) {
    // A stored text with a NUL is no value of the language, and yet is there.
    return TEXTS.has(field.kind) && typeof stored === "string" ? writeText(stored) : "";
  }
  switch (field.kind) {
    case "INSTANT":
    case "WALL_CLOCK":
      return writeMoment(String(value));
    case "DATE":
    case "BOOLEAN":
      return String(value);
    default:
      return writeText(String(value));
  }
}

/** GraphQL's integers have 32 bits, the language's 64: what lies between is left to the stored tags. */
export function writeWideInteger(stored: unknown): string {
  const digits = rawNumber(stored);
  if (digits === null || !/^-?\d+$/.test(digits)) return "";
  return BigInt.asIntN(64, BigInt(digits)) === BigInt(digits) ? digits : "";
}

/** A fraction has six digits, or there is none. */
function writeMoment(moment: string): string {
  return moment.replace(/\.(\d+)/, (_, digits: string) => {
    const fraction = digits.padEnd(6, "0");
    return fraction === "000000" ? "" : `.${fraction}`;
  });
}

function writeText(text: string): string {
  const shown = escapeControls(text);
  return FORMULA.test(shown) ? `'${shown}` : shown;
}

const NAMED: Readonly<Record<string, string>> = { "\t": "\\t", "\n": "\\n", "\r": "\\r" };

/** All but characters and spaces as Python's escapes, so that no stored value steers a terminal or a spreadsheet. */
function escapeControls(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0;
    const hex = code.toString(16);
    if (NAMED[character]) return NAMED[character];
    if (code < 0x100) return `\\x${hex.padStart(2, "0")}`;
    return code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
  });
}

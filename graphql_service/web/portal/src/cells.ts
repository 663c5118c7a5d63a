// A field's value as a table cell or a line of the detail panel shows it.

import { type Child, h } from "./elements.ts";
import { type Field, type ImageSet, readValue } from "./fields.ts";
import { writeInstant, writeInstantExactly, writeWallClock } from "./moments.ts";

const TIERS: Readonly<Record<string, string>> = { FREQUENT_ACCESS: "frequent", ARCHIVE_INSTANT_ACCESS: "archive" };

/** What a table shows; times are cut to minutes, their whole is in the title. */
export function showCell(field: Field, imageSet: ImageSet): Child {
  const value = readValue(field, imageSet);
  if (value === null || value === undefined || value === "")
    return h("span", { class: "none", "aria-label": "missing" }, "–");
  const text = String(value);
  switch (field.kind) {
    case "INSTANT":
      return h("time", { datetime: text, title: writeInstantExactly(text) }, writeInstant(text));
    case "WALL_CLOCK":
      return h(
        "time",
        { datetime: text, title: `${text.replace("T", " ")}, on the scanner's clock` },
        text.includes("T") ? writeWallClock(text) : text,
      );
    case "PERSON_NAME":
      return showName(text);
    case "BOOLEAN":
      return value ? "yes" : "no";
    case "TIER":
      return TIERS[text] ?? text;
    case "CODE":
      return h("span", { class: "code" }, text);
    default:
      return text;
  }
}

/** `García^Ana` reads as García, Ana; the first group of components stands for all. */
export function showName(name: string): string {
  const [family = "", given = "", middle = "", prefix = "", suffix = ""] = (name.split("=")[0] ?? "").split("^");
  const first = [prefix, given, middle].filter(Boolean).join(" ");
  return [[family, suffix].filter(Boolean).join(" "), first].filter(Boolean).join(", ") || name;
}

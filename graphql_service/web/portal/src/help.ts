// The search language in brief: examples to try, and the service's own table of fields.

import { type Child, h } from "./elements.ts";
import { type Field, inColumnOrder } from "./fields.ts";

const EXAMPLES: readonly (readonly [string, string])[] = [
  ["patient = SUBJECT08701", "one patient, by ID"],
  ["name = garcia", "a name, without case and accents"],
  ['name like "mar*" and sex = F', "a pattern: * any text, ? one character"],
  ["modality in (CT, MR) and bodyPart = chest", "one of a list"],
  ['description like "*contrast*"', "words in the description"],
  ["updated >= today-7d", "the last 7 days; or today, yesterday, now-2h"],
  ["studied between 2019-03..2020", "from March 2019 to the end of 2020"],
  ["accession is null and modality != US", "what is missing, what is not"],
  ["birthDate < 1930 sort name, studied desc", "in an order of your own"],
];

export function describeLanguage(fields: readonly Field[], search: (text: string) => void): readonly Child[] {
  return [
    h(
      "section",
      {},
      h("h3", {}, "Examples"),
      h(
        "ul",
        { class: "examples" },
        EXAMPLES.map(([text, meaning]) =>
          h(
            "li",
            {},
            h("button", { type: "button", class: "quiet", onclick: () => search(text) }, h("code", {}, text)),
            h("span", { class: "hint" }, meaning),
          ),
        ),
      ),
    ),
    h(
      "section",
      {},
      h("h3", {}, "Rules"),
      h(
        "ul",
        {},
        h("li", {}, "Join conditions with and, or, not and parentheses; “and” binds tighter."),
        h("li", {}, "Put values with spaces or signs in quotes."),
        h("li", {}, "A date is the whole of what it says: 2024 a year, 2024-03 a month, 2024-03-11 a day."),
        h("li", {}, "!= and not find exactly what the plain condition does not, missing values too."),
        h("li", {}, "Enter searches, Shift-Enter begins a line, Ctrl-Space completes, ↑ recalls."),
      ),
    ),
    h(
      "section",
      {},
      h("h3", {}, "Fields"),
      h(
        "dl",
        { class: "tags" },
        inColumnOrder(fields).map((field) => [
          h("dt", {}, h("code", {}, field.short)),
          h(
            "dd",
            {},
            `${field.label}: ${field.operators.map((word) => (word === "is" ? "is null" : word)).join("  ")}`,
          ),
        ]),
      ),
    ),
  ];
}

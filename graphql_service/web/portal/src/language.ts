// Colours of the query language. The service alone knows what a query means; this knows only what its words look like.

import { HighlightStyle, StreamLanguage, type StringStream, syntaxHighlighting } from "@codemirror/language";
import type { Extension } from "@codemirror/state";
import { tags } from "@lezer/highlight";

/** What the next word is: `field` where a condition or a sort key may begin, else `value`. */
interface Place {
  next: "field" | "value";
  sorting: boolean;
}

const JOINING = /^(?:and|or|not)$/i;
const COMPARING = /^(?:in|like|between|is|null)$/i;
const DIRECTION = /^(?:asc|desc|by)$/i;
/** The end of a bare word: what it may not hold, or the `..` of a range. */
const WORD = /^(?:\.(?!\.)|[^\s()[\]{},"=<>!\\;|&.])+/u;

function token(stream: StringStream, place: Place): string | null {
  if (stream.eatSpace()) return null;
  const opening = stream.peek();
  if (opening === '"' || opening === "'") {
    stream.next();
    for (let character = stream.next(); character && character !== opening; character = stream.next()) {
      if (character === "\\") stream.next();
    }
    place.next = "value";
    return "string";
  }
  if (stream.match("..")) return "operator";
  if (stream.match(/^[=!<>]+/)) {
    place.next = "value";
    return "operator";
  }
  if (stream.match("(")) return "paren";
  if (stream.match(/^[)[\]{}]/)) return "paren";
  if (stream.match(",")) {
    if (place.sorting) place.next = "field";
    return "separator";
  }
  const word = stream.match(WORD);
  if (!word || typeof word === "boolean") {
    stream.next();
    return "invalid";
  }
  return classify(word[0], place);
}

function classify(word: string, place: Place): string {
  if (/^sort$/i.test(word)) {
    Object.assign(place, { next: "field", sorting: true });
    return "keyword";
  }
  if (JOINING.test(word)) {
    place.next = "field";
    return "keyword";
  }
  if (COMPARING.test(word) || (place.sorting && DIRECTION.test(word))) return "keyword";
  if (word.startsWith("$")) return "variableName";
  if (place.next === "field") {
    place.next = "value";
    return "propertyName";
  }
  return /^[-+\d]/.test(word) || /^(?:today|yesterday|tomorrow|now)(?:[-+]|$)/i.test(word) ? "number" : "atom";
}

const language = StreamLanguage.define<Place>({
  name: "imagesets",
  startState: () => ({ next: "field", sorting: false }),
  copyState: (place) => ({ ...place }),
  token,
  languageData: { wordChars: "^-+:./$" },
});

const style = HighlightStyle.define([
  { tag: tags.keyword, color: "var(--keyword)", fontWeight: "600" },
  { tag: tags.propertyName, color: "var(--field)" },
  { tag: tags.operator, color: "var(--operator)" },
  { tag: [tags.string, tags.atom], color: "var(--value)" },
  { tag: tags.number, color: "var(--number)" },
  { tag: tags.variableName, color: "var(--variable)" },
  { tag: [tags.paren, tags.separator], color: "var(--operator)" },
]);

/** The language and its colours, which are custom properties of the element around. */
export function queryLanguage(): Extension {
  return [language, syntaxHighlighting(style)];
}

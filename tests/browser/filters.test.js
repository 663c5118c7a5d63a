// The filter builder and the query text: whatever the language accepts, what the builder reads is what the service
// means, and what it writes changes that and nothing else. Needs no browser.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { ask } from "./browser.js";

const PORTAL = new URL("../../graphql_service/web/portal/", import.meta.url);
const { build } = await import(new URL("node_modules/esbuild/lib/main.js", PORTAL));

/** The portal's own modules, as node can import them. */
async function load(name) {
  const entry = new URL(`src/${name}`, PORTAL).pathname;
  const { outputFiles } = await build({ entryPoints: [entry], bundle: true, write: false, format: "esm" });
  return import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].contents).toString("base64")}`);
}

const text = await load("query-text.ts");
const { readConditions, writeFilter } = await load("filter.ts");
const { splitList, writeList } = await load("filter-editor.ts");
const { searchFields } = await ask("{ searchFields { name aliases type operators description } }");
const FIELDS = searchFields.map(({ name, aliases, type, operators, description }) => ({
  name,
  short: aliases[0] ?? name,
  spellings: [name, ...aliases].map((each) => each.replaceAll("_", "").toLowerCase()),
  label: name,
  kind: type,
  operators,
  description,
  served: true,
}));

/** The analyses of texts, their relative dates all counted from one instant. */
async function analyse(texts) {
  const found = [];
  for (let start = 0; start < texts.length; start += 15) {
    const some = texts.slice(start, start + 15);
    const names = some.map((_, index) => `$q${index}: String!`).join(", ");
    const fields = some.map(
      (_, index) =>
        `a${index}: searchAnalysis(query: $q${index}, now: "2024-03-15T12:00:00Z") { canonical meaning problems { message } }`,
    );
    const variables = Object.fromEntries(some.map((each, index) => [`q${index}`, each]));
    const data = await ask(`query (${names}) { ${fields.join(" ")} }`, variables);
    found.push(...some.map((_, index) => data[`a${index}`]));
  }
  return found;
}

/** The queries of the language's own table of cases, but those that need variables. */
async function readCases() {
  const table = await readFile(new URL("../cases/accepted.txt", import.meta.url), "utf8");
  return table.split("\n\n").flatMap((block) => {
    const written = /^query: ?(.*)$/m.exec(block)?.[1];
    if (written === undefined || written.includes("$")) return [];
    return [written.startsWith('"') ? JSON.parse(written) : written];
  });
}

const QUERIES = await readCases();
const ANALYSES = await analyse(QUERIES);

/** The conditions that "and" joins at the top of a meaning. */
const conjuncts = ({ where }) => (where.all ? [] : (where.and ?? [where]));

function* each() {
  for (const [index, query] of QUERIES.entries()) {
    const { canonical, meaning } = ANALYSES[index];
    if (canonical !== null) yield { query, canonical, meaning, read: readConditions(query, canonical, FIELDS) };
  }
}

test("a list is read as it is written", () => {
  const values = ["a", "a,b", "a b", "a;b", 'say "x"', '"', "back\\slash", " x ", "", "O'Brien", "é", "a\\"];
  assert.deepEqual(splitList(writeList(values)), values);
  assert.deepEqual(splitList(' a\tb;c, "d e" \n'), ["a", "b", "c", "d e"]);
});

test("the table has queries enough", () => assert.ok([...each()].length > 150));

test("each condition that is read is one that the service means, in its place", async () => {
  let filters = 0;
  for (const { query, meaning, read } of each()) {
    const means = await analyse(read.conditions.map((condition) => condition.text));
    assert.deepEqual(
      means.flatMap((one) => conjuncts(one.meaning)),
      conjuncts(meaning),
      query,
    );
    filters += read.conditions.filter(({ filter }) => filter !== null).length;
  }
  assert.ok(filters > 150);
});

test("a filter is written as what it was read from", async () => {
  for (const { query, read } of each()) {
    const written = read.conditions.filter(({ filter }) => filter !== null);
    const [before, after] = await Promise.all([
      analyse(written.map((condition) => condition.text)),
      analyse(written.map(({ filter }) => writeFilter(filter))),
    ]);
    assert.deepEqual(
      after.map((one) => one.meaning),
      before.map((one) => one.meaning),
      query,
    );
  }
});

test("to add, to replace and to remove a condition, and to sort, changes that alone", async () => {
  const added = { field: "DICOMPatientId", op: "eq", value: "NEW" };
  for (const { query, meaning, read } of each()) {
    const { text: base, conditions } = read;
    const [without, first] = [
      conditions.map((_, index) => text.removeCondition(base, index)),
      text.replaceCondition(base, 0, "patient = NEW"),
    ];
    const edited = await analyse([
      text.addCondition(base, "patient = NEW"),
      text.setSort(base, "name desc"),
      text.setSort(base, null),
      ...(conditions.length ? [first] : []),
      ...without,
    ]);
    assert.deepEqual(
      edited.flatMap((one) => one.problems),
      [],
      query,
    );
    const [more, sorted, unsorted, ...rest] = edited.map((one) => one.meaning);
    assert.deepEqual(conjuncts(more), [...conjuncts(meaning), added], query);
    assert.deepEqual(more.sort, meaning.sort, query);
    assert.deepEqual([sorted.where, unsorted.where], [meaning.where, meaning.where], query);
    assert.deepEqual([sorted.sort, unsorted.sort], [[{ field: "DICOMPatientName", dir: "desc" }], []], query);
    if (!conditions.length) continue;
    const [replaced, ...fewer] = rest;
    const parts = (await analyse(conditions.map((condition) => condition.text))).map((one) => conjuncts(one.meaning));
    assert.deepEqual(conjuncts(replaced), [added, ...parts.slice(1).flat()], query);
    for (const [index, one] of fewer.entries()) {
      assert.deepEqual(conjuncts(one), parts.filter((_, other) => other !== index).flat(), query);
      assert.deepEqual(one.sort, meaning.sort, query);
    }
  }
});

test("what is typed stays as it is typed, but for the part that is edited", () => {
  const typed =
    "MRN =  A17 and\n (modality = CT or modality = MR) AND studied between 2019 and 2020   SORT studied DESC";
  const canonical =
    "DICOMPatientId = A17 and (DICOMSeriesModality = CT or DICOMSeriesModality = MR) and" +
    " DICOMStudyDateAndTime between 2019..2020 sort DICOMStudyDateAndTime desc";
  const read = readConditions(typed, canonical, FIELDS);
  assert.equal(read.text, typed);
  assert.deepEqual(
    read.conditions.map(({ text, filter }) => [text, filter?.operator ?? null, filter?.values ?? null]),
    [
      ["MRN =  A17", "=", ["A17"]],
      ["(modality = CT or modality = MR)", null, null],
      ["studied between 2019 and 2020", "between", ["2019", "2020"]],
    ],
  );
  assert.equal(
    text.replaceCondition(typed, 2, "studied >= 2021"),
    "MRN =  A17 and\n (modality = CT or modality = MR) AND studied >= 2021   SORT studied DESC",
  );
  assert.equal(text.removeCondition(typed, 1), "MRN =  A17 and\n studied between 2019 and 2020   SORT studied DESC");
});

test("any text is a value: what a person writes is found as it is", async () => {
  const values = [
    "or",
    "a b",
    'say "x"',
    "back\\slash",
    "1..2",
    "O'Brien",
    "'",
    "*",
    "a*b?",
    "$x",
    "(x)",
    "García",
    "=",
    "null",
    " - ",
  ];
  const patient = FIELDS.find((field) => field.name === "DICOMPatientId");
  const texts = values.map((value) => writeFilter({ field: patient, operator: "=", values: [value] }));
  const found = await analyse(texts);
  assert.deepEqual(
    found.map((one) => one.meaning?.where.value),
    values,
  );
  const list = await analyse([writeFilter({ field: patient, operator: "in", values })]);
  assert.deepEqual(list[0].meaning.where.values, values);
});

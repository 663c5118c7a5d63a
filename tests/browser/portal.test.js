// The search portal, as a person uses it.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, test } from "node:test";
import { ADDRESS, ask, close, findBarriers, query, type, withPage } from "./browser.js";

after(close);

const { CSV, NDJSON, CROWDED, GUARDED, HEALTHIMAGING, KEY, MOUNTED } = process.env;

const open = (use, { hash = "", address = ADDRESS, ...options } = {}) =>
  withPage(
    `${address}/${hash}`,
    async (page) => {
      await settled(page);
      await use(page);
      await settled(page);
      // Nothing of a search or of a patient stays behind, or stands where others see it.
      assert.equal(await page.title(), "imagesets");
      const kept = await page.evaluate(() => [Object.keys(localStorage), Object.keys(sessionStorage), document.cookie]);
      assert.deepEqual(
        [kept[0].filter((key) => !/^imagesets\.(columns|theme)$/.test(key)), ...kept.slice(1)],
        [[], [], ""],
      );
    },
    options,
  );

const settled = (page) => page.locator('.results-pane[aria-busy="false"]').waitFor({ timeout: 30_000 });
const rows = (page) => page.locator(".results-pane > .results > tbody > tr");
const firstRow = (page) => rows(page).first().locator("td").allInnerTexts();
const counted = (page, text) => page.locator(".counted", { hasText: text }).waitFor();
/** Waits until the chips say so. */
async function chipsAre(page, expected) {
  const read = async () => (await page.locator("span.chip").allInnerTexts()).map((text) => text.replace(/\s*×$/, ""));
  for (let left = 50; left && (await read()).join() !== expected.join(); left -= 1) await page.waitForTimeout(50);
  assert.deepEqual(await read(), expected);
}
const state = (page, code) => page.locator(`.state[data-code="${code}"]`);
const press = (page, name) => page.getByRole("button", { name, exact: true }).click();

/** Waits until a text stands in the search box and has been searched. */
async function becomes(page, text) {
  const standing = (text) => document.querySelector("imageset-search").query === text;
  await page.waitForFunction(standing, text).catch(async () => assert.equal(await query(page), text));
  await settled(page);
}

async function search(page, text) {
  await type(page, text);
  await page.keyboard.press("Escape");
  await page.keyboard.press("Enter");
  await page.waitForFunction((text) => new URLSearchParams(location.hash.slice(1)).get("q") === text, text);
  await settled(page);
}

test("a typo, its fix, a search, the next page, an order, a row, and the same from the address", () =>
  open(async (page) => {
    await counted(page, "1–50 of 2,001 image sets");
    await type(page, "modalty = CT");
    await page.locator("imageset-search .cm-lintRange-error").waitFor();
    await page.locator("imageset-search .said .fix").click();
    await page.keyboard.press("Enter");
    const total = (await ask('{ imageSets(query: "modality = CT") { totalCount { value } } }')).imageSets.totalCount
      .value;
    await counted(page, `1–50 of ${total} image sets`);
    await press(page, "Load more");
    await counted(page, `1–100 of ${total}`);
    assert.equal(await rows(page).count(), 100);
    await page.getByRole("columnheader", { name: "Patient name" }).getByRole("button").click();
    await page.locator('th[aria-sort="ascending"]', { hasText: "Patient name" }).waitFor();
    assert.equal(await query(page), "modality = CT sort name asc");
    await page.getByRole("columnheader", { name: "Patient name" }).getByRole("button").click();
    await page.locator('th[aria-sort="descending"]', { hasText: "Patient name" }).waitFor();
    assert.equal(await query(page), "modality = CT sort name desc");
    await settled(page);
    const { nodes } = (
      await ask('{ imageSets(query: "modality = CT sort name desc") { nodes { imageSetId patient { patientId } } } }')
    ).imageSets;
    assert.equal((await firstRow(page))[0], nodes[0].patient.patientId);
    await rows(page).nth(2).locator("td").nth(4).click();
    await page.locator(".drawer").getByText(nodes[2].imageSetId).waitFor();
    await page.locator(".drawer").getByText("DICOMStudyInstanceUID").waitFor();
    await press(page, "Load the metadata");
    await page.getByText("This store keeps no metadata of it.").waitFor();
    await page.keyboard.press("Escape");
    await page.locator(".drawer").waitFor({ state: "hidden" });
    const shown = await firstRow(page);
    await page.reload();
    await becomes(page, "modality = CT sort name desc");
    assert.deepEqual(await firstRow(page), shown);
    await page.goBack();
    await page.goBack();
    await page.waitForFunction(() => document.querySelector("imageset-search").query === "modality = CT");
  }));

test("rows of one search never stand among those of another, however late they come", () =>
  open(async (page) => {
    await search(page, "modality = CT sort id");
    let held;
    await page.route("**/graphql", async (route) => {
      const { query, variables } = route.request().postDataJSON();
      if (!query.startsWith("query ImageSets")) return route.continue();
      // The next page of the first search is let go when the second search has been answered.
      if (variables.after) held = route;
      else return route.continue();
    });
    await press(page, "Load more");
    await page.getByText("Loading more…").waitFor();
    await search(page, "modality = MR sort id");
    await held?.continue().catch(() => undefined);
    await page.waitForTimeout(300);
    assert.equal(await rows(page).count(), 50);
    assert.deepEqual(
      [...new Set(await page.locator(".results-pane > .results .code").allInnerTexts())].includes("CT"),
      false,
    );
    await page.unroute("**/graphql");
    // While a search runs there is nothing to load more of.
    let answer;
    const answered = new Promise((resolve) => (answer = resolve));
    await page.route("**/graphql", async (route) => {
      if (route.request().postDataJSON().query.startsWith("query ImageSets")) await answered;
      await route.continue();
    });
    await type(page, "modality = US sort id");
    await page.keyboard.press("Escape");
    await page.keyboard.press("Enter");
    await page.locator('.results-pane[aria-busy="true"]').waitFor();
    assert.equal(await page.getByRole("button", { name: "Load more" }).count(), 0);
    answer();
  }));

test("who goes back while a search runs sees what the address says", () =>
  open(async (page) => {
    await search(page, "modality = CT");
    const shown = await firstRow(page);
    let answer;
    const answered = new Promise((resolve) => (answer = resolve));
    await page.route("**/graphql", async (route) => {
      const { query, variables } = route.request().postDataJSON();
      if (query.startsWith("query ImageSets") && variables.query === "modality = MR") await answered;
      await route.continue().catch(() => undefined);
    });
    await type(page, "modality = MR");
    await page.keyboard.press("Escape");
    await page.keyboard.press("Enter");
    await page.locator('.results-pane[aria-busy="true"]').waitFor();
    await page.goBack();
    await becomes(page, "modality = CT");
    answer();
    await page.waitForTimeout(300);
    await settled(page);
    assert.deepEqual(await firstRow(page), shown);
    await page.unroute("**/graphql");
  }));

test("filters write into no text but the one that they were read from", () =>
  open(async (page) => {
    await search(page, "modality = CT and sex = F");
    // A form that stands open when the text changes under it is closed.
    await search(page, "modality = MR");
    await press(page, "Modality is MR");
    await page.evaluate(() => history.back());
    await page.locator(".filter-editor").waitFor({ state: "detached" });
    await becomes(page, "modality = CT and sex = F");
    await chipsAre(page, ["Modality is CT", "Sex is F"]);
    let look;
    const looked = new Promise((resolve) => (look = resolve));
    await page.route("**/graphql", async (route) => {
      if (route.request().postDataJSON().query.includes("notices {")) await looked;
      await route.continue().catch(() => undefined);
    });
    await type(page, "patient = SUBJECT08701 and modality = MR");
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Remove: sex = F" }).click();
    assert.equal(await query(page), "patient = SUBJECT08701 and modality = MR");
    look();
    await chipsAre(page, ["Patient ID is SUBJECT08701", "Modality is MR"]);
    await page.unroute("**/graphql");
  }));

test("another operator keeps what is written, and what the form cannot count stands as it is written", () =>
  open(async (page) => {
    await search(page, "patient = A17");
    await press(page, "Patient ID is A17");
    await page.getByLabel("Value").fill("B 18");
    await page.getByLabel("Operator").selectOption("in");
    assert.equal(await page.getByLabel("Value").inputValue(), '"B 18"');
    await page.getByLabel("Operator").selectOption("=");
    await press(page, "Apply");
    await becomes(page, 'patient = "B 18"');
    for (const text of ["updated between today-0d..today", "updated between today-20000d..today"]) {
      await search(page, text);
      await page.locator(".chip .open").click();
      await press(page, "Apply");
      await page.locator(".filter-editor").waitFor({ state: "detached" });
      await becomes(page, text);
    }
  }));

test("a filter that is opened and applied as it stands changes nothing", () =>
  open(async (page) => {
    const texts = [
      'description in ("CT chest without contrast", "MR brain")',
      'patient in ("a,b", "say \\"x\\"", "back\\\\slash", c, "x y")',
      'patient = " x "',
      "seriesNumber between 2..5",
      "updated between 2024-03-11..2024-03-12",
      "accession is null",
      'name like "o\'b*"',
    ];
    for (const text of texts) {
      await search(page, text);
      const meaning = async () =>
        (await ask("query ($q: String!) { searchAnalysis(query: $q) { meaning } }", { q: await query(page) }))
          .searchAnalysis.meaning;
      const before = await meaning();
      await page.locator(".chip .open").click();
      await press(page, "Apply");
      await page.locator(".filter-editor").waitFor({ state: "detached" });
      await settled(page);
      assert.deepEqual(await meaning(), before, text);
    }
    await search(page, 'patient in ("a,b", c)');
    await page.locator(".chip .open").click();
    await page.getByLabel("Value").fill('"a,b", c d');
    await press(page, "Apply");
    await becomes(page, 'patient in ("a,b", c, d)');
  }));

test("a click on a header leaves alone what is typed and has a problem", () =>
  open(async (page) => {
    await search(page, "modality = CT");
    const typed = "modality = CT and patient = SUBJECT08701 and nmae = x";
    await type(page, typed);
    await page.keyboard.press("Escape");
    await page.getByRole("columnheader", { name: "Patient name" }).getByRole("button").click();
    await page.locator("imageset-search .cm-lintRange-error").waitFor();
    assert.equal(await query(page), typed);
    // Typed a moment ago, and not looked at yet: it is what is sorted.
    await type(page, "modality = MR");
    await page.keyboard.press("Escape");
    await page.locator(".toolbar").waitFor();
    await page
      .getByRole("columnheader", { name: "Patient ID" })
      .getByRole("button")
      .click({ timeout: 5_000 })
      .catch(() => undefined);
    await settled(page);
    assert.match(await query(page), /^modality = MR/);
  }));

test("numbers beyond those of JavaScript are shown as they are stored", () =>
  open(async (page) => {
    await search(page, "patient = SUBJECT08701 and updated < 2023");
    await page.route("**/graphql", async (route) => {
      const answer = await route.fetch();
      const large = '"DICOMLarge":9007199254740993,"DICOMSeriesNumber":9007199254740995,';
      const body = (await answer.text()).replace('"dicomTags":{', `"dicomTags":{${large}`);
      await route.fulfill({ response: answer, body });
    });
    await page.locator(".row-button").click();
    await page.locator(".drawer .tags").getByText("9007199254740993").waitFor();
    // GraphQL's own integers have no room for it: what is stored has.
    await page.locator(".drawer dl:not(.tags)").getByText("9007199254740995").waitFor();
    await settled(page);
    await page.unrouteAll({ behavior: "wait" });
  }));

test("image sets that belong to no study are spoken of where studies are shown", () =>
  open(
    async (page) => {
      await page.route("**/graphql", async (route) => {
        const { query, variables } = route.request().postDataJSON();
        if (!query.startsWith("query Count") || !/study is null/.test(variables.query)) return route.continue();
        const counted = { totalCount: { value: 2, precision: "EXACT" } };
        await route.fulfill({ json: { data: { counted } } });
      });
      await search(page, "patient = SUBJECT08701");
      await counted(page, "2 more image sets belong to no study");
      await page.unroute("**/graphql");
      await search(page, "patient = NOBODY");
      await state(page, "EMPTY").getByText("belong to no study").waitFor();
      await press(page, "Show image sets");
      await state(page, "EMPTY").getByText("No image set meets every condition").waitFor();
    },
    { hash: "#view=studies" },
  ));

test("everything of a name is found from a row of it", () =>
  open(async (page) => {
    await search(page, "patient = SUBJECT08701");
    await page.locator(".row-button").first().click();
    await page.getByTitle("Search all of this patient name").click();
    await becomes(page, 'name = "Melissa844 Huel628"');
    await firstRow(page);
  }));

test("times are on the viewer's clock, and the zone is said", () =>
  open(
    async (page) => {
      assert.equal((await firstRow(page)).at(-1), "2022-12-06 16:40");
      assert.match(await page.locator(".zone").innerText(), /^America\/New_York \(UTC-0[45]:00\)$/);
      await page.locator(".row-button").click();
      await page.locator(".drawer").getByText("2022-12-06 16:40:59 UTC-05:00").first().waitFor();
    },
    { hash: `#q=${encodeURIComponent("patient = SUBJECT08701 and updated < 2023")}` },
  ));

test("a study without a time of day is shown none", () =>
  open(async (page) => {
    const { imageSets } = await ask("{ imageSets { nodes { study { date time } } } }");
    const index = imageSets.nodes.findIndex(({ study }) => study.date && !study.time);
    assert.ok(index >= 0);
    assert.equal((await rows(page).nth(index).locator("td").allInnerTexts())[2], imageSets.nodes[index].study.date);
  }));

test("filters are read from the text, and written into it", () =>
  open(async (page) => {
    await search(page, "MRN != A17 and (modality = CT or modality = MR) and studied >= 2003 sort studied desc");
    await chipsAre(page, ["Patient ID is not A17", "(modality = CT or modality = MR)", "Study date from 2003"]);
    await press(page, "+ Filter");
    await page.getByLabel("Property").selectOption("DICOMPatientName");
    await page.getByLabel("Value").fill("García");
    await press(page, "Add filter");
    const added =
      "MRN != A17 and (modality = CT or modality = MR) and studied >= 2003 and name = García sort studied desc";
    await becomes(page, added);
    await counted(page, "of");
    await press(page, "Patient ID is not A17");
    await page.getByLabel("Operator").selectOption("not in");
    await page.getByLabel("Value").fill("A17, B18");
    await press(page, "Apply");
    await becomes(page, added.replace("MRN != A17", "patient not in (A17, B18)"));
    await page.getByRole("button", { name: "Remove: (modality = CT or modality = MR)" }).click();
    await becomes(page, "patient not in (A17, B18) and studied >= 2003 and name = García sort studied desc");
  }));

test("a value that is none is said in the form, and the text stays", () =>
  open(async (page) => {
    await search(page, "modality = CT");
    await press(page, "+ Filter");
    await page.getByLabel("Property").selectOption("DICOMStudyInstanceUID");
    await page.getByLabel("Value").fill("1.2.x");
    await press(page, "Add filter");
    await page.locator(".fault", { hasText: "UID" }).waitFor();
    assert.equal(await query(page), "modality = CT");
    await page.keyboard.press("Escape");
  }));

test("where “or” joins at the top, a filter does not change what was meant", () =>
  open(async (page) => {
    await search(page, "modality = CT or modality = MR");
    await page.getByText("Joined with “or”").waitFor();
    await press(page, "+ Filter");
    await page.getByLabel("Property").selectOption("isPrimary");
    await press(page, "Add filter");
    await becomes(page, "(modality = CT or modality = MR) and primary = true");
  }));

test("ranges of dates, relative and from day to day", () =>
  open(async (page) => {
    await press(page, "+ Date range");
    await page.getByLabel("Last 30 days").check();
    await press(page, "Add filter");
    await becomes(page, "updated between today-30d..today");
    await chipsAre(page, ["Updated last 30 days"]);
    await press(page, "Updated last 30 days");
    await press(page, "Written");
    await page.getByLabel("Operator").selectOption("not between");
    await press(page, "From – to");
    await page.getByLabel("From", { exact: true }).fill("2024-01-05");
    await page.getByLabel("To", { exact: true }).fill("2024-03-01");
    await press(page, "Apply");
    await becomes(page, "updated between 2024-01-05..2024-03-01");
    await page.getByRole("button", { name: /^Updated between/ }).click();
    await page.getByLabel("From", { exact: true }).fill("");
    await press(page, "Apply");
    await becomes(page, "updated <= 2024-03-01");
    await page.getByRole("button", { name: /^Updated until/ }).click();
    await press(page, "Relative");
    await page.getByLabel("How many").fill("90");
    await page.getByLabel("Unit").selectOption("min");
    await press(page, "Apply");
    await becomes(page, "updated >= now-90min");
    await chipsAre(page, ["Updated last 90 minutes"]);
  }));

test("dragging over the chart sets the range, and the rows are those of its bars", () =>
  open(async (page) => {
    const { imageSetHistogram: months } = await ask(
      '{ imageSetHistogram(field: UPDATED_AT, interval: MONTH, timeZone: "America/New_York") { from to count } }',
    );
    await page
      .locator(".plot rect")
      .nth(months.length - 1)
      .waitFor({ state: "attached" });
    const { x, y, width, height } = await page.locator(".plot").boundingBox();
    const at = (month) => x + (width * (month + 0.5)) / months.length;
    await page.mouse.click(at(4), y + height / 2, { button: "right" });
    assert.equal(await query(page), "");
    await page.mouse.move(at(3), y + height / 2);
    await page.mouse.down();
    await page.mouse.move(at(5), y + height / 2, { steps: 4 });
    await page.mouse.up();
    await becomes(page, `updated between ${months[3].from}..${months[5].to}`);
    const total = months[3].count + months[4].count + months[5].count;
    await counted(page, `of ${total} image sets`);
    // A second range takes the place of the first.
    await page.getByText("Updated, by day").waitFor();
    await page.locator(".plot").focus();
    await page.keyboard.press("Home");
    await page.keyboard.press("Shift+ArrowRight");
    await page.keyboard.press("Enter");
    await settled(page);
    assert.match(await query(page), /^updated between \d{4}-\d\d-\d\d\.\.\d{4}-\d\d-\d\d$/);
  }));

test("grouped by study: each study once, with those of its image sets that are found", () =>
  open(
    async (page) => {
      const { studies } = await ask(
        '{ studies(query: "name = garcia and modality = MR") { totalCount { value } nodes { imageSetCount imageSets(query: "name = garcia and modality = MR") { totalCount { value } } } } }',
      );
      await press(page, "Studies");
      await counted(page, `of ${studies.totalCount.value} studies`);
      await page.locator(".study-head").first().click();
      const [first] = studies.nodes;
      await page
        .locator(".study-body .row-button")
        .nth(first.imageSets.totalCount.value - 1)
        .waitFor();
      assert.equal(await page.locator(".study-body tbody tr").count(), first.imageSets.totalCount.value);
      await page.locator(".study-body .row-button").first().click();
      await page.locator(".drawer").getByText("Stored tags").waitFor();
      assert.match(page.url(), /view=studies/);
      await page.reload();
      await settled(page);
      await counted(page, `of ${studies.totalCount.value} studies`);
    },
    { hash: `#q=${encodeURIComponent("name = garcia and modality = MR")}` },
  ));

test("studies are sorted by a menu, and an opened one says in which order its image sets are", () =>
  open(
    async (page) => {
      await press(page, "Sort");
      await page.getByLabel("Sort by").selectOption("DICOMSeriesNumber");
      await page.getByLabel("Direction").selectOption("asc");
      await page.locator(".popover").getByRole("button", { name: "Sort" }).click();
      await becomes(page, "name = garcia sort seriesNumber asc");
      await page.locator(".study-head").first().click();
      await page.locator('.study-body th[aria-sort="ascending"]', { hasText: "Series number" }).waitFor();
      assert.equal(await page.locator(".study-body th[aria-sort]").count(), 1);
    },
    { hash: `#view=studies&q=${encodeURIComponent("name = garcia")}` },
  ));

test("names that are long fit where studies are narrow", () =>
  open(
    async (page) => {
      await page.route("**/graphql", async (route) => {
        const answer = await route.fetch();
        const body = (await answer.text()).replaceAll(/"name":"[^"]*"/g, `"name":"${"Very Long ".repeat(9)}"`);
        await route.fulfill({ response: answer, body });
      });
      await press(page, "Studies");
      await page.locator(".study-head").first().waitFor();
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 390);
      await page.unrouteAll({ behavior: "wait" });
    },
    { width: 390, height: 844 },
  ));

test("columns are chosen, and stay chosen", () =>
  open(async (page) => {
    const heads = () => page.locator(".results-pane > .results th").allInnerTexts();
    await press(page, "Load more");
    await counted(page, "1–100 of");
    await press(page, "Columns");
    await page.getByRole("checkbox", { name: "Series number" }).check();
    await page.getByRole("checkbox", { name: "Description" }).uncheck();
    await page.keyboard.press("Escape");
    await settled(page);
    const chosen = await heads();
    assert.ok(chosen.includes("Series number") && !chosen.includes("Description"));
    assert.equal(await rows(page).count(), 100);
    assert.equal((await firstRow(page)).length, chosen.length);
    await page.reload();
    await settled(page);
    assert.deepEqual(await heads(), chosen);
    await page.evaluate(() => localStorage.clear());
  }));

async function save(page, name) {
  await press(page, "Export");
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name }).click()]);
  return readFile(await download.path());
}

test("an export is byte for byte the command line's", () =>
  open(
    async (page) => {
      assert.deepEqual(await save(page, /^CSV/), await readFile(CSV));
      assert.deepEqual(await save(page, /^NDJSON/), await readFile(NDJSON));
      await page.getByText("Exported 2,001 image sets.").waitFor();
    },
    { hash: "#q=sort+id" },
  ));

test("an export waits where it is asked to, leaves nothing out, and can be stopped", () => {
  let refusals = 3;
  return open(
    async (page) => {
      assert.equal((await save(page, /^NDJSON/)).toString().split("\n").length, 2_002);
      assert.equal(refusals, 0);
      refusals = Number.POSITIVE_INFINITY;
      await press(page, "Export");
      await page.getByRole("button", { name: /^CSV/ }).click();
      await page.getByText("the store is asked too much").waitFor();
      await press(page, "Cancel");
      await page.getByText("Export stopped: nothing was saved.").waitFor();
    },
    {
      before: (page) =>
        page.route("**/graphql", (route) => {
          const { query, variables } = route.request().postDataJSON() ?? {};
          if (!query?.startsWith("query Export") || !variables.after || refusals === 0) return route.continue();
          refusals -= 1;
          const error = { message: "asked too much", extensions: { code: "THROTTLED", retryAfter: 0.05 } };
          return route.fulfill({ json: { data: null, errors: [error] } });
        }),
    },
  );
});

test("the search as code is what the service writes", () =>
  open(
    async (page) => {
      await press(page, "Copy as code");
      const code = page.locator("dialog pre");
      await code.getByText("query Search(").waitFor();
      const [document, variables] = (await code.innerText()).split("# Variables\n");
      const { imageSets } = await ask(document, JSON.parse(variables));
      assert.ok(imageSets.totalCount.value > 0);
      const { searchAnalysis } = await ask(
        '{ searchAnalysis(query: "patient = SUBJECT00007 and modality = MR") { CLI: sample(language: CLI) PYTHON: sample(language: PYTHON) JAVASCRIPT: sample(language: JAVASCRIPT) } }',
      );
      for (const [name, language] of [
        ["AWS CLI", "CLI"],
        ["Python", "PYTHON"],
        ["JavaScript", "JAVASCRIPT"],
      ]) {
        await press(page, name);
        await page.waitForFunction(
          (text) => document.querySelector("dialog pre").textContent === text,
          searchAnalysis[language],
        );
      }
      await page.keyboard.press("Escape");
      await press(page, "Explain");
      await page
        .locator(".drawer")
        .getByText("DICOMPatientId = SUBJECT00007 and DICOMSeriesModality = MR")
        .first()
        .waitFor();
      await page.locator(".drawer").getByText("Filtered afterwards, row by row:").waitFor();
      await press(page, "Help");
      await page.locator(".drawer").getByText("The search language").waitFor();
      await press(page, "name = garcia");
      await becomes(page, "name = garcia");
    },
    { hash: `#q=${encodeURIComponent("patient = SUBJECT00007 and modality = MR")}` },
  ));

test("nothing found says what to do", () =>
  open(
    async (page) => {
      await state(page, "EMPTY").getByText("Nothing matches").waitFor();
      await press(page, "Show everything");
      await counted(page, "of 2,001");
    },
    { hash: "#q=patient+%3D+NOBODY" },
  ));

test("a query with a problem, from the address, is underlined and said", () =>
  open(
    async (page) => {
      await state(page, "INVALID_QUERY").waitFor();
      await page.locator("imageset-search .cm-lintRange-error").waitFor();
      await page.getByText("Mend the search above").waitFor();
      await page.locator("imageset-search .said .fix").click();
      await page.keyboard.press("Enter");
      await counted(page, "1 image set");
    },
    { hash: `#q=${encodeURIComponent("pateint = SUBJECT08701 and updated < 2023")}` },
  ));

/** Answers the searches with an error until it is told to stop. */
function failing(code, { status = 200, message = "the service's own words", ...extensions } = {}) {
  const fault = { on: true };
  const before = (page) =>
    page.route("**/graphql", (route) => {
      const { query } = route.request().postDataJSON() ?? {};
      if (!fault.on || !query?.startsWith("query ImageSets")) return route.continue();
      if (code === "NETWORK") return route.abort();
      return route.fulfill({ status, json: { errors: [{ message, extensions: { code, ...extensions } }] } });
    });
  return { fault, before, expected: /Failed to load resource/ };
}

for (const [code, title] of Object.entries({
  ACCESS_DENIED: "You may not see this",
  SCAN_BUDGET: "The search is too wide for this store",
  STORE_TIMEOUT: "The store took too long",
  STORE_UNAVAILABLE: "The store does not answer",
  LIMIT_EXCEEDED: "That is more than one request may ask",
  NETWORK: "No connection",
  SOMETHING_NEW: "Something went wrong",
})) {
  test(`${code} is told, with what to do`, () => {
    const { fault, before, expected } = failing(code, { status: code === "SOMETHING_NEW" ? 500 : 200 });
    return open(
      async (page) => {
        await state(page, code).getByText(title).waitFor();
        if (code !== "NETWORK") await page.getByText("the service's own words").waitFor();
        assert.ok(await state(page, code).getByRole("button").isVisible());
        fault.on = false;
        const again = state(page, code).getByRole("button", { name: "Try again" });
        if (await again.count()) {
          await again.click();
          await counted(page, "of 2,001");
        }
      },
      { before, expected },
    );
  });
}

test("a service that was not there when the page began is asked again by a search", () =>
  withPage(
    `${ADDRESS}/`,
    async (page) => {
      await state(page, "NETWORK").waitFor();
      await page.unroute("**/graphql");
      await page.locator("imageset-search").getByRole("button", { name: "Search", exact: true }).click();
      await counted(page, "1–50 of 2,001");
    },
    { before: (page) => page.route("**/graphql", (route) => route.abort()), expected: /Failed to load resource/ },
  ));

for (const [code, status] of [
  ["THROTTLED", 200],
  ["OVERLOADED", 503],
]) {
  test(`${code} tries again by itself, when it is asked to`, () => {
    const { fault, before, expected } = failing(code, { status, retryAfter: 2 });
    return open(
      async (page) => {
        await state(page, code).getByText("Tries again in").waitFor();
        fault.on = false;
        await counted(page, "of 2,001");
      },
      { before, expected },
    );
  });
}

test("a page that cannot be continued is told below the rows, and begins again", () => {
  const before = (page) =>
    page.route("**/graphql", (route) => {
      const { variables } = route.request().postDataJSON() ?? {};
      if (!variables?.after) return route.continue();
      const error = { message: "the cursor belongs to another search", extensions: { code: "INVALID_CURSOR" } };
      return route.fulfill({ json: { errors: [error] } });
    });
  return open(
    async (page) => {
      await press(page, "Load more");
      await page.getByText("the cursor belongs to another search").waitFor();
      assert.equal(await rows(page).count(), 50);
      await press(page, "Try again");
      await counted(page, "1–50 of 2,001");
    },
    { before },
  );
});

test("a token is asked for, sent with everything, and kept in memory alone", () =>
  withPage(
    `${GUARDED}/`,
    async (page) => {
      await page.getByRole("dialog", { name: "Sign in" }).waitFor();
      await press(page, "Not now");
      await state(page, "UNAUTHENTICATED").waitFor();
      await press(page, "Enter a token");
      await page.getByLabel("Key or access token").fill("wrong");
      await press(page, "Continue");
      await page.getByText("This token does not let you in.").waitFor();
      await page.getByLabel("Key or access token").fill(`Bearer ${KEY}`);
      await press(page, "Continue");
      await counted(page, "1–50 of 2,001");
      const refused = [];
      page.on("response", (response) => response.status() === 401 && refused.push(response.url()));
      await search(page, "modality = CT");
      await press(page, "Studies");
      await settled(page);
      assert.equal((await save(page, /^NDJSON/)).includes("SUBJECT"), true);
      assert.deepEqual(refused, []);
      const kept = await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie]);
      assert.deepEqual(kept, [0, 0, ""]);
    },
    { expected: /401/ },
  ));

test("below a path of a proxy all is found, GraphiQL too", () =>
  open(
    async (page) => {
      await search(page, "modality = CT");
      await counted(page, "1–50 of");
      await page.getByRole("link", { name: "GraphiQL" }).click();
      await page.getByRole("button", { name: "Execute query" }).click();
      await page.locator(".result-window").getByText('"canonical"').waitFor();
      assert.equal(page.url(), `${MOUNTED}/graphql`);
      await page.getByRole("link", { name: "imagesets" }).click();
      await settled(page);
      assert.equal(page.url(), `${MOUNTED}/`);
    },
    { address: MOUNTED },
  ));

test("of several data stores one is chosen, and pages are no larger than the service allows", () =>
  open(
    async (page) => {
      await state(page, "DATASTORE_NOT_FOUND").getByText("Which data store?").waitFor();
      await press(page, "sample");
      await counted(page, "of 2,001 image sets");
      assert.match(page.url(), /datastore=12345678901234567890123456789012/);
      assert.equal((await save(page, /^NDJSON/)).toString().split("\n").length, 2_002);
      await page.getByLabel("Data store").selectOption({ label: "other" });
      await state(page, "EMPTY").getByText("This data store is empty").waitFor();
      await page.goBack();
      await counted(page, "of 2,001 image sets");
      // One that is not there is none of those that are.
      await page.evaluate(() => (location.hash = "#datastore=00000000000000000000000000000000"));
      await state(page, "DATASTORE_NOT_FOUND").getByText("Choose the one to search.").waitFor();
      assert.equal(await page.getByLabel("Data store").inputValue(), "");
    },
    { address: CROWDED },
  ));

test("over AWS HealthImaging a search is counted and charted where that is wanted", () =>
  open(
    async (page) => {
      await page.getByText("Counting may read the whole store.").waitFor();
      await counted(page, "The first 50 image sets");
      await search(page, "modality = CT and patient = SUBJECT00007");
      await press(page, "Count and chart this search");
      await page.locator(".plot").waitFor();
      await press(page, "Explain");
      await page.locator(".drawer").getByText("What AWS HealthImaging is asked").waitFor();
      await search(page, "modality = CT sort name");
      await press(page, "Copy as code");
      await press(page, "AWS CLI");
      await page.locator("dialog pre").getByText("cannot be asked this").waitFor();
      assert.equal(await page.locator("dialog").getByRole("button", { name: "Copy", exact: true }).count(), 0);
      await page.keyboard.press("Escape");
      await press(page, "Search without the order");
      await becomes(page, "modality = CT");
    },
    { address: HEALTHIMAGING },
  ));

const STATES = {
  results: async () => undefined,
  "a row": (page) => page.locator(".row-button").first().click(),
  studies: async (page) => {
    await press(page, "Studies");
    await settled(page);
    await page.locator(".study-head").first().click();
    await page.locator(".study-body tbody tr").first().waitFor();
  },
  "a typo": async (page) => {
    await type(page, "pateint = SUBJECT08701 and modality = CT and description like head*");
    await page.keyboard.press("Escape");
    await page.locator("imageset-search .said .fix").waitFor();
  },
  "a filter": (page) => press(page, "+ Filter"),
  "a range of dates": (page) => press(page, "+ Date range"),
  columns: (page) => press(page, "Columns"),
  code: (page) => press(page, "Copy as code"),
  explanation: (page) => press(page, "Explain"),
  help: (page) => press(page, "Help"),
};

for (const colorScheme of ["light", "dark"]) {
  for (const [width, height] of [
    [1280, 800],
    [390, 844],
  ]) {
    test(`nobody is shut out, ${colorScheme}, ${width} wide, and nothing runs over the edge`, async () => {
      for (const [name, enter] of Object.entries(STATES)) {
        await open(
          async (page) => {
            await page.locator(".plot").waitFor();
            await enter(page);
            await page.waitForTimeout(150);
            assert.deepEqual(await findBarriers(page), [], name);
            const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
            assert.ok(over <= 0, `${name} is ${over} pixels too wide`);
          },
          {
            colorScheme,
            width,
            height,
            hash: `#q=${encodeURIComponent("name = garcia and (modality = CT or modality = MR) and studied >= 2003")}`,
          },
        );
      }
    });
  }
}

test("the first load is small", async () => {
  const loaded = [];
  await open(
    async (page) => {
      await page.waitForLoadState("networkidle");
      const sizes = await Promise.all(loaded.map((request) => request.sizes()));
      const bytes = sizes.reduce((sum, it) => sum + it.responseBodySize + it.responseHeadersSize, 0);
      assert.ok(bytes > 50_000 && bytes < 200_000, `${bytes} bytes`);
    },
    { before: (page) => page.on("requestfinished", load) },
  );

  // The page and what it is made of; the rows that it then asks for are as large as they are.
  function load(request) {
    if (new URL(request.url()).pathname !== "/graphql") loaded.push(request);
  }
});

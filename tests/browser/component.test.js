// <imageset-search> in a page of somebody else: the two lines of the README, and nothing of the portal.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, test } from "node:test";
import { ADDRESS, close, findBarriers, query, type, withPage } from "./browser.js";

after(close);

const README = await readFile(new URL("../../README.md", import.meta.url), "utf8");
const [, lines] = /```html\n(.*?)```/s.exec(README);
const PAGE = `<!doctype html><html lang="en"><title>elsewhere</title><main><h1>Elsewhere</h1>${lines}</main></html>`;

const { GUARDED, KEY } = process.env;

/** Makes the page of the other portal, which hears what the component tells. */
async function prepare(page, service) {
  await page.addInitScript(() => {
    globalThis.told = [];
    for (const name of ["search", "results", "failure", "analysis"]) {
      document.addEventListener(name, ({ type, detail }) => globalThis.told.push({ type, detail }));
    }
  });
  await page.route("**/elsewhere", (route) =>
    route.fulfill({ contentType: "text/html", body: PAGE.replaceAll("http://127.0.0.1:8000", service) }),
  );
}

/** The page at an address of its own, on the service's origin. */
const embed = (use, options) =>
  withPage(`${ADDRESS}/elsewhere`, use, { ...options, before: (page) => prepare(page, ADDRESS) });

const told = (page, type) =>
  page
    .waitForFunction((type) => globalThis.told.findLast((one) => one.type === type)?.detail, type)
    .then((it) => it.jsonValue());
const said = (page) => page.locator("imageset-search .said");

test("a typo is underlined, and its fix is a click away", () =>
  embed(async (page) => {
    await type(page, "pateint = SUBJECT08701");
    await page.locator("imageset-search .cm-lintRange-error", { hasText: "pateint" }).waitFor();
    assert.match(await said(page).innerText(), /^unknown field 'pateint': did you mean 'patient'\?/);
    assert.equal(await page.locator("imageset-search .cm-content").getAttribute("aria-invalid"), "true");
    await page.getByRole("button", { name: "Fix: patient = SUBJECT08701" }).click();
    await page.locator("imageset-search .said:empty").waitFor({ state: "attached" });
    assert.equal(await page.locator("imageset-search .cm-lintRange-error").count(), 0);
    assert.equal(await query(page), "patient = SUBJECT08701");
  }));

test("the fix stands in the underline's own tip too, for who points at it", () =>
  embed(async (page) => {
    await type(page, "modality == CT");
    await page.locator("imageset-search .cm-lintRange-error").hover();
    await page.getByRole("button", { name: "Write modality = CT" }).click();
    assert.equal(await query(page), "modality = CT");
  }));

test("positions are right behind characters of two units", () =>
  embed(async (page) => {
    await type(page, "name = 𝒜𝒷 and pateint = X");
    await page.locator("imageset-search .cm-lintRange-error", { hasText: /^pateint$/ }).waitFor();
    await page.locator("imageset-search .said .fix").click();
    assert.equal(await query(page), "name = 𝒜𝒷 and patient = X");
  }));

test("a word that is still being typed is no fault yet; what is searched is", () =>
  embed(async (page) => {
    await type(page, "patient =");
    await told(page, "analysis");
    await page.waitForFunction(() => globalThis.told.at(-1).detail.query === "patient =");
    assert.equal(await page.locator("imageset-search .said.problem").count(), 0);
    await page.keyboard.press("Escape");
    await page.keyboard.press("Enter");
    await page.locator("imageset-search .said.problem").waitFor();
    assert.deepEqual(await page.evaluate(() => globalThis.told.filter(({ type }) => type === "search")), []);
  }));

test("completions are taken by Tab, and the next are offered", () =>
  embed(async (page) => {
    const offered = page.locator("imageset-search .cm-tooltip-autocomplete li");
    await type(page, "mod");
    await offered.getByText("modality", { exact: true }).waitFor();
    await page.keyboard.press("Tab");
    await offered.getByText("equal to", { exact: true }).waitFor();
    await page.keyboard.press("Tab");
    await offered.getByText("CT", { exact: true }).waitFor();
    await page.keyboard.type("C");
    await page.waitForFunction(() => {
      const { shadowRoot } = document.querySelector("imageset-search");
      return shadowRoot.querySelectorAll(".cm-tooltip-autocomplete li").length === 2;
    });
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("ArrowDown");
    await page.locator("imageset-search li[aria-selected]", { hasText: "CT" }).waitFor();
    await page.keyboard.press("Enter");
    assert.equal(await query(page), "modality = CT");
  }));

test("Enter searches: the page hears of it, and of the first results", () =>
  embed(async (page) => {
    await type(page, "patient = SUBJECT08701 and updated < 2023");
    await page.keyboard.press("Escape");
    await page.keyboard.press("Enter");
    const { imageSets, query: asked } = await told(page, "results");
    assert.equal(asked, "patient = SUBJECT08701 and updated < 2023");
    assert.deepEqual(imageSets.totalCount, { value: 1, precision: "EXACT" });
    assert.equal(imageSets.nodes[0].imageSetId, "09876543210987654321098765432109");
    const { datastoreId, timeZone } = await told(page, "search");
    assert.deepEqual([datastoreId, timeZone], ["12345678901234567890123456789012", "America/New_York"]);
  }));

test("who searches himself prevents the default", () =>
  embed(async (page) => {
    await page.evaluate(() => document.addEventListener("search", (event) => event.preventDefault()));
    await type(page, "modality = CT");
    await page.keyboard.press("Escape");
    await page.keyboard.press("Enter");
    await told(page, "search");
    await page.waitForTimeout(300);
    assert.deepEqual(await page.evaluate(() => globalThis.told.filter(({ type }) => type === "results")), []);
  }));

test("recent searches come back by the arrows and by their button, and lines by Shift-Enter", () =>
  embed(async (page) => {
    for (const text of ["modality = CT", "modality = MR"]) {
      await type(page, text);
      await page.keyboard.press("Escape");
      await page.keyboard.press("Enter");
    }
    await type(page, "draft");
    await page.keyboard.press("Escape");
    const steps = [];
    for (const key of ["ArrowUp", "ArrowUp", "ArrowUp", "ArrowDown", "ArrowDown"]) {
      await page.keyboard.press(key);
      steps.push(await query(page));
    }
    assert.deepEqual(steps, ["modality = MR", "modality = CT", "modality = CT", "modality = MR", "draft"]);
    await page.getByRole("button", { name: "Recent searches" }).click();
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    assert.equal(await query(page), "modality = CT");
    await type(page, "modality = CT");
    await page.keyboard.press("Escape");
    await page.keyboard.press("Shift+Enter");
    await page.keyboard.type("and primary = true");
    assert.equal(await query(page), "modality = CT\nand primary = true");
  }));

test("a token is sent, and nothing is stored", () =>
  embed(async (page) => {
    await page.evaluate(() => {
      document.querySelector("imageset-search").token = "opensesame";
    });
    const sent = [];
    page.on("request", (request) => sent.push(request.headers().authorization));
    await type(page, "patient = SUBJECT08701");
    await page.keyboard.press("Escape");
    await page.keyboard.press("Enter");
    await told(page, "results");
    assert.ok(sent.length > 2);
    assert.deepEqual(new Set(sent), new Set(["Bearer opensesame"]));
    const kept = await page.evaluate(() => [
      localStorage.length,
      sessionStorage.length,
      document.cookie,
      document.title,
    ]);
    assert.deepEqual(kept, [0, 0, "", "elsewhere"]);
  }));

test("a page of another origin that the service allows searches it, with a token", () =>
  withPage(
    "https://portal.example/elsewhere",
    async (page) => {
      const ask = () => page.evaluate(() => document.querySelector("imageset-search").search());
      await page.evaluate(() => {
        document.querySelector("imageset-search").query = "patient = SUBJECT08701";
      });
      await ask();
      const { error } = await page
        .waitForFunction(() => {
          const { error } = globalThis.told.findLast(({ type }) => type === "failure")?.detail ?? {};
          return error && { error: { code: error.code, message: error.message } };
        })
        .then((it) => it.jsonValue());
      assert.equal(error.code, "UNAUTHENTICATED");
      await page.evaluate((key) => {
        document.querySelector("imageset-search").token = key;
      }, KEY);
      await ask();
      const { imageSets } = await told(page, "results");
      assert.equal(imageSets.nodes[0].patient.patientId, "SUBJECT08701");
    },
    {
      origins: [GUARDED],
      expected: /401/,
      before: (page) => prepare(page, GUARDED),
    },
  ));

for (const colorScheme of ["light", "dark"]) {
  test(`nobody is shut out, ${colorScheme}`, () =>
    embed(
      async (page) => {
        await type(page, "pateint = X and modality = CT");
        await page.locator("imageset-search .said.problem").waitFor();
        assert.deepEqual(await findBarriers(page), []);
        await page.keyboard.type(" and mod");
        await page.locator("imageset-search .cm-tooltip-autocomplete").waitFor();
        assert.deepEqual(await findBarriers(page), []);
      },
      { colorScheme },
    ));
}

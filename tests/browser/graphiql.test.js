// GraphiQL, served whole from the service.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { ADDRESS, close, findBarriers, withPage } from "./browser.js";

after(close);

const { GUARDED, KEY } = process.env;

const open = (use, options) => withPage(`${ADDRESS}/graphql`, use, options);
const result = (page) => page.locator(".result-window");
const run = (page) => page.getByRole("button", { name: "Execute query" }).click();

test("it opens with a query that runs, and with the search language beside it", () =>
  open(async (page) => {
    await run(page);
    await result(page).getByText('"canonical"').waitFor();
    await result(page).getByText('"DICOMSeriesModality = CT sort updatedAt desc"').waitFor();
    const language = page.locator(".search-language");
    await language.getByText("patient = SUBJECT08701 and updated between").waitFor();
    assert.equal(await language.locator("tbody tr").count(), 22);
    // Nothing that was typed stays behind.
    assert.deepEqual(await page.evaluate(() => [localStorage.length, sessionStorage.length]), [0, 0]);
  }));

test("on a narrow screen the editor comes first, and the answer below it", () =>
  open(
    async (page) => {
      await run(page);
      await result(page).getByText('"canonical"').waitFor();
      const editor = await page.locator(".graphiql-query-editor").boundingBox();
      const answer = await result(page).boundingBox();
      assert.ok(editor.x >= 0 && editor.x + editor.width <= 390 && answer.x + answer.width <= 390);
      assert.ok(answer.y >= editor.y + editor.height);
    },
    { width: 390, height: 844 },
  ));

test("the explorer has the documentation, and dialogs keep to the page's policy", () =>
  open(async (page) => {
    await page.getByRole("button", { name: "Show Documentation Explorer" }).click();
    await page.getByRole("link", { name: "Query" }).click();
    await page.getByRole("link", { name: "imageSets", exact: true }).first().click();
    await page.getByText("The search as text; nothing, or").waitFor();
    await page.getByRole("button", { name: "Open short keys dialog" }).click();
    await page.getByText("Short Keys", { exact: true }).waitFor();
  }));

test("a token is asked for, sent, and kept in memory alone", () =>
  withPage(
    `${GUARDED}/graphql`,
    async (page) => {
      await page.getByLabel("Key or access token").fill(`Bearer ${KEY}`);
      await page.getByRole("button", { name: "Continue" }).click();
      await page.getByRole("dialog").waitFor({ state: "detached" });
      await page.locator(".search-language tbody").waitFor();
      await run(page);
      await result(page).getByText('"canonical"').waitFor();
      assert.deepEqual(await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie]), [
        0,
        0,
        "",
      ]);
    },
    { expected: /401/ },
  ));

test("our own parts shut nobody out", () =>
  open(async (page) => {
    await page.locator(".search-language tbody").waitFor();
    assert.deepEqual(await findBarriers(page, ".search-language"), []);
  }));

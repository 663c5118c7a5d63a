// Debian's chromium, one page at a time. A page that loads anything from elsewhere, fails in its scripts, breaks its own
// policy or writes to the console fails its test.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

export const ADDRESS = process.env.ADDRESS;

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

let browser;

async function launch() {
  browser ??= await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
  return browser;
}

export async function close() {
  await browser?.close();
}

/** Opens an address and runs `use(page)`; `origins` are what else may be asked, `expected` the console's
 * messages that the test is about. */
export async function withPage(
  address,
  use,
  { width = 1280, height = 800, colorScheme = "light", before, origins = [], expected = /^$/ } = {},
) {
  const context = await (
    await launch()
  ).newContext({
    viewport: { width, height },
    colorScheme,
    timezoneId: "America/New_York",
    locale: "en-GB",
    reducedMotion: "reduce",
  });
  // A page elsewhere that asks this machine needs the person's permission.
  if (origins.length) await context.grantPermissions(["local-network-access"]);
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  const faults = [];
  const allowed = new Set([new URL(address).origin, ...origins]);
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol.startsWith("http") && !allowed.has(url.origin)) faults.push(`foreign request: ${url.href}`);
  });
  page.on("pageerror", (error) => faults.push(`script: ${error.message}`));
  page.on("console", (message) => {
    if (!expected.test(message.text())) faults.push(`console: ${message.text()}`);
  });
  try {
    await before?.(page);
    await page.goto(address);
    await use(page);
    assert.deepEqual(faults, []);
  } finally {
    await context.close();
  }
}

/** The serious faults that axe-core finds in the page, or in a part of it. */
export async function findBarriers(page, part = "html") {
  const axe = await readFile(fileURLToPath(import.meta.resolve("axe-core/axe.min.js")), "utf8");
  await page.evaluate(axe);
  const { violations } = await page.evaluate((part) => globalThis.axe.run(part, { resultTypes: ["violations"] }), part);
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target.join(" ")).join(", ")}`);
}

/** Puts the cursor into the search box, in place of what stands there. */
export async function type(page, text) {
  await page.locator("imageset-search .cm-content").click();
  await page.keyboard.press("Control+A");
  await page.keyboard.type(text);
}

export const query = (page) => page.evaluate(() => document.querySelector("imageset-search").query);

export async function ask(document, variables = {}, address = ADDRESS) {
  const response = await fetch(`${address}/graphql`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ query: document, variables }),
  });
  const { data, errors } = await response.json();
  assert.equal(errors, undefined);
  return data;
}

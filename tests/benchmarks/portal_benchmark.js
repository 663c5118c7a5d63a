// How long the portal makes one wait: from the key press to the underline, and from Enter to the rows, as they are
// painted. Against a running service: node tests/benchmarks/portal_benchmark.js http://127.0.0.1:8000 [ROUNDS]

import { close, withPage } from "../browser/browser.js";

const [address = "http://127.0.0.1:8000", rounds = "20"] = process.argv.slice(2);

/** Milliseconds from the last key of a kind to the frame after a change; `sign` says which change it is. */
const watch = (page, key, sign) =>
  page.evaluate(
    ([key, sign]) => {
      globalThis.waited = new Promise((resolve) => {
        let pressed = Number.NaN;
        const { shadowRoot } = document.querySelector("imageset-search");
        addEventListener(
          "keydown",
          (event) => (key === "Enter") === (event.key === "Enter") && (pressed = event.timeStamp),
          true,
        );
        const seen = () => {
          const found =
            sign === "underline"
              ? shadowRoot.querySelector(".cm-lintRange-error")
              : document.querySelector(".results tbody").dataset.new;
          if (!found || Number.isNaN(pressed)) return;
          observer.disconnect();
          requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - pressed)));
        };
        const observer = new MutationObserver((changes) => {
          const body = document.querySelector(".results tbody");
          if (changes.some(({ target, addedNodes }) => target === body && addedNodes.length)) body.dataset.new = "1";
          seen();
        });
        delete document.querySelector(".results tbody").dataset.new;
        for (const root of [shadowRoot, document.querySelector(".results")]) {
          observer.observe(root, { childList: true, subtree: true, attributes: true });
        }
      });
    },
    [key, sign],
  );

const describe = (times) => {
  const sorted = times.toSorted((one, other) => one - other);
  const at = (part) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))].toFixed(0).padStart(5);
  return `median ${at(0.5)} ms   95 % ${at(0.95)} ms   most ${at(1)} ms`;
};

async function clear(page) {
  await page.locator("imageset-search .cm-content").click();
  await page.keyboard.press("Control+A");
  await page.keyboard.press("Backspace");
  await page.waitForTimeout(300);
}

async function measure(page, text, key, sign) {
  const times = [];
  for (let round = 0; round < Number(rounds); round += 1) {
    await clear(page);
    if (sign === "rows") {
      await page.keyboard.type(text);
      await page.keyboard.press("Escape");
      await page.waitForTimeout(300);
    }
    await watch(page, key, sign);
    await (sign === "rows" ? page.keyboard.press("Enter") : page.keyboard.type(text, { delay: 30 }));
    times.push(await page.evaluate(() => globalThis.waited));
    // As long as a person looks: the count and the chart of a search come after its rows.
    await page.waitForTimeout(1500);
  }
  console.log(`${sign.padEnd(10)} ${describe(times)}   ${text}`);
}

await withPage(
  `${address}/`,
  async (page) => {
    await page.locator(".results tbody tr").first().waitFor();
    await page.waitForTimeout(3000);
    await measure(page, "pateint = X", "", "underline");
    await measure(page, "name = garcia and modalty = C", "", "underline");
    for (const text of [
      "patient = SUBJECT08701",
      "updated between 2024-03-11..2024-04-11 sort updated",
      "modality = CT and primary = true",
      "*",
    ]) {
      await measure(page, text, "Enter", "rows");
    }
  },
  { expected: /.*/ },
);
await close();

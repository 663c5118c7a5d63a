// Builds what the service serves to browsers, from src/ and the locked packages into the folder that is named, by
// default ../static. The same sources give the same bytes: the tests build again and compare.
// The pages name the other files as `asset:portal.js`; the service puts addresses with content hashes there.

import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { cp, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, "..", "static");

const options = {
  absWorkingDir: here,
  bundle: true,
  minify: true,
  write: false,
  metafile: true,
  charset: "utf8",
  legalComments: "none",
  target: ["chrome123", "firefox120", "safari17.5"],
  logLevel: "warning",
};

/** The packages whose code is served. */
const shipped = new Set(["graphiql", "react", "react-dom"]);

function ship(inputs) {
  for (const input of inputs) {
    const found = /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (found) shipped.add(found[1]);
  }
}

async function bundle(entry, more = {}) {
  const { outputFiles, metafile } = await build({ ...options, entryPoints: [entry], ...more });
  ship(Object.keys(metafile.inputs));
  return outputFiles[0].text;
}

const vendored = async (path) =>
  (await readFile(join(here, "node_modules", path), "utf8")).replace(/\/\/# sourceMappingURL=\S+\s*$/, "");

/** Fonts are left out: the system has some, and three quarters of the style sheet would be theirs. */
const withoutFonts = (css) => css.replaceAll(/@font-face\s*{[^}]*}/g, "");

const write = (name, text) => writeFile(join(out, name), text);

async function licences() {
  const parts = [];
  for (const name of [...shipped].sort()) {
    const folder = join(here, "node_modules", name);
    if (!existsSync(folder)) {
      parts.push(`${name}\n\nBundled by graphiql; see https://github.com/graphql/graphiql for its licence.\n`);
      continue;
    }
    const { version, license, author } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
    const file = (await readdir(folder)).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file ? await readFile(join(folder, file), "utf8") : `${license}, ${author?.name ?? author ?? name}`;
    parts.push(`${name} ${version}\n\n${text.trim().replaceAll(/[ \t\r]+$/gm, "")}\n`);
  }
  return parts.join(`\n${"-".repeat(72)}\n\n`);
}

await rm(out, { recursive: true, force: true });
await mkdir(out, { recursive: true });

await write("imageset-search.js", await bundle("src/component.ts", { format: "iife", loader: { ".css": "text" } }));
await write("portal.js", await bundle("src/portal.ts", { format: "esm" }));
await write("portal.css", await bundle("src/portal.css"));

await write("react.js", await vendored("react/umd/react.production.min.js"));
await write("react-dom.js", await vendored("react-dom/umd/react-dom.production.min.js"));
await write("graphiql.js", await vendored("graphiql/graphiql.min.js"));
await write(
  "graphiql.css",
  withoutFonts(await vendored("graphiql/graphiql.min.css")) + (await bundle("src/graphiql.css")),
);
await write("graphiql-page.js", await bundle("src/graphiql-page.ts", { format: "esm" }));
// What GraphiQL's authors have bundled: the packages of its repository are named by their folders.
const { sources } = JSON.parse(await readFile(join(here, "node_modules/graphiql/graphiql.min.js.map"), "utf8"));
ship(sources);
for (const name of ["@graphiql/react", "@graphiql/toolkit", "graphql-language-service"]) shipped.add(name);

for (const name of ["icon.svg", "portal.html", "graphiql.html"]) await cp(join(here, "src", name), join(out, name));
await write("licences.txt", await licences());

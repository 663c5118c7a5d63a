// The search as code: a GraphQL document with its variables, or a program for HealthImaging's own clients.

import { type Connection, isAbort } from "./api.ts";
import { copyButton } from "./copying.ts";
import { h, replace } from "./elements.ts";
import { toApiError } from "./failure.ts";
import { SAMPLE_LANGUAGES, type Search, loadSample } from "./search.ts";

export function openCopyAs(connection: Connection, search: Search): void {
  let text = "";
  let asking = new AbortController();
  const code = h("pre", { tabindex: 0, "aria-label": "Code" });
  const note = h("p", { class: "hint" });
  const copy = copyButton("Copy", () => text);
  const languages: Readonly<Record<string, string>> = { GRAPHQL: "GraphQL", ...SAMPLE_LANGUAGES };
  const tabs = Object.entries(languages).map(([language, name]) =>
    h(
      "button",
      { type: "button", "data-language": language, "aria-pressed": false, onclick: () => void show(language) },
      name,
    ),
  );
  const dialog = h(
    "dialog",
    { class: "sheet", "aria-labelledby": "copy-as-title" },
    h(
      "header",
      {},
      h("h2", { id: "copy-as-title" }, "Copy the search as code"),
      h("button", { type: "button", class: "quiet cross", "aria-label": "Close", onclick: () => dialog.close() }, "×"),
    ),
    h("div", { class: "segments", role: "group", "aria-label": "Language" }, tabs),
    code,
    h("footer", {}, note, copy),
  );
  dialog.addEventListener("close", () => {
    asking.abort();
    dialog.remove();
  });

  async function show(language: string): Promise<void> {
    asking.abort();
    asking = new AbortController();
    for (const tab of tabs) tab.setAttribute("aria-pressed", String(tab.dataset.language === language));
    note.textContent = language === "GRAPHQL" ? `POST it to ${new URL(connection.endpoint, location.href)}` : "";
    try {
      if (language === "GRAPHQL") return put(writeGraphql(search), true);
      const { sample, refused } = await loadSample(connection, search, language, asking.signal);
      if (sample === null) put(`AWS HealthImaging cannot be asked this. ${refused}`, false);
      else put(sample, true);
    } catch (error) {
      if (!isAbort(error)) put(toApiError(error).message, false);
    }
  }

  /** What is no code, but says why there is none, is not to be copied. */
  function put(what: string, isCode: boolean): void {
    text = what;
    replace(code, what);
    code.classList.toggle("wrapped", !isCode);
    copy.hidden = !isCode;
  }

  document.body.append(dialog);
  dialog.showModal();
  void show("GRAPHQL");
}

const DOCUMENT = `query Search($query: String!, $datastoreId: ID, $timeZone: String, $after: String) {
  imageSets(query: $query, datastoreId: $datastoreId, timeZone: $timeZone, after: $after) {
    totalCount { value precision }
    nodes {
      imageSetId
      updatedAt
      patient { patientId name birthDate sex }
      study { instanceUid date description }
      series { modality bodyPart }
    }
    pageInfo { hasNextPage endCursor }
  }
}`;

function writeGraphql({ query, datastoreId, timeZone }: Search): string {
  const variables = datastoreId === null ? { query, timeZone } : { query, datastoreId, timeZone };
  return `${DOCUMENT}\n\n# Variables\n${JSON.stringify(variables, null, 2)}\n`;
}

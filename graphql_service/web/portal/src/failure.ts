// What a failure says to the person: what has happened, and what to do about it.

import { ApiError } from "./api.ts";
import { h } from "./elements.ts";

export interface Remedies {
  retry(): void;
  signIn(): void;
  withoutSort(): void;
  chooseDatastore(): void;
  focusQuery(): void;
}

interface Advice {
  readonly title: string;
  readonly advice: string;
  /** Where the service's own words are for programs, and add nothing for a person. */
  readonly alone?: boolean;
  readonly remedy?: keyof Remedies;
  readonly label?: string;
}

const RETRY = { remedy: "retry", label: "Try again" } as const;

const ADVICE: Readonly<Record<string, Advice>> = {
  UNAUTHENTICATED: {
    title: "Sign in to search",
    advice: "This service wants a key or an access token. Whoever runs it can give you one.",
    alone: true,
    remedy: "signIn",
    label: "Enter a token",
  },
  ACCESS_DENIED: {
    title: "You may not see this",
    advice: "Ask whoever runs the service for access to this data store.",
    remedy: "signIn",
    label: "Use another token",
  },
  THROTTLED: { title: "Too many requests", advice: "The store is asked too much just now.", ...RETRY },
  OVERLOADED: { title: "The service is busy", advice: "Too many people search just now.", ...RETRY },
  SCAN_BUDGET: {
    title: "The search is too wide for this store",
    advice: "Narrow it by patient, study, series or a range of dates, which the store itself can look up.",
    remedy: "focusQuery",
    label: "Change the search",
  },
  STORE_TIMEOUT: {
    title: "The store took too long",
    advice: "Try again, or narrow the search by patient, study or dates.",
    ...RETRY,
  },
  STORE_UNAVAILABLE: {
    title: "The store does not answer",
    advice: "If this stays, tell whoever runs the service.",
    ...RETRY,
  },
  DATASTORE_NOT_ACTIVE: { title: "The data store is not ready", advice: "It is being made or deleted.", ...RETRY },
  DATASTORE_NOT_FOUND: {
    title: "Which data store?",
    advice: "Choose the one to search.",
    alone: true,
    remedy: "chooseDatastore",
    label: "Choose a data store",
  },
  UNSUPPORTED_SEARCH: {
    title: "This store cannot answer that exactly",
    advice: "",
    remedy: "withoutSort",
    label: "Search without the order",
  },
  INVALID_QUERY: {
    title: "The search has a problem",
    advice: "It is underlined in the search box.",
    remedy: "focusQuery",
    label: "Go to the search box",
  },
  INVALID_CURSOR: { title: "This page can no longer be continued", advice: "Search again from the start.", ...RETRY },
  LIMIT_EXCEEDED: { title: "That is more than one request may ask", advice: "Ask for less, then try again.", ...RETRY },
  NETWORK: { title: "No connection", advice: "", ...RETRY },
};

const OTHER: Advice = {
  title: "Something went wrong",
  advice: "Nothing was changed. If this stays, tell whoever runs the service.",
  ...RETRY,
};

export function toApiError(error: unknown): ApiError {
  return error instanceof ApiError ? error : new ApiError("INTERNAL", "The page itself has failed: reload it.");
}

/** The state that stands in place of results. Where the service says how long to wait, it waits and tries again. */
export function describeFailure(error: ApiError, remedies: Remedies): HTMLElement {
  const { title, advice, alone, remedy, label } = ADVICE[error.code] ?? OTHER;
  const button = remedy && h("button", { type: "button", class: "primary", onclick: () => remedies[remedy]() }, label);
  const element = h(
    "div",
    { class: "state failure", role: "alert", "data-code": error.code },
    h("h2", {}, title),
    !alone && h("p", {}, error.message),
    advice && h("p", { class: alone ? "" : "hint" }, advice),
    button,
  );
  if (error.retryAfter !== null && button && remedy === "retry") {
    countDown(Math.max(1, Math.ceil(error.retryAfter)), element, button, remedies);
  }
  return element;
}

function countDown(seconds: number, element: HTMLElement, button: HTMLButtonElement, remedies: Remedies): void {
  let left = seconds;
  const note = h("p", { class: "hint countdown", "aria-live": "off" });
  button.before(note);
  const tell = () => {
    note.textContent = `Tries again in ${left} ${left === 1 ? "second" : "seconds"}.`;
  };
  tell();
  const timer = setInterval(() => {
    left -= 1;
    if (!element.isConnected) clearInterval(timer);
    else if (left > 0) tell();
    else {
      clearInterval(timer);
      remedies.retry();
    }
  }, 1000);
}

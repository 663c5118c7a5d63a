// The one way to the service: GraphQL over fetch, with every failure as one error type that has a stable code.

/** A failure with the service's own code, or one of ours: NETWORK, BAD_ANSWER, HTTP_ERROR. */
export class ApiError extends Error {
  readonly code: string;
  /** Seconds to wait before asking again, where the service says so. */
  readonly retryAfter: number | null;
  readonly problems: readonly Problem[];

  constructor(code: string, message: string, more: { retryAfter?: number | null; problems?: readonly Problem[] } = {}) {
    super(message);
    this.name = "ApiError";
    this.code = code;
    this.retryAfter = more.retryAfter ?? null;
    this.problems = more.problems ?? [];
  }
}

export interface Fix {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

export interface Problem {
  readonly code: string;
  readonly message: string;
  readonly start: number;
  readonly end: number;
  readonly utf16Start: number;
  readonly utf16End: number;
  readonly suggestions: readonly string[];
  readonly fix: Fix | null;
}

export const PROBLEM = "code message start end utf16Start utf16End suggestions fix { start end text }";

/** The text with a fix made. Fixes count code points, as the service does. */
export function applyFix(text: string, fix: Fix): string {
  const points = Array.from(text);
  return points.slice(0, fix.start).join("") + fix.text + points.slice(fix.end).join("");
}

export interface Connection {
  /** The address of /graphql. */
  endpoint: string;
  /** A bearer token, kept in memory alone. */
  token: string | null;
}

interface Answer {
  readonly data?: unknown;
  readonly errors?: readonly { readonly message: string; readonly extensions?: Record<string, unknown> }[];
}

export type Parse = (text: string) => unknown;

/** The `data` of one operation. Raises ApiError; an abort raises what fetch raises (an AbortError). */
export async function ask<Data>(
  to: Connection,
  query: string,
  variables: Record<string, unknown>,
  signal?: AbortSignal,
  parse: Parse = JSON.parse,
): Promise<Data> {
  const headers: Record<string, string> = { "content-type": "application/json", accept: "application/json" };
  if (to.token) headers.authorization = `Bearer ${to.token}`;
  let response: Response;
  let text: string;
  try {
    const body = JSON.stringify({ query, variables });
    response = await fetch(to.endpoint, { method: "POST", headers, body, signal: signal ?? null });
    text = await response.text();
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new ApiError("NETWORK", "The service cannot be reached. Check the connection, then try again.");
  }
  const answer = read(text, parse);
  const failure = answer?.errors?.[0];
  if (failure) throw toError(failure.message, failure.extensions ?? {}, response);
  if (!response.ok) throw toError(`The service answered with HTTP status ${response.status}.`, {}, response);
  if (!answer || answer.data === undefined) throw new ApiError("BAD_ANSWER", "What answered is not this service.");
  return answer.data as Data;
}

export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

function read(text: string, parse: Parse): Answer | null {
  try {
    const answer = parse(text);
    return typeof answer === "object" && answer !== null ? (answer as Answer) : null;
  } catch {
    return null;
  }
}

const CODES: Readonly<Record<number, string>> = {
  401: "UNAUTHENTICATED",
  403: "ACCESS_DENIED",
  429: "THROTTLED",
  503: "OVERLOADED",
};

function toError(message: string, extensions: Record<string, unknown>, response: Response): ApiError {
  const code = typeof extensions.code === "string" ? extensions.code : (CODES[response.status] ?? "HTTP_ERROR");
  const seconds = Number(extensions.retryAfter ?? response.headers.get("retry-after") ?? Number.NaN);
  return new ApiError(code, message, {
    retryAfter: Number.isFinite(seconds) ? seconds : null,
    problems: Array.isArray(extensions.problems) ? (extensions.problems as Problem[]) : [],
  });
}

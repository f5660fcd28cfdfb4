/** What a request can fail with: the server's RFC 9457 problem, or no answer at all. */

/** One mistake of a request, by field. */
export interface FieldError {
  field?: string | null;
  index?: number | null;
  reason: string;
}

export class ApiError extends Error {
  constructor(
    /** HTTP status; 0 when the server could not be reached. */
    readonly status: number,
    /** Stable code of the problem: `scope_missing`, `invalid_query`, …; `unreachable` when there was no answer. */
    readonly code: string,
    readonly detail: string,
    /** Everything the problem says besides: `column`, `length`, `hint`, `scope`. */
    readonly extra: Record<string, unknown> = {},
    readonly errors: FieldError[] = [],
  ) {
    super(detail);
    this.name = "ApiError";
  }

  get isForbidden(): boolean {
    return this.status === 403;
  }

  get isUnreachable(): boolean {
    return this.status === 0;
  }
}

/** Narrows what a failed answer holds to a problem. */
export function problemOf(status: number, body: unknown): ApiError {
  if (typeof body === "object" && body !== null && "code" in body) {
    const { code, detail, title, errors, ...extra } = body as Record<string, unknown>;
    const text = typeof detail === "string" ? detail : typeof title === "string" ? title : `HTTP ${status}`;
    return new ApiError(status, String(code), text, extra, Array.isArray(errors) ? (errors as FieldError[]) : []);
  }
  return new ApiError(status, `http_${status}`, `the server answered ${status}`);
}

/** Any thrown value as an `ApiError`; an abort is passed on as it is. */
export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  return new ApiError(0, "unreachable", error instanceof Error ? error.message : "the server did not answer");
}

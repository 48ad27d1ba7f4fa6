import type { HttpRequest } from "./exchange.ts";

/** A request that was sent, or what came of it; without whatever may be a secret in it. */
export interface HttpStep {
  readonly event: "request" | "response" | "failed";
  readonly method: string;
  /** Without a user; of the query, only what the API of registries and token servers has in it. */
  readonly url: string;
  readonly status?: number;
  /** Those that say something of content, in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  /** Since the request. */
  readonly elapsedMs?: number;
}

/** Told of each step; must not throw. */
export type HttpWatcher = (step: HttpStep) => void;

/** Named one by one: what else there is may name its bearer. */
const SHOWN_HEADERS = [
  "accept",
  "accept-ranges",
  "content-length",
  "content-range",
  "content-type",
  "docker-content-digest",
  "docker-distribution-api-version",
  "etag",
  "oci-filters-applied",
  "oci-subject",
  "range",
  "retry-after",
  "server",
  "user-agent",
];
const SHOWN_QUERY: ReadonlySet<string> = new Set(["artifactType", "digest", "from", "mount", "ns", "scope", "service"]);
const HIDDEN = "…";

/** This tells of a request, and returns what tells of its end. */
export function beginStep(watch: HttpWatcher, request: Pick<HttpRequest, "method" | "url" | "headers">) {
  const { method } = request;
  const url = shownUrl(request.url);
  const started = performance.now();
  watch({ event: "request", method, url, headers: shownHeaders((name) => request.headers[name]) });
  const elapsedMs = (): number => Math.round(performance.now() - started);
  return {
    answered: (status: number, header: (name: string) => string | undefined): void =>
      watch({ event: "response", method, url, status, headers: shownHeaders(header), elapsedMs: elapsedMs() }),
    failed: (): void => watch({ event: "failed", method, url, headers: {}, elapsedMs: elapsedMs() }),
  };
}

function shownUrl({ origin, pathname, searchParams }: URL): string {
  const query = [...searchParams].map(([name, value]) => {
    const shown = SHOWN_QUERY.has(name)
      ? encodeURIComponent(value).replaceAll(/%(?:2F|3A|2C)/g, decodeURIComponent)
      : HIDDEN;
    return `${encodeURIComponent(name)}=${shown}`;
  });
  return `${origin}${pathname}${query.length === 0 ? "" : `?${query.join("&")}`}`;
}

function shownHeaders(header: (name: string) => string | readonly string[] | undefined): Record<string, string> {
  return Object.fromEntries(
    SHOWN_HEADERS.flatMap((name) => {
      const value = header(name);
      return value === undefined ? [] : [[name, String(value)]];
    }),
  );
}

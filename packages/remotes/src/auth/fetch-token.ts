import { readBytes } from "@berth/core/read-bytes";
import { failedPrecondition, internal, unauthenticated } from "@berth/errors";
import { z } from "zod";

import type { Credentials } from "../hosts/registry-host.ts";
import type { HttpResponse, PoolOf } from "../http/exchange.ts";
import { exchange, printable } from "../http/exchange.ts";

const CLIENT_ID = "containerd-client";
const MAX_TOKEN_ANSWER_BYTES = 1024 * 1024;
/** A token that is about to end is not worth a request. */
const MARGIN_MS = 5000;
const FALL_BACK_TO_GET: ReadonlySet<number> = new Set([400, 401, 404, 405]);

const answerSchema = z.object({
  token: z.string().nullish(),
  access_token: z.string().nullish(),
  expires_in: z.number().nullish(),
});

/** What a registry asks for: where its token server is, and for what. */
export interface TokenRequest {
  readonly realm: URL;
  readonly service: string;
  readonly scopes: readonly string[];
  readonly credentials: Credentials | undefined;
  /** Of the host that sent the challenge. */
  readonly headers: ReadonlyMap<string, readonly string[]>;
  readonly signal?: AbortSignal | undefined;
}

/** A bearer token. */
export interface Token {
  readonly value: string;
  /** Milliseconds since 1970; infinity for a token that does not end. */
  readonly expiresAt: number;
}

/**
 * This gets a token: by OAuth2's POST with credentials, falling back to GET where the server knows only that; anonymously without.
 *
 * @throws unauthenticated - the server refuses; failed_precondition - its answer is no token
 * @see containerd core/remotes/docker/auth/fetch.go
 */
export async function fetchToken(poolOf: PoolOf, request: TokenRequest): Promise<Token> {
  const { credentials } = request;
  if (credentials !== undefined && credentials.secret !== "") {
    const response = await postForToken(poolOf, request, credentials);
    if (response.status === 200) return await readToken(response);
    // A refresh token means nothing to a server that takes only names and passwords.
    const fallsBack = FALL_BACK_TO_GET.has(response.status) && credentials.username !== "";
    if (!fallsBack) throw await refusal(response);
    await response.discard();
  }
  const response = await getToken(poolOf, request);
  if (response.status !== 200) throw await refusal(response);
  return await readToken(response);
}

async function postForToken(poolOf: PoolOf, request: TokenRequest, credentials: Credentials): Promise<HttpResponse> {
  const { username, secret } = credentials;
  const form = new URLSearchParams({ client_id: CLIENT_ID, service: request.service });
  if (request.scopes.length > 0) form.set("scope", request.scopes.join(" "));
  if (username === "") {
    form.set("grant_type", "refresh_token");
    form.set("refresh_token", secret);
  } else {
    form.set("grant_type", "password");
    form.set("username", username);
    form.set("password", secret);
  }
  const bytes = new TextEncoder().encode(form.toString());
  return await exchange(poolOf, {
    method: "POST",
    url: request.realm,
    headers: {
      ...Object.fromEntries(request.headers),
      "content-type": "application/x-www-form-urlencoded; charset=utf-8",
    },
    body: { length: bytes.length, open: () => oneChunk(bytes) },
    isSecret: true,
    signal: request.signal,
  });
}

async function getToken(poolOf: PoolOf, request: TokenRequest): Promise<HttpResponse> {
  const url = new URL(request.realm);
  if (request.service !== "") url.searchParams.append("service", request.service);
  for (const scope of request.scopes) url.searchParams.append("scope", scope);
  const { credentials } = request;
  const authorization =
    credentials === undefined || credentials.secret === "" ? {} : { authorization: basicAuthorization(credentials) };
  return await exchange(poolOf, {
    method: "GET",
    url,
    headers: { ...Object.fromEntries(request.headers), ...authorization },
    signal: request.signal,
  });
}

/** This returns the value of a header for Basic authentication. */
export function basicAuthorization({ username, secret }: Credentials): string {
  return `Basic ${Buffer.from(`${username}:${secret}`).toString("base64")}`;
}

async function* oneChunk(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield bytes;
}

async function readToken(response: HttpResponse): Promise<Token> {
  const where = `token server ${printable(response.url)}`;
  const bytes = await readBytes(response.body, MAX_TOKEN_ANSWER_BYTES, `answer of ${where}`);
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch {
    // Not quoted: half of a token is still a secret.
    throw failedPrecondition(`${where} did not answer with JSON`);
  }
  const answer = answerSchema.safeParse(json);
  if (!answer.success) throw failedPrecondition(`${where} did not answer with a token`);
  const { token, access_token: accessToken, expires_in: expiresInS } = answer.data;
  const value = accessToken || token || "";
  if (value === "" || /[^\x21-\x7e]/.test(value)) throw failedPrecondition(`${where} did not answer with a token`);
  const lifeMs = (expiresInS ?? 0) * 1000;
  return { value, expiresAt: lifeMs > 0 ? Date.now() + Math.max(lifeMs - MARGIN_MS, lifeMs / 2) : Infinity };
}

async function refusal(response: HttpResponse): Promise<Error> {
  await response.discard();
  const text = `token server ${printable(response.url)} answered ${response.status}`;
  if (response.status >= 500) return internal(text);
  return unauthenticated(`${text}: the user or the password may be wrong, or the image private`);
}

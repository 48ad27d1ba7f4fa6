import { createPrivateKey, randomUUID, sign, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

import { makeCertificate } from "../certificate.ts";
import { temporaryDirectory } from "../temporary-directory.ts";
import { REGISTRY_USER } from "./registry.ts";

const SERVICE = "registry.test";
const ISSUER = "token server of the tests";
const PUBLIC = "public/";
/** So long after their end docker-registry takes tokens. */
const LEEWAY_S = 60;

/** One question for a token, and the status of the answer. */
export interface TokenAsk {
  readonly grant: "anonymous" | "basic" | "password" | "refresh_token" | "unknown";
  readonly scopes: readonly string[];
  readonly status: number;
}

/**
 * A token server whose tokens Debian's `docker-registry` takes: for {@link REGISTRY_USER} by GET with Basic authentication and by OAuth2's POST with
 * the password or the refresh token, for all that is asked; for nobody in particular to pull from repositories below `public/`.
 * Disposing it cuts its connections.
 */
export interface TokenServer extends AsyncDisposable {
  readonly realm: string;
  readonly service: string;
  readonly issuer: string;
  /** Path of what its tokens are verified with. */
  readonly certificates: string;
  readonly refreshToken: string;
  readonly asked: TokenAsk[];
  /** Seconds that the tokens count at least, from when they are given, and up to one more; 300. */
  lifetimeS: number;
  /** What they are said to count, if it is not that. */
  toldLifetimeS: number | undefined;
  /** Whether it answers POST, which the older servers do not know; true. */
  knowsPost: boolean;
}

/** This starts a token server on a port of this machine. */
export async function startTokenServer(): Promise<TokenServer> {
  await using undo = new AsyncDisposableStack();
  const directory = undo.use(await temporaryDirectory("tokens")).path;
  const files = await makeCertificate(directory);
  const signer = await readSigner(files);
  const server = createServer((request, response) => {
    void readQuestion(request, tokens).then(({ grant, scopes }) => {
      const status = statusOf(grant, tokens);
      tokens.asked.push({ grant, scopes, status });
      response.writeHead(status, { "content-type": "application/json" });
      response.end(status === 200 ? JSON.stringify(answerTo(scopes, grant === "anonymous", { tokens, signer })) : "{}");
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  undo.defer(() => {
    server.closeAllConnections();
    server.close();
  });
  const owned = undo.move();
  const tokens: TokenServer = {
    // A server that listens on a port has such an address.
    realm: `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`,
    service: SERVICE,
    issuer: ISSUER,
    certificates: files.certificate,
    refreshToken: randomUUID(),
    asked: [],
    lifetimeS: 300,
    toldLifetimeS: undefined,
    knowsPost: true,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
  return tokens;
}

type Question = Pick<TokenAsk, "grant" | "scopes">;

async function readQuestion(request: IncomingMessage, { refreshToken }: TokenServer): Promise<Question> {
  const { username, secret } = REGISTRY_USER;
  if (request.method === "POST") {
    const form = new URLSearchParams(Buffer.concat(await Array.fromAsync(request)).toString());
    const scopes = (form.get("scope") ?? "").split(" ").filter(Boolean);
    const isUser = form.get("username") === username && form.get("password") === secret;
    if (form.get("grant_type") === "password") return { grant: isUser ? "password" : "unknown", scopes };
    return { grant: form.get("refresh_token") === refreshToken ? "refresh_token" : "unknown", scopes };
  }
  const scopes = new URL(request.url ?? "", "http://tokens").searchParams.getAll("scope");
  const { authorization } = request.headers;
  if (authorization === undefined) return { grant: "anonymous", scopes };
  const isUser = authorization === `Basic ${Buffer.from(`${username}:${secret}`).toString("base64")}`;
  return { grant: isUser ? "basic" : "unknown", scopes };
}

function statusOf(grant: TokenAsk["grant"], { knowsPost }: TokenServer): number {
  if (!knowsPost && (grant === "password" || grant === "refresh_token")) return 404;
  return grant === "unknown" ? 401 : 200;
}

interface Signer {
  readonly certificate: string;
  sign(text: string): string;
}

async function readSigner(files: { readonly certificate: string; readonly key: string }): Promise<Signer> {
  const key = createPrivateKey(await readFile(files.key));
  const { raw } = new X509Certificate(await readFile(files.certificate));
  return {
    certificate: raw.toString("base64"),
    sign: (text) => sign("sha256", Buffer.from(text), { key, dsaEncoding: "ieee-p1363" }).toString("base64url"),
  };
}

function answerTo(
  scopes: readonly string[],
  isAnonymous: boolean,
  { tokens, signer }: { readonly tokens: TokenServer; readonly signer: Signer },
): unknown {
  const now = Math.floor(Date.now() / 1000);
  const access = scopes.map((scope) => {
    const [type = "", name = "", actions = ""] = scope.split(":");
    const wanted = actions.split(",");
    const isAllowed = (action: string): boolean => !isAnonymous || (action === "pull" && name.startsWith(PUBLIC));
    return { type, name, actions: wanted.filter(isAllowed) };
  });
  const claims = {
    iss: ISSUER,
    sub: isAnonymous ? "" : REGISTRY_USER.username,
    aud: SERVICE,
    iat: now,
    nbf: now - 2 * LEEWAY_S,
    // Whole seconds: never less than they are to count, and less than one more.
    exp: Math.ceil(Date.now() / 1000) + tokens.lifetimeS - LEEWAY_S,
    jti: randomUUID(),
    access,
  };
  const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const text = `${encode({ typ: "JWT", alg: "ES256", x5c: [signer.certificate] })}.${encode(claims)}`;
  const token = `${text}.${signer.sign(text)}`;
  return { token, access_token: token, expires_in: tokens.toldLifetimeS ?? tokens.lifetimeS };
}

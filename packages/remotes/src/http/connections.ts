import { readFileSync } from "node:fs";
import { getCACertificates } from "node:tls";

import { failedPrecondition, messageOf } from "@berth/errors";
import type { Dispatcher } from "undici";
import { Agent, ProxyAgent } from "undici";

import type { RegistryHost } from "../hosts/registry-host.ts";
import { isOwnUrl } from "../hosts/registry-host.ts";
import { readEnvironmentProxies } from "./environment-proxy.ts";
import type { Pool } from "./exchange.ts";
import type { HttpWatcher } from "./http-step.ts";

/** How long something may be waited for, in milliseconds. */
export interface RegistryTimeouts {
  /** For a connection to a host whose `hosts.toml` names no `dial_timeout`; 30,000. */
  readonly connectMs?: number;
  /** For an answer to begin, once all is sent, and for the other side to take the next bytes of what is sent; 30,000. */
  readonly answerMs?: number;
  /** For the next bytes of an answer, which may take hours as a whole; 60,000. */
  readonly progressMs?: number;
  /** For a token, however its server goes on meanwhile; 30,000. */
  readonly tokenMs?: number;
}

const CONNECT_MS = 30_000;
const ANSWER_MS = 30_000;
const PROGRESS_MS = 60_000;
const IDLE_MS = 30_000;
const MAX_CONNECTIONS = 10;

/**
 * Connections to registries, one pool for each way of connecting (certificates, proxy, dial timeout). Proxies come from the host's settings, else
 * from the environment (`HTTPS_PROXY`, `NO_PROXY`), which is read once. Disposing it closes them, whatever they do.
 */
export class Connections implements AsyncDisposable {
  readonly #pools = new Map<string, Dispatcher>();
  readonly #timeouts: RegistryTimeouts;
  readonly #watch: HttpWatcher | undefined;
  readonly #environmentProxy = readEnvironmentProxies(process.env);

  constructor(timeouts: RegistryTimeouts = {}, watch?: HttpWatcher) {
    this.#timeouts = timeouts;
    this.#watch = watch;
  }

  /** This returns the pool for a URL that a host is asked by, or that it names; it belongs to this object. */
  poolFor(host: RegistryHost, url: URL): Pool {
    const place = placeOf(host, url);
    const proxy = place.proxy ?? this.#environmentProxy(url);
    const key = JSON.stringify([place.tls, proxy, place.dialTimeoutMs, place.isSecure]);
    let dispatcher = this.#pools.get(key);
    if (dispatcher === undefined) {
      dispatcher = openPool(place, proxy, this.#timeouts);
      this.#pools.set(key, dispatcher);
    }
    return { dispatcher, watch: this.#watch };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const pools = [...this.#pools.values()];
    this.#pools.clear();
    await Promise.all(pools.map((pool) => pool.destroy()));
  }
}

/** Where a request goes, and how. */
interface Place extends Pick<RegistryHost, "host" | "tls" | "proxy" | "dialTimeoutMs"> {
  readonly isSecure: boolean;
}

/**
 * Our certificate, and that anybody is believed to be the host, are for the host alone. Where it sends us, its authorities count too: who has its own for a registry has them for
 * what stores its blobs.
 */
function placeOf(host: RegistryHost, url: URL): Place {
  const isSecure = url.protocol === "https:";
  if (isOwnUrl(host, url)) return { ...host, isSecure };
  const { tls, ...route } = host;
  const authorities = tls?.authorities ?? [];
  const elsewhere = { ...route, host: url.host, isSecure };
  if (authorities.length === 0) return elsewhere;
  return { ...elsewhere, tls: { authorities, clientCertificates: [], skipVerify: false } };
}

function openPool(host: Place, proxy: string | undefined, timeouts: RegistryTimeouts): Dispatcher {
  const { connectMs = CONNECT_MS, answerMs = ANSWER_MS, progressMs = PROGRESS_MS } = timeouts;
  const { dialTimeoutMs } = host;
  const secure = tlsOptions(host);
  const options = {
    connect: { timeout: dialTimeoutMs ?? connectMs, ...secure },
    // What a proxy tunnels is connected to with the host's certificates, not the proxy's.
    requestTls: secure,
    allowH2: true,
    connections: MAX_CONNECTIONS,
    headersTimeout: answerMs,
    bodyTimeout: progressMs,
    keepAliveTimeout: IDLE_MS,
  };
  if (proxy === undefined) return new Agent(options);
  try {
    return new ProxyAgent({ ...options, uri: proxy });
  } catch {
    // Not quoted: it may hold a password.
    throw failedPrecondition(`the proxy for ${host.host} is no URL: see HTTP_PROXY and HTTPS_PROXY, or its hosts.toml`);
  }
}

function tlsOptions({ tls, isSecure }: Place) {
  const { authorities = [], clientCertificates = [], skipVerify = false } = tls ?? {};
  return {
    rejectUnauthorized: !skipVerify,
    // Reading those of the system takes a while, which a host without TLS does not cost, nor one that anybody may be.
    ...(isSecure && !skipVerify && { ca: [...knownAuthorities(), ...authorities] }),
    ...(clientCertificates.length > 0 && {
      cert: clientCertificates.map(({ certificate }) => certificate),
      key: clientCertificates.map(({ key }) => key),
    }),
  };
}

let known: readonly string[] | undefined;

/** Node knows the authorities that it was built with; an operator adds to those of the system. */
function knownAuthorities(): readonly string[] {
  known ??= [...new Set([...getCACertificates("default"), ...getCACertificates("system"), ...extraAuthorities()])];
  return known;
}

/** `NODE_EXTRA_CA_CERTS` for a program that is started without it, as `ctr` is: Node would read the file at every start. */
function extraAuthorities(): readonly string[] {
  const path = process.env["BERTH_EXTRA_CA_CERTS"] ?? "";
  if (path === "") return [];
  try {
    return [readFileSync(path, "utf8")];
  } catch (error) {
    // As Node does with its own.
    process.emitWarning(`Ignoring extra certs from \`${path}\`, load failed: ${messageOf(error)}`);
    return [];
  }
}

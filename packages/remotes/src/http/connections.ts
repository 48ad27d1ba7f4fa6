import { getCACertificates } from "node:tls";

import type { Dispatcher } from "undici";
import { EnvHttpProxyAgent, ProxyAgent } from "undici";

import type { RegistryHost } from "../hosts/registry-host.ts";

const DIAL_TIMEOUT_MS = 30_000;
const HEADERS_TIMEOUT_MS = 30_000;
/** A body may take hours, but some bytes must come. */
const NO_PROGRESS_MS = 60_000;
const IDLE_MS = 30_000;
const MAX_CONNECTIONS = 10;

/**
 * Connections to registries, one pool for each way of connecting (certificates, proxy, dial timeout). Proxies come from the host's settings, else
 * from the environment (`HTTPS_PROXY`, `NO_PROXY`). Disposing it closes them, whatever they do.
 */
export class Connections implements AsyncDisposable {
  readonly #pools = new Map<string, Dispatcher>();

  /** This returns the pool for a host; it belongs to this object. */
  poolFor(host: RegistryHost): Dispatcher {
    const key = JSON.stringify([host.tls, host.proxy, host.dialTimeoutMs]);
    let pool = this.#pools.get(key);
    if (pool === undefined) {
      pool = openPool(host);
      this.#pools.set(key, pool);
    }
    return pool;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const pools = [...this.#pools.values()];
    this.#pools.clear();
    await Promise.all(pools.map((pool) => pool.destroy()));
  }
}

function openPool({ tls, proxy, dialTimeoutMs }: RegistryHost): Dispatcher {
  const secure = tls === undefined ? {} : tlsOptions(tls);
  const options = {
    connect: { timeout: dialTimeoutMs ?? DIAL_TIMEOUT_MS, ...secure },
    // What a proxy tunnels is connected to with the host's certificates, not the proxy's.
    requestTls: secure,
    allowH2: true,
    connections: MAX_CONNECTIONS,
    headersTimeout: HEADERS_TIMEOUT_MS,
    bodyTimeout: NO_PROGRESS_MS,
    keepAliveTimeout: IDLE_MS,
  };
  return proxy === undefined ? new EnvHttpProxyAgent(options) : new ProxyAgent({ ...options, uri: proxy });
}

function tlsOptions({ authorities, clientCertificates, skipVerify }: NonNullable<RegistryHost["tls"]>) {
  return {
    rejectUnauthorized: !skipVerify,
    // Given authorities replace those of Node: the system's stay trusted beside them.
    ...(authorities.length > 0 && { ca: [...getCACertificates("default"), ...authorities] }),
    ...(clientCertificates.length > 0 && {
      cert: clientCertificates.map(({ certificate }) => certificate),
      key: clientCertificates.map(({ key }) => key),
    }),
  };
}

import type { Transport } from "@berth/client/transport";
import { createUnixTransport } from "@berth/client/transport";

/**
 * How long a call may take that nobody waits for with a signal of his own, as those of the collector. A proxy that hangs must not
 * keep it from its next run for ever; removing a large tree may take minutes.
 */
const UNATTENDED_TIMEOUT_MS = 10 * 60_000;

/** A share of a connection; disposing the last one closes it. */
export interface ProxyConnection extends AsyncDisposable {
  readonly transport: Transport;
}

/** Connections to proxies, one for each address, however many plugins are behind it. */
export class ProxyConnections {
  readonly #open = new Map<string, { readonly transport: Transport & AsyncDisposable; shares: number }>();

  /** This shares the connection to a socket: a path, or `unix://` and a path. Nothing is dialled before the first call. */
  share(address: string): ProxyConnection {
    const path = socketPath(address);
    const connection = this.#open.get(path) ?? { transport: createUnixTransport({ path }), shares: 0 };
    this.#open.set(path, connection);
    connection.shares += 1;
    let mine = true;
    return {
      transport: withTimeout(connection.transport),
      [Symbol.asyncDispose]: async () => {
        if (!mine) return;
        mine = false;
        connection.shares -= 1;
        if (connection.shares > 0) return;
        this.#open.delete(path);
        await connection.transport[Symbol.asyncDispose]();
      },
    };
  }
}

/** The path of the socket in an address. */
function socketPath(address: string): string {
  return address.replace(/^unix:\/\//, "");
}

function withTimeout(transport: Transport): Transport {
  const limit = (signal: AbortSignal | undefined, timeoutMs: number | undefined): number | undefined =>
    signal === undefined ? (timeoutMs ?? UNATTENDED_TIMEOUT_MS) : timeoutMs;
  return {
    unary: (method, signal, timeoutMs, ...rest) => transport.unary(method, signal, limit(signal, timeoutMs), ...rest),
    stream: (method, signal, timeoutMs, ...rest) => transport.stream(method, signal, limit(signal, timeoutMs), ...rest),
  };
}

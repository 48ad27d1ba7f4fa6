import { existsSync } from "node:fs";

import type { Client, ServerInfo } from "@berth/client";
import type { Transport } from "@berth/client/transport";
import { createUnixTransport } from "@berth/client/transport";
import { parseNamespace } from "@berth/core/namespaces";
import { deadlineExceeded, unavailable } from "@berth/errors";

/** The flags that stand before the command. */
export interface SessionOptions {
  readonly address: string;
  readonly namespace: string;
  /** 0 for no limit. */
  readonly timeoutMs: number;
  /** 0 for the transport's own limit. */
  readonly connectTimeoutMs: number;
  readonly debug: boolean;
}

/** One call of ctr: where its daemon is, and when it is to end. Disposing it closes the connection. */
export class Session implements AsyncDisposable {
  readonly address: string;
  readonly namespace: string;
  readonly debug: boolean;
  readonly #connectTimeoutMs: number;
  readonly #end = new AbortController();
  readonly #owned = new AsyncDisposableStack();
  #transport: Transport | undefined;
  #server: Promise<ServerInfo> | undefined;

  /** @throws invalid_argument - the namespace is no identifier */
  constructor(options: SessionOptions) {
    this.address = options.address.replace(/^unix:\/\//, "");
    this.namespace = parseNamespace(options.namespace);
    this.debug = options.debug;
    this.#connectTimeoutMs = options.connectTimeoutMs;
    if (options.timeoutMs > 0) {
      const end = (): void =>
        this.#end.abort(
          deadlineExceeded(`not done after ${options.timeoutMs / 1000} s, the limit that --timeout sets`),
        );
      const timer = setTimeout(end, options.timeoutMs);
      this.#owned.defer(() => clearTimeout(timer));
    }
  }

  /** Aborted when the time is over, or by {@link interrupt}. */
  get signal(): AbortSignal {
    return this.#end.signal;
  }

  /** This makes every call of this session fail with `reason`, so that commands clean up and end. */
  interrupt(reason: Error): void {
    this.#end.abort(reason);
  }

  /** This returns the connection. @throws unavailable - there is no socket at the address */
  transport(): Transport {
    if (this.#transport !== undefined) return this.#transport;
    if (!existsSync(this.address)) {
      throw unavailable(
        `no daemon at ${this.address}: the socket does not exist. Is berthd running? ` +
          `Another socket is chosen with --address or CONTAINERD_ADDRESS`,
      );
    }
    const transport = createUnixTransport({
      path: this.address,
      namespace: this.namespace,
      connectTimeoutMs: this.#connectTimeoutMs > 0 ? this.#connectTimeoutMs : undefined,
    });
    this.#owned.defer(() => transport.close());
    this.#transport = transport;
    if ((process.env["CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS"] ?? "") === "") {
      const warned = this.#printDeprecations();
      this.#owned.defer(() => warned);
    }
    return transport;
  }

  /** This returns a client for everything; commands that need one service only take its own door and {@link transport}. */
  async client(): Promise<Client> {
    const transport = this.transport();
    const { Client } = await import("@berth/client");
    return new Client(transport, parseNamespace(this.namespace));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned.disposeAsync();
  }

  /** This asks the daemon what it is, once for a session. */
  server(): Promise<ServerInfo> {
    const transport = this.transport();
    this.#server ??= askServer(transport, this.signal);
    return this.#server;
  }

  /** Warnings are a service on the side: a daemon that does not give them is no reason to fail. */
  async #printDeprecations(): Promise<void> {
    try {
      const { deprecations } = await this.server();
      for (const { message } of deprecations) process.stderr.write(`DEPRECATION: ${message}\n`);
    } catch {
      // The command itself reports what is wrong with the connection.
    }
  }
}

async function askServer(transport: Transport, signal: AbortSignal): Promise<ServerInfo> {
  const { createIntrospectionClient } = await import("@berth/client/introspection");
  return await createIntrospectionClient(transport).server({ signal });
}

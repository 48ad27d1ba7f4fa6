import { chmodSync } from "node:fs";
import type { Socket } from "node:net";
import { createServer, Server } from "node:net";
import type { Duplex } from "node:stream";

import type { DescService } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import type { Logger } from "@berth/core/log";
import { silentLogger } from "@berth/core/log";
import { failedPrecondition, fromSystemError, messageOf } from "@berth/errors";

import { parseTtrpcAddress } from "../address.ts";
import { ServerConnection } from "./server-connection.ts";
import type { TtrpcService } from "./service-table.ts";
import { ServiceTable, ttrpcService } from "./service-table.ts";

const DEFAULT_GRACE_MS = 5000;

/** What a server serves, and to whom. */
export interface TtrpcServerOptions {
  readonly services?: readonly TtrpcService[] | undefined;
  /** Asked for each connection before its first frame is read; a throw refuses it. */
  readonly authorize?: ((socket: Duplex) => void | Promise<void>) | undefined;
  readonly log?: Logger | undefined;
}

/** Where a server listens: a path (an address as `parseTtrpcAddress` takes it), a listening descriptor, or a server. */
export type TtrpcListenTarget = string | { readonly path: string } | { readonly fd: number } | Server;

/** One place a server listens on. Disposing it stops listening there; connections stay. */
export interface TtrpcListener extends AsyncDisposable {}

/** Serves Connect service implementations as ttrpc. Disposing it is `close` with a grace of 5 s. */
export interface TtrpcServer extends AsyncDisposable {
  /**
   * This adds a service; calls of it are answered from now on, on connections that exist as well.
   * @throws already_exists - the service has an implementation
   */
  register<S extends DescService>(service: S, implementation: Partial<ServiceImpl<S>>): void;
  /**
   * This serves a connected socket, which it then owns.
   * @throws failed_precondition - the server is closed; the socket is destroyed
   */
  serve(socket: Duplex): Promise<void>;
  /** This listens on one more place. A socket file it makes has mode 0600; one that exists is an error, not replaced. */
  listen(target: TtrpcListenTarget): Promise<TtrpcListener>;
  /** The number of open connections. */
  readonly connectionCount: number;
  /**
   * This stops listening, closes idle connections, waits up to `graceMs` for running calls and cuts the rest off. Safe to
   * call again; the second call only waits for the first.
   */
  close(options?: { readonly graceMs?: number }): Promise<void>;
}

/** This makes a server. */
export function createTtrpcServer(options: TtrpcServerOptions = {}): TtrpcServer {
  return new SocketServer(options);
}

class SocketServer implements TtrpcServer {
  readonly #table = new ServiceTable();
  readonly #authorize: NonNullable<TtrpcServerOptions["authorize"]>;
  readonly #log: Logger;
  readonly #listeners = new Set<Server>();
  readonly #connections = new Set<ServerConnection>();
  #closing: Promise<void> | undefined;
  #onEmpty: (() => void) | undefined;

  constructor(options: TtrpcServerOptions) {
    this.#authorize = options.authorize ?? (() => {});
    this.#log = options.log ?? silentLogger;
    for (const service of options.services ?? []) this.#table.add(service);
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  register<S extends DescService>(service: S, implementation: Partial<ServiceImpl<S>>): void {
    this.#table.add(ttrpcService(service, implementation));
  }

  async serve(socket: Duplex): Promise<void> {
    const ignore = (): void => {};
    socket.on("error", ignore);
    try {
      await this.#authorize(socket);
    } catch (error) {
      this.#log.warn("ttrpc connection refused", { error: messageOf(error) });
      socket.destroy();
      return;
    }
    if (this.#closing !== undefined) {
      socket.destroy();
      throw failedPrecondition("ttrpc server is closed");
    }
    const connection = new ServerConnection(socket, this.#table, this.#log, () => {
      this.#connections.delete(connection);
      if (this.#connections.size === 0) this.#onEmpty?.();
    });
    this.#connections.add(connection);
  }

  async listen(target: TtrpcListenTarget): Promise<TtrpcListener> {
    const server = target instanceof Server ? target : createServer();
    server.on("connection", (socket: Socket) => void this.serve(socket).catch(() => {}));
    if (!server.listening && !(target instanceof Server)) await bind(server, target);
    // A failed accept (EMFILE) must not end the process; the listener goes on.
    server.on("error", (error) => this.#log.warn("ttrpc listener failed", { error: messageOf(error) }));
    this.#listeners.add(server);
    return {
      [Symbol.asyncDispose]: async () => {
        this.#listeners.delete(server);
        if (server.listening) server.close();
      },
    };
  }

  close(options: { readonly graceMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close(options.graceMs ?? DEFAULT_GRACE_MS);
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(graceMs: number): Promise<void> {
    for (const server of this.#listeners) if (server.listening) server.close();
    this.#listeners.clear();
    for (const connection of this.#connections) connection.drain();
    if (this.#connections.size > 0 && graceMs > 0) await this.#untilEmpty(graceMs);
    for (const connection of this.#connections) connection.close();
  }

  #untilEmpty(graceMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, graceMs);
      this.#onEmpty = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

async function bind(
  server: Server,
  target: string | { readonly path: string } | { readonly fd: number },
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onError = (error: Error): void => reject(fromSystemError(error) as Error); // an Error in, an Error out
  server.once("error", onError);
  server.once("listening", resolve);
  if (typeof target === "object" && "fd" in target) server.listen({ fd: target.fd });
  else {
    const path = parseTtrpcAddress(typeof target === "string" ? target : target.path);
    server.listen({ path });
    // Binding happens within `listen`: nobody connects before the mode is set.
    if (server.listening && !path.startsWith("\0")) chmodSync(path, 0o600);
  }
  await promise;
  server.off("error", onError);
}

import { Duplex } from "node:stream";

import { alreadyExists, invalidArgument } from "@berth/errors";

import { encodeMuxFrames, MuxFrameParser } from "./mux-frame.ts";

/** How long a peer may take to read what it was sent before the end. */
const SEND_GRACE_MS = 1000;

/** The connections that both sides know of. */
export const MuxConnection = { plugin: 1, runtime: 2 } as const;

/**
 * Several connections over one, each way, by number. Opening one says nothing to the other side, and closing one neither: only the end of
 * the whole is seen there.
 *
 * It owns the socket. What comes for a number that nobody has opened is dropped. While one connection is not read, none is: a peer waits,
 * and nothing piles up.
 *
 * @see containerd nri pkg/net/multiplex/mux.go
 */
export class Multiplexer {
  readonly #trunk: Duplex;
  readonly #connections = new Map<number, Connection>();
  readonly #unread = new Set<Connection>();
  readonly #end = Promise.withResolvers<Error | undefined>();
  #isClosed = false;

  constructor(trunk: Duplex) {
    this.#trunk = trunk;
    const parser = new MuxFrameParser((id, bytes) => this.#deliver(id, bytes));
    trunk.on("data", (chunk: Uint8Array) => {
      try {
        parser.push(chunk);
      } catch (error) {
        // The parser throws a ConnectError.
        this.#finish(error as Error);
      }
    });
    trunk.on("end", () => this.close());
    trunk.on("error", (error) => this.#finish(error));
    trunk.on("close", () => this.close());
  }

  /** Resolves when the whole has ended, with the error that ended it, if any. */
  get closed(): Promise<Error | undefined> {
    return this.#end.promise;
  }

  /**
   * This opens a connection: each write to it must be one whole ttrpc message.
   * @throws invalid_argument - 0 is reserved
   * @throws already_exists - it is open
   */
  open(id: number): Duplex {
    if (id === 0) throw invalidArgument("multiplexed connection 0 is reserved");
    if (this.#connections.has(id)) throw alreadyExists(`multiplexed connection ${id}`);
    const connection = new Connection({
      write: (message, done) => this.#write(id, message, done),
      resume: () => {
        if (this.#unread.delete(connection) && this.#unread.size === 0) this.#trunk.resume();
      },
      forget: () => {
        this.#connections.delete(id);
        if (this.#unread.delete(connection) && this.#unread.size === 0) this.#trunk.resume();
      },
    });
    this.#connections.set(id, connection);
    if (this.#isClosed) connection.destroy();
    return connection;
  }

  /** This ends all connections and the socket; safe to call twice. */
  close(): void {
    this.#finish(undefined);
  }

  #deliver(id: number, bytes: Uint8Array): void {
    const connection = this.#connections.get(id);
    if (connection === undefined || connection.push(bytes)) return;
    this.#unread.add(connection);
    this.#trunk.pause();
  }

  #write(id: number, message: Uint8Array, done: (error?: Error | null) => void): void {
    const frames = encodeMuxFrames(id, message);
    this.#trunk.cork();
    for (const frame of frames.slice(0, -1)) this.#trunk.write(frame);
    this.#trunk.write(frames.at(-1), done);
    this.#trunk.uncork();
  }

  #finish(error: Error | undefined): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const connection of this.#connections.values()) connection.destroy();
    // What was written is sent, unless the peer does not take it.
    if (error === undefined && this.#trunk.writable) this.#trunk.end(() => this.#trunk.destroy());
    if (error !== undefined || this.#trunk.writableLength === 0) this.#trunk.destroy();
    else this.#destroyLater();
    this.#end.resolve(error);
  }

  #destroyLater(): void {
    const timer = setTimeout(() => this.#trunk.destroy(), SEND_GRACE_MS).unref();
    this.#trunk.once("close", () => clearTimeout(timer));
  }
}

interface ConnectionHooks {
  write(message: Uint8Array, done: (error?: Error | null) => void): void;
  resume(): void;
  forget(): void;
}

class Connection extends Duplex {
  readonly #hooks: ConnectionHooks;

  constructor(hooks: ConnectionHooks) {
    super();
    this.#hooks = hooks;
  }

  override _read(): void {
    this.#hooks.resume();
  }

  override _write(message: Uint8Array, _encoding: string, done: (error?: Error | null) => void): void {
    this.#hooks.write(message, done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#hooks.forget();
    done(error);
  }
}

import type { ClientHttp2Session } from "node:http2";
import { connect as connectHttp2 } from "node:http2";
import { connect as connectSocket } from "node:net";

import { canceled, messageOf, unavailable } from "@berth/errors";

const WINDOW_BYTES = 8 * 1024 * 1024;
/**
 * What may be under way to this client on the connection. Node reads nothing from a connection while a write on it waits: when two peers
 * of Node fill the socket's buffers both ways, neither goes on. As long as this fits such a buffer (208 KiB for a unix socket, of which
 * some is the kernel's own), the server's writes end, so that it reads. Node takes bytes off this window as they come, whether the
 * stream is read or not, so that no stream holds up another.
 */
const SESSION_WINDOW_BYTES = 128 * 1024;

/**
 * Holds one HTTP/2 connection to a unix socket: made at the first call, kept while it lives, made anew at the next call
 * after it went away. Idle, it does not keep the process alive.
 */
export class SessionKeeper {
  readonly #path: string;
  readonly #connectTimeoutMs: number;
  readonly #onClose: (() => void) | undefined;
  #session: ClientHttp2Session | undefined;
  /** Settled when the peer of the newest session has said something, or never will. */
  #heard: Promise<void> | undefined;
  #opening: Promise<ClientHttp2Session> | undefined;
  #calls = 0;
  #closed = false;

  constructor(path: string, connectTimeoutMs: number, onClose?: () => void) {
    this.#path = path;
    this.#connectTimeoutMs = connectTimeoutMs;
    this.#onClose = onClose;
  }

  /** The session if there is a usable one, so that a call need not wait a turn for it. */
  get current(): ClientHttp2Session | undefined {
    // The calls of one that was cut off fail before its end is told.
    return this.#session?.destroyed === true ? undefined : this.#session;
  }

  /**
   * This returns a connected session.
   * @throws unavailable - nobody answers on the socket in time
   * @throws canceled - the keeper is closed
   */
  async open(): Promise<ClientHttp2Session> {
    if (this.#closed) throw canceled("transport is closed");
    const { current } = this;
    if (current !== undefined) return current;
    this.#opening ??= this.#dial().finally(() => {
      this.#opening = undefined;
    });
    return await this.#opening;
  }

  /** This opens a session, and waits until its peer speaks. @throws as {@link open} */
  async connect(): Promise<void> {
    await this.open();
    await this.#heard;
  }

  /** This counts a call in: from now until {@link leave} the connection keeps the process alive. */
  enter(): void {
    if (this.#calls++ === 0) this.#session?.ref();
  }

  leave(): void {
    if (--this.#calls === 0) this.#session?.unref();
  }

  /** This cuts the connection; running calls fail. */
  close(): void {
    this.#closed = true;
    this.#session?.destroy();
    this.#session = undefined;
  }

  async #dial(): Promise<ClientHttp2Session> {
    const { promise, resolve, reject } = Promise.withResolvers<ClientHttp2Session>();
    const session = connectHttp2("http://localhost", {
      createConnection: () => connectSocket({ path: this.#path }),
      settings: { initialWindowSize: WINDOW_BYTES, enablePush: false },
      maxSessionMemory: 1024,
    });
    let timer: NodeJS.Timeout | undefined = setTimeout(() => {
      reject(unavailable(`connect to ${this.#path}: no answer within ${this.#connectTimeoutMs} ms`));
      session.destroy();
    }, this.#connectTimeoutMs);
    session.on("error", (error) => {
      if (timer !== undefined) reject(unavailable(`connect to ${this.#path}: ${messageOf(error)}`, { cause: error }));
    });
    session.once("connect", () => resolve(session));
    const drop = (): void => {
      if (this.#session === session) this.#session = undefined;
      // An error made for nobody would cost a short-lived process 20 ms: it loads what is behind `Headers`.
      if (timer !== undefined) reject(unavailable(`connect to ${this.#path}: connection closed`));
    };
    session.once("goaway", drop);
    session.once("close", drop);
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      timer = undefined;
    }
    session.setLocalWindowSize(SESSION_WINDOW_BYTES);
    this.#heard = this.#expectSettings(session);
    this.#heard.catch(() => {}); // calls do not wait for it
    return this.#adopt(session);
  }

  /** A server begins by its settings. Calls do not wait for them; but one that says nothing is not waited for either. */
  async #expectSettings(session: ClientHttp2Session): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const silent = setTimeout(
      () => session.destroy(unavailable(`connect to ${this.#path}: no answer within ${this.#connectTimeoutMs} ms`)),
      this.#connectTimeoutMs,
    );
    silent.unref();
    // As above: no error is made for nobody.
    const close = (): void => reject(unavailable(`connect to ${this.#path}: connection closed`));
    session.once("close", close);
    session.once("remoteSettings", () => {
      session.off("close", close);
      resolve();
    });
    await promise.finally(() => clearTimeout(silent));
  }

  #adopt(session: ClientHttp2Session): ClientHttp2Session {
    if (this.#closed) {
      session.destroy();
      throw canceled("transport is closed");
    }
    this.#session = session;
    if (this.#onClose !== undefined) session.once("close", this.#onClose);
    if (this.#calls === 0) session.unref();
    return session;
  }
}

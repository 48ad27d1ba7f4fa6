import * as http from "node:http";
import * as http2 from "node:http2";
import type { Socket } from "node:net";

import type { Logger } from "@berth/core/log";
import { messageOf } from "@berth/errors";

import { switchProtocol } from "./protocol-switch.ts";

const WINDOW_BYTES = 8 * 1024 * 1024;
const SESSION_WINDOW_BYTES = 16 * 1024 * 1024;
const FIRST_BYTES_DEADLINE_MS = 10_000;
const ignore = (): void => {};

/** What answers the requests of a connection. */
export interface RequestTargets {
  stream(stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders): void;
  request(request: http.IncomingMessage, response: http.ServerResponse): void;
}

/**
 * Connections of all listeners of a server: HTTP/2 and HTTP/1.1 on one socket, told apart by their first bytes.
 *
 * The two protocol servers never listen themselves; sockets are handed to them.
 */
export class Connections {
  readonly #http1: http.Server;
  readonly #http2: http2.Http2Server;
  readonly #sockets = new Set<Socket>();
  readonly #sessions = new Set<http2.ServerHttp2Session>();
  readonly #http2Sockets = new WeakSet<Socket>();
  readonly #requests = new WeakMap<Socket, number>();
  #closing = false;
  #empty: (() => void) | undefined;

  constructor(targets: RequestTargets, log: Logger) {
    this.#http1 = this.#makeHttp1(targets);
    this.#http2 = this.#makeHttp2(targets, log);
  }

  /** This takes a socket over, for as long as it lives. */
  accept(socket: Socket): void {
    if (this.#closing) {
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.once("close", () => {
      this.#sockets.delete(socket);
      if (this.#sockets.size === 0) this.#empty?.();
    });
    switchProtocol(
      socket,
      {
        http1: (first) => this.#http1.emit("connection", first),
        http2: (first) => {
          this.#http2Sockets.add(first);
          this.#http2.emit("connection", first);
        },
      },
      FIRST_BYTES_DEADLINE_MS,
    );
  }

  /**
   * This lets no new call in (GOAWAY, `connection: close`), closes what is idle at once, waits up to `graceMs` for the calls
   * that run, and then destroys what is left.
   */
  async close(graceMs: number): Promise<void> {
    this.#closing = true;
    for (const session of this.#sessions) session.close();
    for (const socket of this.#sockets) if (this.#isIdle(socket)) socket.destroy();
    if (this.#sockets.size > 0 && graceMs > 0) await this.#waitUntilEmpty(graceMs);
    for (const session of this.#sessions) session.destroy();
    for (const socket of this.#sockets) socket.destroy();
    this.#http1.close();
    this.#http2.close();
  }

  #waitUntilEmpty(graceMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, graceMs);
      this.#empty = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** A socket that speaks HTTP/2 is closed by its session; one without a request under way can go. */
  #isIdle(socket: Socket): boolean {
    return !this.#http2Sockets.has(socket) && (this.#requests.get(socket) ?? 0) === 0;
  }

  #makeHttp1(targets: RequestTargets): http.Server {
    const server = http.createServer((request, response) => {
      const { socket } = request;
      this.#requests.set(socket, (this.#requests.get(socket) ?? 0) + 1);
      if (this.#closing) response.setHeader("connection", "close");
      response.once("close", () => {
        const left = (this.#requests.get(socket) ?? 1) - 1;
        this.#requests.set(socket, left);
        if (left === 0 && this.#closing) socket.end();
      });
      targets.request(request, response);
    });
    server.on("clientError", (_error, socket) => {
      if (socket.writable) socket.end("HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n");
      else socket.destroy();
    });
    // Headers and request timeouts are watched from this event on, and this server never listens itself.
    server.emit("listening");
    return server;
  }

  #makeHttp2(targets: RequestTargets, log: Logger): http2.Http2Server {
    const server = http2.createServer({
      settings: { initialWindowSize: WINDOW_BYTES, enablePush: false },
      // Cancelled calls are ordinary here: a client that cancels 20,000 calls must not lose its connection.
      streamResetBurst: 100_000,
      streamResetRate: 20_000,
      // Counted in megabytes over all streams of a connection; their windows may fill.
      maxSessionMemory: 1024,
      // The peer decides: grpc-go servers set no limit either, and watchers of events hold one stream each.
      peerMaxConcurrentStreams: 65_536,
    });
    server.on("session", (session) => {
      this.#sessions.add(session);
      session.once("close", () => this.#sessions.delete(session));
      session.setLocalWindowSize(SESSION_WINDOW_BYTES);
      if (this.#closing) session.close();
    });
    server.on("sessionError", (error) => log.debug("connection failed", { error: messageOf(error) }));
    server.on("stream", (stream, headers) => {
      // A reset stream also reports an error; what it means for a call is seen at its "close".
      stream.on("error", ignore);
      targets.stream(stream, headers);
    });
    return server;
  }
}

import * as http2 from "node:http2";
import type { AddressInfo, Server, Socket } from "node:net";
import { createServer } from "node:net";
import { createServer as createTlsServer } from "node:tls";

import type { Registry } from "@bufbuild/protobuf";
import { createRegistry } from "@bufbuild/protobuf";
import type { Interceptor } from "@connectrpc/connect";
import { compressionGzip } from "@connectrpc/connect-node";
import type { Logger } from "@berth/core/log";
import { silentLogger } from "@berth/core/log";

import type { TcpAddress, TlsIdentity, UnixAddress } from "./server/bind.ts";
import { bindTcp, bindUnix } from "./server/bind.ts";
import { Connections } from "./server/connections.ts";
import type { NodeRequest, NodeResponse } from "./server/node-messages.ts";
import { createFallback, reportingInterceptor } from "./server/fallback.ts";
import type { CallPolicy } from "./server/grpc-call.ts";
import type { RpcRoutes } from "./server/method-table.ts";
import { collectMethods } from "./server/method-table.ts";
import type { CallRecord } from "./server/observe.ts";
import { createObserver } from "./server/observe.ts";
import { serveGrpc } from "./server/serve-grpc.ts";

const MIB = 1024 * 1024;
const DEFAULT_GRACE_MS = 5000;
const HANDSHAKE_TIMEOUT_MS = 10_000;

/** What a server serves, and its limits. */
export interface RpcServerOptions {
  readonly routes: RpcRoutes;
  readonly interceptors?: readonly Interceptor[] | undefined;
  /** The message types that `google.protobuf.Any` is written as in JSON; others are written as base64. */
  readonly registry?: Registry | undefined;
  /** The largest message taken in, 16 MiB if not given. */
  readonly maxReceiveBytes?: number | undefined;
  /** The largest message sent, 16 MiB if not given. */
  readonly maxSendBytes?: number | undefined;
  readonly log?: Logger | undefined;
  /** Called once for each call that has ended. It must not throw. */
  readonly onCall?: ((record: CallRecord) => void) | undefined;
}

/** One address a server listens on. Disposing it stops listening there; calls that run are not touched. */
export interface RpcListener extends AsyncDisposable {
  readonly address: string | AddressInfo;
}

/**
 * Serves Connect service implementations as gRPC, gRPC-Web and Connect, over HTTP/2 and HTTP/1.1 on the same sockets.
 *
 * Disposing it is `close` with a grace of 5 s.
 */
export interface RpcServer extends AsyncDisposable {
  /**
   * This listens on one more address.
   * @throws invalid_argument - a socket path of more than 104 bytes
   * @throws failed_precondition - another process answers on the socket, or its path is no socket
   * @throws not_found - the directory of the socket is missing, or cannot be made there
   * @throws an error of Node's - certificate or key cannot be read
   */
  listen(address: UnixAddress | TcpAddress): Promise<RpcListener>;
  /**
   * This stops listening, tells clients to go away, waits up to `graceMs` for running calls, and cuts the rest off. Safe
   * to call again; the second call only waits for the first.
   */
  close(options?: { readonly graceMs?: number }): Promise<void>;
}

/** This makes a server. It holds no resource before its first `listen`. */
export function createRpcServer(options: RpcServerOptions): RpcServer {
  return new NodeRpcServer(options);
}

class NodeRpcServer implements RpcServer {
  readonly #connections: Connections;
  readonly #listeners = new Set<Server>();
  /** Below TLS: until its handshake is done, nothing else knows of a connection. */
  readonly #encrypted = new Set<Socket>();
  #closed: Promise<void> | undefined;

  constructor(options: RpcServerOptions) {
    const log = options.log ?? silentLogger;
    const registry = options.registry ?? createRegistry();
    const observer = createObserver(log, options.onCall);
    const policy: CallPolicy = {
      maxReceiveBytes: options.maxReceiveBytes ?? 16 * MIB,
      maxSendBytes: options.maxSendBytes ?? 16 * MIB,
      interceptors: options.interceptors ?? [],
      observer,
    };
    const table = collectMethods(options.routes, {
      acceptCompression: [compressionGzip],
      readMaxBytes: policy.maxReceiveBytes,
      writeMaxBytes: policy.maxSendBytes,
      interceptors: [reportingInterceptor(observer), ...policy.interceptors],
      jsonOptions: { registry },
    });
    const request: (request: NodeRequest, response: NodeResponse) => void = createFallback(
      table,
      policy,
      registry,
      log,
    );
    // Never listens: it only wraps streams in Node's request and response objects.
    const wrapper = http2.createServer(request);
    this.#connections = new Connections(
      {
        request,
        stream: (stream, headers) => {
          if (isLeanGrpc(headers, table.specs)) serveGrpc(stream, headers, table.specs, policy);
          else wrapper.emit("stream", stream, headers, 0, []);
        },
      },
      log,
    );
  }

  async listen(address: UnixAddress | TcpAddress): Promise<RpcListener> {
    const server = this.#createListener("path" in address ? undefined : address.tls);
    if ("path" in address) await bindUnix(server, address);
    else await bindTcp(server, address);
    this.#listeners.add(server);
    return {
      // A listening server has an address.
      address: server.address() as string | AddressInfo,
      [Symbol.asyncDispose]: async () => {
        this.#listeners.delete(server);
        if (server.listening) server.close();
      },
    };
  }

  close(options: { readonly graceMs?: number } = {}): Promise<void> {
    this.#closed ??= this.#close(options.graceMs ?? DEFAULT_GRACE_MS);
    return this.#closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #createListener(tls: TlsIdentity | undefined): Server {
    if (tls === undefined) return createServer((socket) => this.#connections.accept(socket));
    const { cert, key, clientCa } = tls;
    const server = createTlsServer(
      {
        cert,
        key,
        ALPNProtocols: ["h2", "http/1.1"],
        handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
        ...(clientCa !== undefined && { ca: clientCa, requestCert: true, rejectUnauthorized: true }),
      },
      (socket) => this.#connections.accept(socket),
    );
    server.on("connection", (socket: Socket) => {
      this.#encrypted.add(socket);
      socket.once("close", () => this.#encrypted.delete(socket));
    });
    return server;
  }

  async #close(graceMs: number): Promise<void> {
    // Closing a unix listener also removes its socket file.
    for (const server of this.#listeners) server.close();
    this.#listeners.clear();
    await this.#connections.close(graceMs);
    for (const socket of this.#encrypted) socket.destroy();
  }
}

/** gRPC is answered here, but for its JSON form; so are calls of unknown methods in any form of gRPC. */
function isLeanGrpc(headers: http2.IncomingHttpHeaders, methods: ReadonlyMap<string, unknown>): boolean {
  const contentType = headers["content-type"];
  if (contentType === "application/grpc" || contentType === "application/grpc+proto") return true;
  if (contentType === undefined || !/^application\/grpc(?!-web)/.test(contentType)) return false;
  return !methods.has(headers[":path"] ?? "");
}

import { chmodSync, chownSync, lstatSync, readFileSync, statSync, unlinkSync } from "node:fs";
import type { Server } from "node:net";
import { connect } from "node:net";
import { dirname } from "node:path";

import { makeDirectories } from "@berth/core/make-directories";
import { failedPrecondition, fromSystemError, invalidArgument, isNotFound, systemErrorCode } from "@berth/errors";

/** The longest socket path that containerd's clients accept. */
const MAX_SOCKET_PATH = 104;

/** The most connections of a TCP port, whatever descriptors there are. */
const MAX_TCP_CONNECTIONS = 4096;

/** A unix socket to listen on. */
export interface UnixAddress {
  readonly path: string;
  /** Missing directories above the socket are made with these permission bits; without it, its directory is there already. */
  readonly directoryMode?: number | undefined;
  /** Permission bits of the socket file, 0660 if not given. */
  readonly mode?: number | undefined;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
}

/** What a server proves to be itself with, and what it wants of its clients. */
export interface TlsIdentity {
  /** Certificates and key, as PEM. */
  readonly cert: string;
  readonly key: string;
  /** Only clients with a certificate of these authorities are let in; without it, all are. */
  readonly clientCa?: string | undefined;
}

/** A TCP port to listen on; port 0 takes a free one. */
export interface TcpAddress {
  /** Every address of the machine if it is empty. */
  readonly host: string;
  readonly port: number;
  /** Connections are encrypted; HTTP/2 and HTTP/1.1 are agreed on. */
  readonly tls?: TlsIdentity | undefined;
}

/**
 * This binds a server to a unix socket, in place of one that a dead process left behind. A connection that cannot be accepted for want of
 * descriptors is no error of the server from then on: it goes on listening.
 * @throws invalid_argument - the path is longer than 104 bytes
 * @throws failed_precondition - somebody answers on that socket, or the path is no socket
 * @throws not_found - its directory is missing
 */
export async function bindUnix(server: Server, address: UnixAddress): Promise<void> {
  if (Buffer.byteLength(address.path) > MAX_SOCKET_PATH) {
    throw invalidArgument(`socket path ${JSON.stringify(address.path)} is longer than ${MAX_SOCKET_PATH} bytes`);
  }
  if (address.directoryMode !== undefined) await makeDirectory(dirname(address.path), address.directoryMode);
  await removeStaleSocket(address.path);
  // Binding and the modes happen in one turn: nobody connects before the modes are set.
  const listening = startListening(server, () => server.listen({ path: address.path }));
  if (server.listening) {
    chmodSync(address.path, address.mode ?? 0o660);
    if (address.uid !== undefined || address.gid !== undefined) {
      chownSync(address.path, address.uid ?? -1, address.gid ?? -1);
    }
  }
  await listening;
}

/**
 * This binds a server to a TCP port. Peers that are connected at once take no more than half of the descriptors of this process; those
 * beyond are turned away. Failures to accept are as with {@link bindUnix}.
 */
export async function bindTcp(server: Server, address: TcpAddress): Promise<void> {
  server.maxConnections ??= Math.min(MAX_TCP_CONNECTIONS, Math.max(1, Math.floor(descriptorLimit() / 2)));
  await startListening(server, () =>
    server.listen({ port: address.port, ...(address.host && { host: address.host }) }),
  );
}

async function startListening(server: Server, listen: () => void): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onError = (error: Error): void => reject(fromSystemError(error) as Error); // an Error in, an Error out
  server.once("error", onError);
  server.once("listening", resolve);
  listen();
  await promise;
  // An error that nobody listens to would end the process.
  server.on("error", () => {});
  server.off("error", onError);
}

function descriptorLimit(): number {
  const [, limit] = /^Max open files +(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8")) ?? [];
  return limit === undefined ? Number.POSITIVE_INFINITY : Number(limit);
}

async function makeDirectory(path: string, mode: number): Promise<void> {
  try {
    await makeDirectories(path, mode);
  } catch (error) {
    throw fromSystemError(error);
  }
}

async function removeStaleSocket(path: string): Promise<void> {
  try {
    // Binding would report a missing directory as EACCES.
    statSync(dirname(path));
  } catch (error) {
    throw fromSystemError(error);
  }
  try {
    if (!lstatSync(path).isSocket()) throw failedPrecondition(`listen on ${path}: it exists and is no socket`);
  } catch (error) {
    if (isNotFound(error)) return;
    throw fromSystemError(error);
  }
  if (await isAnswered(path)) throw failedPrecondition(`listen on ${path}: another process answers there`);
  try {
    unlinkSync(path);
  } catch (error) {
    if (!isNotFound(error)) throw fromSystemError(error);
  }
}

function isAnswered(path: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect({ path });
  socket.once("connect", () => resolve(true));
  // Only a refused connection proves that nobody listens: a full backlog (EAGAIN) means that somebody does.
  socket.once("error", (error) => resolve(!["ECONNREFUSED", "ENOENT"].includes(systemErrorCode(error) ?? "")));
  return promise.finally(() => socket.destroy());
}

import { randomBytes } from "node:crypto";
import { chmodSync, linkSync, mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { invalidArgument, systemErrorCode } from "@berth/errors";

const CONNECT_TIMEOUT_MS = 100;
/** Several times what a look at a socket takes. */
const ASIDE_MS = 1000;
const ASIDE_POLL_MS = 20;

/** This connects to a socket; `undefined` where nobody listens. */
export function connectSocket(path: string): Promise<Socket | undefined> {
  const { promise, resolve } = Promise.withResolvers<Socket | undefined>();
  const socket = connect({ path });
  socket.setTimeout(CONNECT_TIMEOUT_MS);
  const fail = (): void => {
    socket.destroy();
    resolve(undefined);
  };
  socket.once("timeout", fail).once("error", fail);
  socket.once("connect", () => {
    socket.setTimeout(0).off("timeout", fail);
    resolve(socket);
  });
  return promise;
}

/**
 * This listens at a path that was free, mode 0600 from the first moment on; `undefined` when another one was faster.
 *
 * The socket is bound under a name of its own and linked into place: linking fails where something is, and when this
 * process ends, libuv removes the first name, not the one that a child goes on serving.
 */
export async function claimSocket(path: string): Promise<Server | undefined> {
  const directory = dirname(path);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const temporary = join(directory, randomBytes(8).toString("hex"));
  const server = createServer();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject).listen({ path: temporary }, resolve);
  await promise;
  try {
    chmodSync(temporary, 0o600);
    linkSync(temporary, path);
    return server;
  } catch (error) {
    server.close();
    if (systemErrorCode(error) === "EEXIST") return undefined;
    throw error;
  } finally {
    rmSync(temporary, { force: true });
  }
}

/** This returns the descriptor of a listener, to be inherited by a child. */
export function listenerFd(server: Server): number {
  // private: Node passes a listener to its own forks only, and those bring an IPC channel along
  const handle = (server as unknown as { readonly _handle?: { readonly fd?: unknown } })._handle;
  if (typeof handle?.fd !== "number" || handle.fd < 0) throw invalidArgument("listener has no open descriptor");
  return handle.fd;
}

/** This removes a socket that nobody listens on, and leaves one alone that has just been put in its place. */
export async function removeStaleSocket(path: string): Promise<void> {
  const aside = `${path.slice(0, -16)}${randomBytes(8).toString("hex")}`;
  try {
    renameSync(path, aside);
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return;
    throw error;
  }
  const living = await connectSocket(aside);
  living?.destroy();
  if (living) restore(aside, path);
  rmSync(aside, { force: true });
}

function restore(aside: string, path: string): void {
  try {
    linkSync(aside, path);
  } catch (error) {
    // a third one has taken the place: the one set aside ends by itself when it stays without containers
    if (systemErrorCode(error) !== "EEXIST") throw error;
  }
}

/** A socket file as it was when it was looked at, to be removed only while it still is the same one. */
export interface SocketFile {
  readonly path: string;
  remove(): void;
}

/**
 * This remembers a socket file by its inode. Who looks whether it is stale takes it aside for a moment; one that does not come back is
 * another's to remove.
 */
export async function ownSocketFile(path: string): Promise<SocketFile> {
  let own = statSync(path, { throwIfNoEntry: false });
  for (let waitedMs = 0; !own && waitedMs < ASIDE_MS; waitedMs += ASIDE_POLL_MS) {
    await sleep(ASIDE_POLL_MS);
    own = statSync(path, { throwIfNoEntry: false });
  }
  const remove = (): void => {
    const present = statSync(path, { throwIfNoEntry: false });
    if (own && present?.ino === own.ino && present.dev === own.dev) rmSync(path, { force: true });
  };
  return { path, remove };
}

import type { Socket } from "node:net";

import { internal } from "@berth/errors";

import { bind, check } from "../libc.ts";

const native = {
  getsockopt: bind<[number, number, number, Int32Array, Int32Array], number>("getsockopt", "int", [
    "int",
    "int",
    "int",
    "void *",
    "void *",
  ]),
};

const SOL_SOCKET = 1;
const SO_PEERCRED = 17;

/** Who is at the other end of a unix socket, as of its connect. */
export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** This asks the kernel who connected. @throws ENOTSOCK, EBADF */
export function peerCredentials(socket: number): PeerCredentials {
  const answer = new Int32Array(3);
  check(native.getsockopt(socket, SOL_SOCKET, SO_PEERCRED, answer, new Int32Array([12])), "getsockopt");
  const [pid = 0, uid = 0, gid = 0] = answer;
  return { pid, uid: uid >>> 0, gid: gid >>> 0 };
}

/**
 * This returns the descriptor of a connected socket, which stays Node's.
 *
 * Node has no public way to it: this is the one place that reads the private handle.
 * @throws internal - the socket is closed, or Node's inside has changed
 */
export function socketFd(socket: Socket): number {
  // private field; its absence is handled below
  const handle = (socket as unknown as { readonly _handle?: { readonly fd?: unknown } | null })._handle;
  const descriptor = handle?.fd;
  if (typeof descriptor !== "number" || descriptor < 0) throw internal("socket has no open descriptor");
  return descriptor;
}

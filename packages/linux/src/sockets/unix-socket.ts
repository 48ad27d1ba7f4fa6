import { constants } from "node:fs";

import { closeFd } from "../files/descriptors.ts";
import { bind, check, nativePath } from "../libc.ts";
import { systemError } from "../system-error.ts";

const native = {
  socket: bind<[number, number, number], number>("socket", "int", ["int", "int", "int"]),
  bind: bind<[number, Uint8Array, number], number>("bind", "int", ["int", "void *", "uint"]),
  listen: bind<[number, number], number>("listen", "int", ["int", "int"]),
  accept4: bind<[number, null, null, number], number>("accept4", "int", ["int", "void *", "void *", "int"]),
  connect: bind<[number, Uint8Array, number], number>("connect", "int", ["int", "void *", "uint"]),
};

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2000000;
const PATH_LIMIT = 107; // bytes of sun_path before its NUL
const ENAMETOOLONG = 36;

function addressOf(path: string, syscall: string): Uint8Array {
  nativePath(path, syscall);
  const bytes = new TextEncoder().encode(path);
  if (bytes.length > PATH_LIMIT) throw systemError(ENAMETOOLONG, syscall, path);
  const address = new Uint8Array(2 + bytes.length + 1);
  address[0] = AF_UNIX;
  address.set(bytes, 2);
  return address;
}

function streamSocket(): number {
  return check(native.socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | constants.O_NONBLOCK, 0), "socket");
}

/** This makes a non-blocking unix listener whose descriptor the caller closes. @throws EADDRINUSE, ENAMETOOLONG, … */
export function listenUnix(path: string, backlog = 8): number {
  const address = addressOf(path, "bind");
  const socket = streamSocket();
  try {
    check(native.bind(socket, address, address.length), "bind", path);
    check(native.listen(socket, backlog), "listen", path);
    return socket;
  } catch (error) {
    closeFd(socket);
    throw error;
  }
}

/** This takes one connection of a listener. @throws EAGAIN - none is there */
export function acceptUnix(listener: number): number {
  return check(native.accept4(listener, null, null, SOCK_CLOEXEC | constants.O_NONBLOCK), "accept4");
}

/** This connects to a unix listener and returns a non-blocking descriptor. @throws ECONNREFUSED, ENOENT, … */
export function connectUnix(path: string): number {
  const address = addressOf(path, "connect");
  const socket = streamSocket();
  try {
    check(native.connect(socket, address, address.length), "connect", path);
    return socket;
  } catch (error) {
    closeFd(socket);
    throw error;
  }
}

import { closeFd } from "../files/descriptors.ts";
import { bind, check } from "../libc.ts";
import { systemError } from "../system-error.ts";

const native = {
  socket: bind<[number, number, number], number>("socket", "int", ["int", "int", "int"]),
  sendto: bind<[number, Uint8Array, number, number, Uint8Array, number], number>("sendto", "long", [
    "int",
    "void *",
    "size_t",
    "int",
    "void *",
    "uint",
  ]),
};

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MSG_NOSIGNAL = 0x4000;
const MSG_DONTWAIT = 0x40;
const PATH_LIMIT = 107; // bytes of sun_path before its NUL
const ENAMETOOLONG = 36;

/**
 * This sends one datagram to a unix socket: a path, or a name in the abstract space that begins with `@`. It never waits.
 *
 * @throws ECONNREFUSED, ENOENT - nobody listens; EAGAIN - the receiver's queue is full; ENAMETOOLONG
 */
export function sendDatagram(address: string, bytes: Uint8Array): void {
  const name = new TextEncoder().encode(address.startsWith("@") ? `\0${address.slice(1)}` : address);
  if (name.length > PATH_LIMIT) throw systemError(ENAMETOOLONG, "sendto", address);
  const target = new Uint8Array(2 + name.length);
  target[0] = AF_UNIX;
  target.set(name, 2);
  const socket = check(native.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
  try {
    check(
      native.sendto(socket, bytes, bytes.length, MSG_NOSIGNAL | MSG_DONTWAIT, target, target.length),
      "sendto",
      address,
    );
  } finally {
    closeFd(socket);
  }
}

import { bind, check, koffi } from "../libc.ts";

const native = {
  sendmsg: bind<[number, Uint8Array, number], number>("sendmsg", "long", ["int", "void *", "int"]),
  recvmsg: bind<[number, Uint8Array, number], number>("recvmsg", "long", ["int", "void *", "int"]),
};

const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;
const HEADER_SIZE = 16; // of struct cmsghdr
const MAX_DESCRIPTORS = 253; // the kernel's SCM_MAX_FD
const CONTROL_SIZE = HEADER_SIZE + MAX_DESCRIPTORS * 4 + 4;

interface Message {
  /** struct msghdr; it points to the blocks below, which therefore must be held. */
  readonly header: Uint8Array;
  readonly control: DataView;
  readonly data: Uint8Array;
  readonly vector: Uint8Array;
}

/** This lays out struct msghdr with one iovec; both architectures are 64-bit little endian and share the layout. */
function layOut(data: Uint8Array, controlLength: number): Message {
  const control = new Uint8Array(CONTROL_SIZE);
  const vector = new Uint8Array(128);
  const iovec = new DataView(vector.buffer);
  iovec.setBigUint64(0, koffi().address(data), true);
  iovec.setBigUint64(8, BigInt(data.length), true);
  const header = new Uint8Array(128);
  const view = new DataView(header.buffer);
  view.setBigUint64(16, koffi().address(vector), true);
  view.setBigUint64(24, 1n, true);
  view.setBigUint64(32, koffi().address(control), true);
  view.setBigUint64(40, BigInt(controlLength), true);
  return { header, control: new DataView(control.buffer), data, vector };
}

/** What came with one message: the bytes, and the descriptors, which the caller closes. */
export interface ReceivedMessage {
  readonly data: Uint8Array;
  readonly descriptors: readonly number[];
}

/** This sends bytes (at least one) and descriptors over a unix socket; the descriptors stay open here. */
export function sendDescriptors(socket: number, data: Uint8Array, descriptors: readonly number[]): void {
  const length = HEADER_SIZE + descriptors.length * 4;
  const payload = new Uint8Array(Math.max(128, data.length));
  payload.set(data);
  const message = layOut(payload.subarray(0, data.length), Math.ceil(length / 8) * 8);
  message.control.setBigUint64(0, BigInt(length), true);
  message.control.setInt32(8, SOL_SOCKET, true);
  message.control.setInt32(12, SCM_RIGHTS, true);
  for (const [at, descriptor] of descriptors.entries()) {
    message.control.setInt32(HEADER_SIZE + at * 4, descriptor, true);
  }
  check(native.sendmsg(socket, message.header, MSG_NOSIGNAL), "sendmsg");
}

/**
 * This receives one message of at most `limit` bytes with its descriptors, each closed on exec.
 * @throws EAGAIN - the socket is non-blocking and nothing is there
 */
export function receiveDescriptors(socket: number, limit = 4096): ReceivedMessage {
  const message = layOut(new Uint8Array(Math.max(128, limit)).subarray(0, limit), CONTROL_SIZE);
  const length = check(native.recvmsg(socket, message.header, MSG_CMSG_CLOEXEC), "recvmsg");
  const controlLength = Number(new DataView(message.header.buffer).getBigUint64(40, true));
  return { data: message.data.slice(0, length), descriptors: readDescriptors(message.control, controlLength) };
}

function readDescriptors(control: DataView, controlLength: number): number[] {
  const descriptors: number[] = [];
  for (let at = 0; at + HEADER_SIZE <= controlLength;) {
    const length = Number(control.getBigUint64(at, true));
    if (length < HEADER_SIZE) break;
    const rights = control.getInt32(at + 8, true) === SOL_SOCKET && control.getInt32(at + 12, true) === SCM_RIGHTS;
    if (rights) {
      for (let item = at + HEADER_SIZE; item + 4 <= at + length; item += 4)
        descriptors.push(control.getInt32(item, true));
    }
    at += Math.ceil(length / 8) * 8;
  }
  return descriptors;
}

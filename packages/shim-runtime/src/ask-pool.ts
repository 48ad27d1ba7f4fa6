import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

// This asks one question, in a process that lives for nothing else: loading Connect, protobuf and the ttrpc client would take
// longer than all the rest of it. The frame is containerd's, the messages those of proto/berth/shim/v1/shim.proto.

const TIMEOUT_MS = 10_000;
const HEADER_BYTES = 10;
const LIMIT = 4096;
const REQUEST = 1;
const RESPONSE = 2;
/** gRPC's number. */
const UNIMPLEMENTED = 12;
const text = new TextEncoder();

/** Field of wire type 2 (bytes). */
function field(number: number, value: string | Uint8Array): Uint8Array {
  const bytes = typeof value === "string" ? text.encode(value) : value;
  const size: number[] = [];
  for (let rest = bytes.length; ; rest >>>= 7) {
    size.push(rest > 0x7f ? (rest & 0x7f) | 0x80 : rest);
    if (rest <= 0x7f) break;
  }
  return Buffer.concat([Uint8Array.of((number << 3) | 2, ...size), bytes]);
}

/** This writes the frame of one `berth.shim.v1.Pool/Reserve` call on a fresh connection. */
function encodeReserve(request: { readonly id: string; readonly bundle: string }): Uint8Array {
  const message = Buffer.concat([field(1, request.id), field(2, request.bundle)]);
  const payload = Buffer.concat([field(1, "berth.shim.v1.Pool"), field(2, "Reserve"), field(3, message)]);
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32BE(payload.length, 0);
  header.writeUInt32BE(1, 4);
  header[8] = REQUEST;
  return Buffer.concat([header, payload]);
}

/** This yields the fields of a message: numbers for varints, bytes for the rest. Malformed bytes end it. */
function* fields(bytes: Uint8Array): Generator<readonly [number: number, value: number | Uint8Array]> {
  let at = 0;
  const varint = (): number => {
    for (let value = 0, factor = 1; at < bytes.length && factor < 2 ** 35; factor *= 128) {
      const byte = bytes[(at += 1) - 1] ?? 0;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
    return Number.NaN;
  };
  while (at < bytes.length) {
    const tag = varint();
    const value = varint();
    if (Number.isNaN(tag + value) || ((tag & 7) !== 0 && (tag & 7) !== 2)) return;
    if ((tag & 7) === 0) yield [tag >>> 3, value];
    else yield [tag >>> 3, bytes.subarray(at, (at += value))];
  }
}

/** Whether the place is kept; `"no pool"` from a shim that lives and cannot be asked, and `undefined` from one that takes nothing more. */
export type PoolAnswer = boolean | "no pool" | undefined;

/** This reads the answer; `"incomplete"` while bytes are missing. */
export function decodeReserved(bytes: Uint8Array): PoolAnswer | "incomplete" {
  if (bytes.length < HEADER_BYTES) return "incomplete";
  const size = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
  if (bytes[8] !== RESPONSE || size > LIMIT) return undefined;
  if (bytes.length < HEADER_BYTES + size) return "incomplete";
  const response = new Map(fields(bytes.subarray(HEADER_BYTES, HEADER_BYTES + size)));
  // a status means an error: success has none
  const status = response.get(1);
  if (status !== undefined) return isUnimplemented(status) ? "no pool" : undefined;
  const payload = response.get(2) ?? new Uint8Array(0);
  return typeof payload === "object" && new Map(fields(payload)).get(1) === 1;
}

function isUnimplemented(status: number | Uint8Array): boolean {
  return typeof status === "object" && new Map(fields(status)).get(1) === UNIMPLEMENTED;
}

/** This asks a shim to keep a place for a container; `undefined` when the shim is ending or has ended, or does not answer. */
export async function askPool(
  socket: Socket,
  request: { readonly id: string; readonly bundle: string },
): Promise<PoolAnswer> {
  const done = new AbortController();
  try {
    const late = sleep(TIMEOUT_MS, undefined, { signal: done.signal, ref: false }).catch(() => undefined);
    return await Promise.race([exchange(socket, encodeReserve(request)), late]);
  } catch {
    // whatever the reason, this shim takes nothing more
    return undefined;
  } finally {
    done.abort();
    socket.destroy();
  }
}

async function exchange(socket: Socket, question: Uint8Array): Promise<PoolAnswer> {
  socket.write(question);
  let received: Uint8Array = new Uint8Array(0);
  for await (const chunk of socket) {
    received = Buffer.concat([received, chunk]);
    const answer = decodeReserved(received);
    if (answer !== "incomplete") return answer;
  }
  return undefined;
}

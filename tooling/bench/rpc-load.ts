// Calls a unary method over one connection, always as many at once, and prints what it counted as JSON:
// node rpc-load.ts <socket> <path> <in flight> <seconds>. HTTP/2 frames are made and read here by hand: a client that costs as much
// as a server would measure itself, on a machine of few processors.
import { connect } from "node:net";

const [address, path, inFlight, seconds] = process.argv.slice(2);
if (!address || !path || !inFlight || !seconds)
  throw new Error("usage: rpc-load.ts <socket> <path> <in flight> <seconds>");

const WARM_UP_MS = 500;
const FRAME_HEADER_SIZE = 9;
const FrameType = { data: 0, headers: 1, reset: 3, settings: 4, ping: 6, goAway: 7, windowUpdate: 8 } as const;
const END_STREAM = 1;
const END_HEADERS = 4;
const ACK = 1;
const CONNECTION_WINDOW_GROWTH = 2 ** 30;

/** Header fields after `:method: POST` and `:scheme: http`, which the static table has: index of the name there (0: none), name, value. */
const FIELDS: readonly (readonly [number, string, string])[] = [
  [4, "", path],
  [1, "", "localhost"],
  [31, "", "application/grpc"],
  [0, "te", "trailers"],
  [58, "", "berth-bench"],
];
const STATIC_TABLE_SIZE = 61;

/** The first request teaches the server's table the fields, the others name them by their index, as clients do. */
const firstHeaders = Buffer.concat([
  Buffer.from([0x83, 0x86]),
  ...FIELDS.map(([index, name, value]) => literal(index, name, value)),
]);
const nextHeaders = Buffer.from([
  0x83,
  0x86,
  ...FIELDS.map((_, place) => 0x80 | (STATIC_TABLE_SIZE + FIELDS.length - place)),
]);
const emptyMessage = Buffer.alloc(5);

const socket = connect(address);
/** Streams whose answer has begun. */
const answered = new Set<number>();
let nextStream = 1;
let completed = 0;
let rest: Buffer = Buffer.alloc(0);
let began = 0;
let countFrom = 0;

socket.on("connect", () => {
  const growth = Buffer.alloc(4);
  growth.writeUInt32BE(CONNECTION_WINDOW_GROWTH);
  socket.write(
    Buffer.concat([
      Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
      frame(FrameType.settings, 0, 0, Buffer.alloc(0)),
      frame(FrameType.windowUpdate, 0, 0, growth),
      ...Array.from({ length: Number(inFlight) }, request),
    ]),
  );
  setTimeout(() => {
    began = performance.now();
    countFrom = completed;
  }, WARM_UP_MS);
  setTimeout(finish, WARM_UP_MS + Number(seconds) * 1000);
});
socket.on("data", (chunk: Buffer) => {
  const bytes = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk;
  const replies: Buffer[] = [];
  let offset = 0;
  while (bytes.length - offset >= FRAME_HEADER_SIZE) {
    const end = offset + FRAME_HEADER_SIZE + bytes.readUIntBE(offset, 3);
    if (end > bytes.length) break;
    const reply = receive(bytes.subarray(offset, end));
    if (reply) replies.push(reply);
    offset = end;
  }
  rest = bytes.subarray(offset);
  if (replies.length > 0) socket.write(Buffer.concat(replies));
});
socket.on("error", (error) => {
  throw error;
});
socket.on("close", () => {
  if (process.exitCode === undefined) throw new Error("the server closed the connection");
});

/** Returns what a frame has to be answered with. */
function receive(bytes: Buffer): Buffer | undefined {
  const type = bytes.readUInt8(3);
  const flags = bytes.readUInt8(4);
  const stream = bytes.readUInt32BE(5);
  switch (type) {
    case FrameType.data:
      answered.add(stream);
      if (flags & END_STREAM) throw new Error("an answer without trailers");
      return undefined;
    case FrameType.headers:
      if (!(flags & END_STREAM)) return undefined;
      // Trailers alone are how a call fails.
      if (!answered.delete(stream)) throw new Error("a call failed");
      completed += 1;
      return request();
    case FrameType.settings:
      return flags & ACK ? undefined : frame(FrameType.settings, ACK, 0, Buffer.alloc(0));
    case FrameType.ping:
      return flags & ACK ? undefined : frame(FrameType.ping, ACK, 0, bytes.subarray(FRAME_HEADER_SIZE));
    case FrameType.reset:
      // Go resets a stream without an error when its answer has overtaken the end of the request.
      if (bytes.readUInt32BE(FRAME_HEADER_SIZE) === 0) return undefined;
      throw new Error(`the server reset a call: ${bytes.readUInt32BE(FRAME_HEADER_SIZE)}`);
    case FrameType.goAway:
      throw new Error(`the server goes away: ${bytes.subarray(FRAME_HEADER_SIZE + 8).toString("latin1")}`);
    default:
      return undefined;
  }
}

function request(): Buffer {
  const stream = nextStream;
  nextStream += 2;
  const headers = frame(FrameType.headers, END_HEADERS, stream, stream === 1 ? firstHeaders : nextHeaders);
  return Buffer.concat([headers, frame(FrameType.data, END_STREAM, stream, emptyMessage)]);
}

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(FRAME_HEADER_SIZE + payload.length);
  bytes.writeUIntBE(payload.length, 0, 3);
  bytes.writeUInt8(type, 3);
  bytes.writeUInt8(flags, 4);
  bytes.writeUInt32BE(stream, 5);
  payload.copy(bytes, FRAME_HEADER_SIZE);
  return bytes;
}

/** A header field as a literal that enters the table. */
function literal(index: number, name: string, value: string): Buffer {
  const text = (content: string): Buffer => Buffer.concat([Buffer.from([content.length]), Buffer.from(content)]);
  return Buffer.concat([Buffer.from([0x40 | index]), ...(index === 0 ? [text(name)] : []), text(value)]);
}

function finish(): void {
  const elapsedS = (performance.now() - began) / 1000;
  process.stdout.write(`${JSON.stringify({ calls: completed - countFrom, total: completed, seconds: elapsedS })}\n`);
  process.exitCode = 0;
  socket.destroy();
}

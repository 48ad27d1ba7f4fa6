import { once } from "node:events";
import type { ClientHttp2Session } from "node:http2";
import { connect } from "node:http2";
import { connect as connectSocket } from "node:net";

import type { DescMethodUnary, MessageInitShape } from "@bufbuild/protobuf";
import { create, toBinary } from "@bufbuild/protobuf";

const PREFIX_BYTES = 5;
const WINDOW_BYTES = 64 * 2 ** 20;
const NAMESPACE = "default";

/** A connection whose answers are counted and not decoded: decoding costs more than the daemon's part. */
export interface RawConnection extends Disposable {
  /** This calls a method and returns how many bytes the answer had. @throws Error - its status is not OK */
  call<M extends DescMethodUnary>(method: M, request: MessageInitShape<M["input"]>): Promise<number>;
}

/** This connects to a daemon. */
export async function connectRaw(address: string): Promise<RawConnection> {
  const session = connect("http://localhost", {
    createConnection: () => connectSocket(address),
    settings: { initialWindowSize: WINDOW_BYTES },
  });
  session.on("error", () => {});
  await once(session, "connect");
  session.setLocalWindowSize(WINDOW_BYTES);
  return {
    call: (method, request) =>
      callRaw(
        session,
        `/${method.parent.typeName}/${method.name}`,
        toBinary(method.input, create(method.input, request)),
      ),
    [Symbol.dispose]: () => session.destroy(),
  };
}

async function callRaw(session: ClientHttp2Session, path: string, message: Uint8Array): Promise<number> {
  const stream = session.request({
    ":method": "POST",
    ":path": path,
    "content-type": "application/grpc",
    "containerd-namespace": NAMESPACE,
    te: "trailers",
  });
  let status: unknown;
  let bytes = 0;
  const noteStatus = (headers: Readonly<Record<string, unknown>>): void => {
    if (headers["grpc-status"] !== undefined)
      status = `${headers["grpc-status"]} ${headers["grpc-message"] ?? ""}`.trim();
  };
  stream.on("response", noteStatus);
  stream.on("trailers", noteStatus);
  stream.on("data", (chunk: Uint8Array) => (bytes += chunk.length));
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeUInt32BE(message.length, 1);
  stream.end(Buffer.concat([prefix, message]));
  await once(stream, "close");
  if (status !== "0") throw new Error(`${path}: status ${String(status)}`);
  return bytes;
}

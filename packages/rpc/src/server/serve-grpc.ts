import type { ServerHttp2Stream } from "node:http2";

import type { MethodImplSpec } from "@connectrpc/connect";
import { internal, toConnectError, unimplemented } from "@berth/errors";

import { decompress } from "../wire/decompress.ts";
import type { Frame } from "../wire/frame.ts";
import { FrameReader } from "../wire/frame.ts";
import { decodeMessage } from "../wire/message.ts";
import { MessageSource } from "../wire/message-source.ts";
import type { WireHeaders } from "../wire/status.ts";
import { encodeStatus } from "../wire/status.ts";
import { parseGrpcTimeout } from "../wire/timeout.ts";
import type { CallPolicy } from "./grpc-call.ts";
import { GrpcCall } from "./grpc-call.ts";
import type { AnyInit, AnyMessage, ServerStreamSpec, StreamSpec, UnarySpec } from "./invoke.ts";
import { invokeServerStream, invokeStream, invokeUnary } from "./invoke.ts";

/** This answers one gRPC request over HTTP/2. It never throws: whatever goes wrong becomes the call's status. */
export function serveGrpc(
  stream: ServerHttp2Stream,
  headers: WireHeaders,
  specs: ReadonlyMap<string, MethodImplSpec>,
  policy: CallPolicy,
): void {
  const spec = specs.get(String(headers[":path"]));
  if (spec === undefined) {
    refuse(stream, unimplemented(`unknown method ${String(headers[":path"])}`));
    return;
  }
  if (headers[":method"] !== "POST") {
    refuse(stream, internal(`gRPC calls are POST requests, got ${String(headers[":method"])}`));
    return;
  }
  let timeoutMs: number | undefined;
  try {
    const timeout = headers["grpc-timeout"];
    if (timeout !== undefined) timeoutMs = parseGrpcTimeout(String(timeout));
  } catch (error) {
    refuse(stream, error);
    return;
  }
  const call = new GrpcCall(stream, headers, spec, policy, timeoutMs);
  switch (spec.kind) {
    case "unary":
      return readRequest(call, (data) => runUnary(call, spec, data));
    case "server_streaming":
      return readRequest(call, (data) => runServerStream(call, spec, data));
    default:
      return serveStream(call, spec);
  }
}

function refuse(stream: ServerHttp2Stream, error: unknown): void {
  const status = encodeStatus(toConnectError(error));
  stream.respond({ ":status": "200", "content-type": "application/grpc", ...status }, { endStream: true });
  stream.resume();
}

/** This reads a body of exactly one message; `run` is given it when the body has ended. */
function readRequest(call: GrpcCall, run: (data: Uint8Array) => void): void {
  const reader = new FrameReader(call.policy.maxReceiveBytes);
  let frame: Frame | undefined;
  call.stream.on("data", (chunk: Uint8Array) => {
    if (call.isOver) return;
    reader.push(chunk);
    try {
      frame ??= reader.next();
      // At once: what follows the one message would be kept to the end of a body that may never come.
      if (frame !== undefined && reader.isInsideFrame) throw unimplemented("request has more than one message");
    } catch (error) {
      call.fail(error);
    }
  });
  call.stream.on("end", () => {
    if (call.isOver) return;
    if (frame === undefined) {
      call.fail(
        reader.isInsideFrame ? internal("body ends inside a message") : unimplemented("request has no message"),
      );
    } else if (frame.compressed) void unpackAndRun(call, frame.data, run);
    else run(frame.data);
  });
}

async function unpackAndRun(call: GrpcCall, data: Uint8Array, run: (data: Uint8Array) => void): Promise<void> {
  try {
    run(await decompress(data, call.encoding, call.policy.maxReceiveBytes));
  } catch (error) {
    call.fail(error);
  }
}

function runUnary(call: GrpcCall, spec: UnarySpec, data: Uint8Array): void {
  try {
    const message = decodeMessage(spec.method.input, data);
    const output = invokeUnary(spec, message, call.context, call.policy.interceptors);
    if (!isPromise(output)) call.answer(output);
    else {
      output.then(
        (value) => call.answer(value),
        (error: unknown) => call.fail(error),
      );
    }
  } catch (error) {
    call.fail(error);
  }
}

function isPromise(value: Promise<AnyInit> | AnyInit): value is Promise<AnyInit> {
  return "then" in value && typeof value.then === "function";
}

function runServerStream(call: GrpcCall, spec: ServerStreamSpec, data: Uint8Array): void {
  if (call.isOver) return;
  try {
    const message = decodeMessage(spec.method.input, data);
    startSending(call, invokeServerStream(spec, message, call.context, call.policy.interceptors));
  } catch (error) {
    call.fail(error);
  }
}

function serveStream(call: GrpcCall, spec: StreamSpec): void {
  const source = new MessageSource<AnyMessage>(call.stream, {
    maxBytes: call.policy.maxReceiveBytes,
    encoding: () => call.encoding,
    decode: (data) => decodeMessage(spec.method.input, data),
  });
  try {
    startSending(call, invokeStream(spec, source, call.context, call.policy.interceptors), source);
  } catch (error) {
    call.fail(error);
  }
}

function startSending(call: GrpcCall, messages: AsyncIterable<AnyInit>, source?: MessageSource<AnyMessage>): void {
  const output = messages[Symbol.asyncIterator]();
  call.onCut = (reason) => {
    source?.fail(reason);
    void abandon(output);
  };
  void sendAll(call, output, source);
}

async function sendAll(
  call: GrpcCall,
  output: AsyncIterator<AnyInit>,
  source: MessageSource<AnyMessage> | undefined,
): Promise<void> {
  try {
    // What comes next is asked for while a message is on its way: so the end of the stream goes out together with its only message, however large.
    let isTaken: Promise<void> | undefined;
    for (let result = await output.next(); result.done !== true; result = await output.next()) {
      if (isTaken !== undefined) await isTaken;
      isTaken = call.send(result.value);
      if (call.isOver) return;
    }
    call.end();
  } catch (error) {
    call.fail(error);
    // When `send` threw, the handler has not ended yet.
    await abandon(output);
  } finally {
    await source?.return();
  }
}

/** An iterable that nobody reads any more is closed, so that the handler's `finally` and `await using` run. */
async function abandon(output: AsyncIterator<AnyInit>): Promise<void> {
  try {
    await output.return?.();
  } catch {
    // The call is over and has its status; what the handler's clean-up throws concerns no caller.
  }
}

import type { JsonValue, Registry } from "@bufbuild/protobuf";
import { create, isMessage } from "@bufbuild/protobuf";
import type { ConnectError, MethodImplSpec } from "@connectrpc/connect";
import { codeToHttpStatus, errorToJsonBytes } from "@connectrpc/connect/protocol-connect";
import { MAX_TIMER_MS } from "@berth/core/call-limits";
import {
  canceled,
  deadlineExceeded,
  invalidArgument,
  messageOf,
  resourceExhausted,
  toConnectError,
} from "@berth/errors";

import { messageFromJson, messageToJson } from "../json/any-json.ts";
import { decompress } from "../wire/decompress.ts";
import type { WireHeaders } from "../wire/status.ts";
import { isMetadataHeader } from "../wire/status.ts";
import { CallContext } from "./call-context.ts";
import type { NodeRequest, NodeResponse } from "./node-messages.ts";
import type { CallPolicy } from "./grpc-call.ts";
import { invokeUnary } from "./invoke.ts";

type UnarySpec = Extract<MethodImplSpec, { kind: "unary" }>;

/**
 * This answers one unary Connect call in JSON, as `curl` makes them. It is not left to Connect's own handler because that
 * one fails on a `google.protobuf.Any` of a type it does not know.
 */
export async function serveJson(
  request: NodeRequest,
  response: NodeResponse,
  spec: UnarySpec,
  policy: CallPolicy,
  registry: Registry,
): Promise<void> {
  const startedAtMs = performance.now();
  const call = { request, response, spec, policy, registry };
  let error: ConnectError | undefined;
  try {
    await answer(call);
  } catch (thrown) {
    error = toConnectError(thrown);
    if (!response.writableEnded) sendError(response, error);
  }
  policy.observer.callEnded(spec.method, error, startedAtMs);
}

interface JsonCall {
  readonly request: NodeRequest;
  readonly response: NodeResponse;
  readonly spec: UnarySpec;
  readonly policy: CallPolicy;
  readonly registry: Registry;
}

async function answer(call: JsonCall): Promise<void> {
  const { request, response, spec, registry } = call;
  const timeoutMs = parseTimeout(request.headers["connect-timeout-ms"]);
  const context = new CallContext({
    method: spec.method,
    protocolName: "connect",
    requestMethod: "POST",
    url: request.url ?? "",
    headers: request.headers as WireHeaders, // both kinds of Node's header objects are maps of texts
    timeoutMs,
  });
  const cut = Promise.withResolvers<never>();
  // It may be rejected while nobody waits for it yet.
  cut.promise.catch(() => {});
  const cutWith = (error: ConnectError): void => {
    context.abort(error);
    cut.reject(error);
  };
  const onClose = (): void => cutWith(canceled("the caller canceled the call"));
  const timer = startDeadline(timeoutMs, cutWith);
  response.once("close", onClose);
  try {
    const message = messageFromJson(spec.method.input, parse(await readBody(call)), registry);
    const output = await Promise.race([invokeUnary(spec, message, context, call.policy.interceptors), cut.promise]);
    const whole = isMessage(output, spec.method.output) ? output : create(spec.method.output, output);
    sendJson(call, context, toJsonBytes(messageToJson(spec.method.output, whole, registry)));
  } finally {
    clearTimeout(timer);
    response.off("close", onClose);
    context.finish();
  }
}

function startDeadline(timeoutMs: number | undefined, cut: (error: ConnectError) => void): NodeJS.Timeout | undefined {
  if (timeoutMs === undefined || timeoutMs >= MAX_TIMER_MS) return undefined;
  return setTimeout(() => cut(deadlineExceeded("the deadline of the call is over")), timeoutMs);
}

async function readBody({ request, policy }: JsonCall): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Uint8Array>) {
    // without an encoding set, bodies are bytes
    size += chunk.length;
    if (size > policy.maxReceiveBytes) {
      throw resourceExhausted(`received message is larger than the limit of ${policy.maxReceiveBytes} bytes`);
    }
    chunks.push(chunk);
  }
  const body = Buffer.concat(chunks, size);
  const encoding = request.headers["content-encoding"];
  if (encoding === undefined || encoding === "identity") return body;
  return await decompress(body, String(encoding), policy.maxReceiveBytes);
}

function parse(body: Uint8Array): JsonValue {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(body);
    // JSON.parse gives JSON.
    return JSON.parse(text) as JsonValue;
  } catch (error) {
    throw invalidArgument(`body is not JSON: ${messageOf(error)}`, { cause: error });
  }
}

function toJsonBytes(json: JsonValue): Uint8Array {
  return Buffer.from(JSON.stringify(json));
}

function sendJson({ response, policy }: JsonCall, context: CallContext, body: Uint8Array): void {
  if (body.length > policy.maxSendBytes) {
    throw resourceExhausted(
      `message of ${body.length} bytes to be sent is larger than the limit of ${policy.maxSendBytes}`,
    );
  }
  context.touchedResponseHeader?.forEach((value, name) => {
    if (isMetadataHeader(name)) response.setHeader(name, value);
  });
  context.touchedResponseTrailer?.forEach((value, name) => response.setHeader(`trailer-${name}`, value));
  send(response, 200, body);
}

function sendError(response: NodeResponse, error: ConnectError): void {
  if (!error.isWireError) {
    error.metadata.forEach((value, name) => {
      if (isMetadataHeader(name)) response.setHeader(name, value);
    });
  }
  send(response, codeToHttpStatus(error.code), errorToJsonBytes(error, undefined));
}

function send(response: NodeResponse, status: number, body: Uint8Array): void {
  response.statusCode = status;
  response.setHeader("content-type", "application/json");
  response.setHeader("content-length", body.length);
  // Both kinds of response take bytes; their overloads differ.
  (response as { end(body: Uint8Array): unknown }).end(body);
}

function parseTimeout(text: string | string[] | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d{1,10}$/.test(String(text)))
    throw invalidArgument(`connect-timeout-ms ${JSON.stringify(text)} is malformed`);
  return Number(text);
}

/** This says whether a request is one for {@link serveJson}. */
export function isJsonCall(request: NodeRequest): boolean {
  return request.method === "POST" && /^application\/json\s*(;|$)/i.test(request.headers["content-type"] ?? "");
}

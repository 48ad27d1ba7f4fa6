import type { ServerResponse } from "node:http";

import type { Registry } from "@bufbuild/protobuf";
import type { Interceptor, StreamResponse } from "@connectrpc/connect";
import type { UniversalHandler } from "@connectrpc/connect/protocol";
import { universalRequestFromNodeRequest, universalResponseToNodeResponse } from "@connectrpc/connect-node";
import type { Logger } from "@berth/core/log";
import { messageOf, toConnectError } from "@berth/errors";

import type { CallPolicy } from "./grpc-call.ts";
import type { MethodTable } from "./method-table.ts";
import type { NodeRequest, NodeResponse } from "./node-messages.ts";
import type { CallObserver } from "./observe.ts";
import { isJsonCall, serveJson } from "./serve-json.ts";

/**
 * This answers everything that is not gRPC over HTTP/2: unary JSON itself, the rest of Connect and gRPC-Web by Connect's own
 * handlers.
 */
export function createFallback(
  { specs, handlers }: MethodTable,
  policy: CallPolicy,
  registry: Registry,
  log: Logger,
): (request: NodeRequest, response: NodeResponse) => void {
  return (request, response) => {
    const path = pathOf(request);
    const spec = specs.get(path);
    const handler = handlers.get(path);
    if (spec?.kind === "unary" && isJsonCall(request)) void serveJson(request, response, spec, policy, registry);
    else if (handler === undefined) refuse(response, 404);
    else void answer(handler, request, response, log);
  };
}

/** This returns the path of a request without its query. */
function pathOf(request: NodeRequest): string {
  return (request.url ?? "").split("?", 1)[0] ?? "";
}

function refuse(response: NodeResponse, status: number): void {
  response.statusCode = status;
  response.end();
}

async function answer(
  handler: UniversalHandler,
  request: NodeRequest,
  response: NodeResponse,
  log: Logger,
): Promise<void> {
  let universal: ReturnType<typeof universalRequestFromNodeRequest>;
  try {
    universal = universalRequestFromNodeRequest(request, response as ServerResponse, undefined, undefined); // HTTP/2's response is accepted at run time
  } catch {
    // No authority, or a request target that is no URL.
    refuse(response, 400);
    return;
  }
  try {
    await universalResponseToNodeResponse(await handler(universal), response);
  } catch (error) {
    log.debug("response not sent", { path: pathOf(request), error: messageOf(error) });
    response.destroy();
  }
}

/** The outermost interceptor of Connect's handlers: it maps what handlers throw, and reports the end of each call. */
export function reportingInterceptor(observer: CallObserver): Interceptor {
  return (next) => async (request) => {
    const startedAtMs = performance.now();
    const fail = (thrown: unknown): never => {
      const error = toConnectError(thrown);
      observer.callEnded(request.method, error, startedAtMs);
      throw error;
    };
    const response = await next(request).catch(fail);
    if (response.stream) return { ...response, message: reportStream(response, observer, startedAtMs) };
    observer.callEnded(request.method, undefined, startedAtMs);
    return response;
  };
}

async function* reportStream(
  response: StreamResponse,
  observer: CallObserver,
  startedAtMs: number,
): StreamResponse["message"] {
  try {
    yield* response.message;
  } catch (thrown) {
    const error = toConnectError(thrown);
    observer.callEnded(response.method, error, startedAtMs);
    throw error;
  }
  observer.callEnded(response.method, undefined, startedAtMs);
}

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2";

/** A request of HTTP/1.1 or HTTP/2, as Node's two compatible APIs give them. */
export type NodeRequest = IncomingMessage | Http2ServerRequest;

/** A response of HTTP/1.1 or HTTP/2, as Node's two compatible APIs give them. */
export type NodeResponse = ServerResponse | Http2ServerResponse;

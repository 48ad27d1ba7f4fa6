import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { Agent, createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";

/** One request that went through a relay. */
export interface RelayedRequest {
  readonly method: string;
  readonly path: string;
  /** As it was sent; empty when it was not. */
  readonly range: string;
  /** So many bytes of the answer's body have been sent by now. */
  sent: number;
}

/** A server between a registry and its clients. Disposing it cuts its connections. */
export interface RegistryRelay extends AsyncDisposable {
  readonly host: string;
  readonly requests: RelayedRequest[];
}

/** This starts a relay to a registry without TLS, which sends so many bytes of all answers together in a second. */
export async function startRegistryRelay(target: string, bytesPerSecond = Infinity): Promise<RegistryRelay> {
  const requests: RelayedRequest[] = [];
  const agent = new Agent({ keepAlive: true });
  const pace = pacer(bytesPerSecond);
  const server = createServer((incoming, response) => {
    const { method = "GET", url = "/", headers } = incoming;
    const record: RelayedRequest = { method, path: url, range: headers.range ?? "", sent: 0 };
    requests.push(record);
    const onward = request(`http://${target}${url}`, { method, headers, agent });
    onward.once("error", () => response.destroy());
    onward.once("response", (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      relay(answer, response, record, pace).catch(() => response.destroy());
    });
    incoming.pipe(onward);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    // A server that listens on a port has such an address.
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      agent.destroy();
    },
  };
}

/** Hands a body on at the pace of both sides and of the clock. */
async function relay(
  answer: IncomingMessage,
  response: ServerResponse,
  record: RelayedRequest,
  pace: (length: number) => Promise<void>,
): Promise<void> {
  const paced = async function* (source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of source) {
      await pace(chunk.length);
      record.sent += chunk.length;
      yield chunk;
    }
  };
  await pipeline(answer, paced, response);
}

/** Timers are late; what they cost is made up for. */
const CREDIT_MS = 20;

/** One clock for all: each chunk takes its time after the one before. */
function pacer(bytesPerSecond: number): (length: number) => Promise<void> {
  let free = 0;
  return async (length) => {
    const now = performance.now();
    free = Math.max(free, now - CREDIT_MS) + (length / bytesPerSecond) * 1000;
    // Timers are coarse: what is due within one is let through.
    if (free - now > 2) await sleep(free - now);
  };
}

import { Streaming } from "@berth/api/containerd/services/streaming/v1/streaming";
import { Transfer } from "@berth/api/containerd/services/transfer/v1/transfer";
import { ImageStoreSchema } from "@berth/api/containerd/types/transfer/imagestore";
import { AuthRequestSchema } from "@berth/api/containerd/types/transfer/registry";
import { WindowUpdateSchema } from "@berth/api/containerd/types/transfer/streaming";
import { packMessage, unpackMessage } from "@berth/core/messages";
import { DEFAULT_NAMESPACE, parseNamespace } from "@berth/core/namespaces";
import { Code, codeOf, failedPrecondition, notFound } from "@berth/errors";
import type { Interceptor } from "@connectrpc/connect";
import { createRouterTransport } from "@connectrpc/connect";
import { describe, expect, it } from "vitest";

import { Client } from "./client.ts";
import { exportFromDaemon, importInDaemon, pullInDaemon, pushFromDaemon, tagInDaemon } from "./transfer-in-daemon.ts";

/** A daemon whose stream yields nothing of an archive, and whose call goes as `transfer` does. */
function clientOf(transfer: (signal: AbortSignal) => Promise<void>, messages: "wrong" | "none"): Client {
  const transport = createRouterTransport(({ service }) => {
    service(Streaming, {
      async *stream(incoming, { signal }) {
        await incoming[Symbol.asyncIterator]().next();
        yield { typeUrl: "google.protobuf.Empty", value: new Uint8Array() };
        if (messages === "wrong") yield packMessage(WindowUpdateSchema, { update: 1 });
        await aborted(signal);
      },
    });
    service(Transfer, {
      async transfer(_, { signal }) {
        await transfer(signal);
        return {};
      },
    });
  });
  return new Client(transport, parseNamespace(DEFAULT_NAMESPACE));
}

it("tagInDaemon hands on both names and the labels", async () => {
  const seen: unknown[] = [];
  const transport = createRouterTransport(({ service }) => {
    service(Transfer, {
      async transfer({ source, destination }) {
        for (const end of [source, destination]) {
          const { name, labels } = unpackMessage(ImageStoreSchema, end ?? { typeUrl: "", value: new Uint8Array() });
          seen.push({ name, labels });
        }
        return {};
      },
    });
  });
  const client = new Client(transport, parseNamespace(DEFAULT_NAMESPACE));
  await tagInDaemon(client, "e.org/a:1", "e.org/b:1", { labels: new Map([["x", "y"]]) });
  expect(seen).toEqual([
    { name: "e.org/a:1", labels: {} },
    { name: "e.org/b:1", labels: { x: "y" } },
  ]);
});

describe("exportFromDaemon", () => {
  it("what is no archive ends the call, which else waits to be asked for more, and is told", async () => {
    let isEnded = false;
    const transfer = async (signal: AbortSignal): Promise<void> => {
      await aborted(signal);
      isEnded = true;
    };
    const reading = Array.fromAsync(exportFromDaemon(clientOf(transfer, "wrong"), ["a"]));
    expect(codeOf(await reading.catch((error: unknown) => error))).toBe(Code.InvalidArgument);
    expect(isEnded).toBe(true);
  });

  it("of a call that is refused, the refusal is told, not that its stream was left", async () => {
    const transfer = async (): Promise<void> => {
      throw notFound("image a");
    };
    const reading = Array.fromAsync(exportFromDaemon(clientOf(transfer, "none"), ["a"]));
    expect(codeOf(await reading.catch((error: unknown) => error))).toBe(Code.NotFound);
  });

  it("of a caller's own abort, the abort is told", async () => {
    const abort = new AbortController();
    const transfer = async (signal: AbortSignal): Promise<void> => {
      abort.abort();
      await aborted(signal);
    };
    const reading = Array.fromAsync(exportFromDaemon(clientOf(transfer, "none"), ["a"], { signal: abort.signal }));
    expect(codeOf(await reading.catch((error: unknown) => error))).toBe(Code.Canceled);
  });
});

describe("credentials that cannot be had", () => {
  it.each([
    ["pullInDaemon", pullInDaemon],
    ["pushFromDaemon", pushFromDaemon],
  ])("end %s, which waits for them", async (_, move) => {
    let isEnded = false;
    const transport = createRouterTransport(({ service }) => {
      service(Streaming, {
        async *stream(incoming, { signal }) {
          await incoming[Symbol.asyncIterator]().next();
          yield { typeUrl: "google.protobuf.Empty", value: new Uint8Array() };
          yield packMessage(AuthRequestSchema, { host: "example.org", reference: "example.org/a:1" });
          await aborted(signal);
        },
      });
      service(Transfer, {
        async transfer(request, { signal }) {
          await aborted(signal);
          isEnded = true;
          return {};
        },
      });
    });
    const client = new Client(transport, parseNamespace(DEFAULT_NAMESPACE));
    const credentials = (): Promise<never> => Promise.reject(failedPrecondition("no helper"));
    const reason = await move(client, "example.org/a:1", { credentials, platforms: [] }).catch(
      (error: unknown) => error,
    );
    expect(codeOf(reason)).toBe(Code.FailedPrecondition);
    await expect.poll(() => isEnded).toBe(true);
  });
});

describe("a daemon that does not open, or does not end, a stream", () => {
  const options = { platforms: [], baseName: "", credentials: async () => undefined, onProgress: () => {} };
  type Call = (client: Client, signal: AbortSignal) => Promise<unknown>;
  /** What the call ends with when it is aborted after the transfer: what was asked for is done then, but for an archive, which is not whole. */
  const calls: readonly (readonly [name: string, afterwards: Code | undefined, Call])[] = [
    ["pullInDaemon", undefined, (client, signal) => pullInDaemon(client, "example.org/a:1", { ...options, signal })],
    ["tagInDaemon", undefined, (client, signal) => tagInDaemon(client, "a", "b", { ...options, signal })],
    ["importInDaemon", undefined, (client, signal) => importInDaemon(client, nothing(), { ...options, signal })],
    [
      "exportFromDaemon",
      Code.Canceled,
      (client, signal) => Array.fromAsync(exportFromDaemon(client, ["a"], { ...options, signal })),
    ],
  ];

  it.each(
    calls.flatMap(([name, afterwards, call]) => [
      [name, true, afterwards, call] as const,
      [name, false, Code.Canceled, call] as const,
    ]),
  )("%s of one that opens it: %s, ends with its signal", async (_, opens, expected, call) => {
    const reached = Promise.withResolvers<void>();
    /** Once the daemon's answer is here, and the client waits for the stream alone. */
    const answered: Interceptor = (next) => async (request) => {
      const answer = await next(request);
      if (!answer.stream) setTimeout(() => reached.resolve(), 0);
      return answer;
    };
    const transport = createRouterTransport(
      ({ service }) => {
        service(Streaming, {
          async *stream() {
            if (opens) yield { typeUrl: "google.protobuf.Empty", value: new Uint8Array() };
            else reached.resolve();
            // As a daemon that has stopped: it does not even notice that its caller leaves.
            await new Promise(() => {});
          },
        });
        service(Transfer, { transfer: () => ({}) });
      },
      { transport: { interceptors: [answered] } },
    );
    const abort = new AbortController();
    const ending = call(new Client(transport, parseNamespace(DEFAULT_NAMESPACE)), abort.signal).then(
      () => undefined,
      (error: unknown) => codeOf(error),
    );
    await reached.promise;
    abort.abort();
    expect(await ending).toBe(expected);
  });
});

async function* nothing(): AsyncGenerator<Uint8Array, void, undefined> {}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

import { Streaming } from "@berth/api/containerd/services/streaming/v1/streaming";
import { Transfer } from "@berth/api/containerd/services/transfer/v1/transfer";
import { ImageStoreSchema } from "@berth/api/containerd/types/transfer/imagestore";
import { WindowUpdateSchema } from "@berth/api/containerd/types/transfer/streaming";
import { packMessage, unpackMessage } from "@berth/core/messages";
import { DEFAULT_NAMESPACE, parseNamespace } from "@berth/core/namespaces";
import { Code, codeOf, notFound } from "@berth/errors";
import { createRouterTransport } from "@connectrpc/connect";
import { describe, expect, it } from "vitest";

import { Client } from "./client.ts";
import { exportFromDaemon, tagInDaemon } from "./transfer-in-daemon.ts";

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

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

import { Streaming } from "@berth/api/containerd/services/streaming/v1/streaming";
import { Transfer } from "@berth/api/containerd/services/transfer/v1/transfer";
import { WindowUpdateSchema } from "@berth/api/containerd/types/transfer/streaming";
import { packMessage } from "@berth/core/messages";
import { DEFAULT_NAMESPACE, parseNamespace } from "@berth/core/namespaces";
import { Code, codeOf, notFound } from "@berth/errors";
import { createRouterTransport } from "@connectrpc/connect";
import { describe, expect, it } from "vitest";

import { Client } from "./client.ts";
import { exportFromDaemon } from "./transfer-in-daemon.ts";

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

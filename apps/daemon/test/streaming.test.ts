import { StreamInitSchema, Streaming } from "@berth/api/containerd/services/streaming/v1/streaming";
import { Leases } from "@berth/api/containerd/services/leases/v1/leases";
import { createUnixTransport } from "@berth/client/transport";
import type { AnyValue } from "@berth/core/any";
import { codeName, codeOf } from "@berth/errors";
import { startBerthd } from "@berth/testing";
import { create, toBinary } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { expect, it } from "vitest";

/** A request stream that names a stream and then stays open. */
async function* naming(id: string, end: AbortSignal): AsyncGenerator<AnyValue> {
  yield { typeUrl: StreamInitSchema.typeName, value: toBinary(StreamInitSchema, create(StreamInitSchema, { id })) };
  await new Promise<void>((resolve) => end.addEventListener("abort", () => resolve(), { once: true }));
}

it("a stream lives as long as its lease, and one without until its client leaves", { timeout: 60_000 }, async () => {
  await using daemon = await startBerthd();
  const transport = createUnixTransport({ path: daemon.address, namespace: "default" });
  const leases = createClient(Leases, transport);
  const streaming = createClient(Streaming, transport);
  const end = new AbortController();
  const open = async (id: string, headers: Record<string, string> = {}) => {
    const answers = streaming.stream(naming(id, end.signal), { headers, signal: end.signal })[Symbol.asyncIterator]();
    expect((await answers.next()).value).toMatchObject({ typeUrl: "google.protobuf.Empty" });
    return answers;
  };
  const { lease } = await leases.create({ id: "l1" });
  const leased = await open("leased", { "containerd-lease": lease?.id ?? "" });
  const free = await open("free");
  await leases.delete({ id: "l1", sync: true });
  expect((await leased.next()).done).toBe(true);
  const again = open("free").then(
    () => "ok",
    (error: unknown) => codeName(codeOf(error)),
  );
  expect(await again).toBe("already_exists");
  end.abort();
  await free.next().catch(() => {});
  transport.close();
});

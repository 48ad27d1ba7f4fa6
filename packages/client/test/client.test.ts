import { parseNamespace } from "@berth/core/namespaces";
import { Code, codeOf } from "@berth/errors";
import { startContainerd } from "@berth/testing";
import type { PeerDaemon } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import type { Client } from "../src/index.ts";
import { createClient } from "../src/index.ts";
import { PROBE_TOPIC, untilSubscribed } from "./until-subscribed.ts";

describe("createClient", () => {
  let daemon: PeerDaemon;
  let client: Client;

  beforeAll(async () => {
    daemon = await startContainerd();
    client = createClient({ address: `unix://${daemon.address}`, namespace: "one" });
  });

  afterAll(async () => {
    await client[Symbol.asyncDispose]();
    await daemon[Symbol.asyncDispose]();
  });

  const failure = async (call: Promise<unknown>): Promise<Code> =>
    codeOf(
      await call.then(
        () => undefined,
        (error: unknown) => error,
      ),
    );

  it("asks the daemon about itself", async () => {
    expect((await client.version()).version).toMatch(/^1\.6\./);
    expect((await client.server()).uuid).toMatch(/^[0-9a-f-]{36}$/);
    expect(await client.health()).toBe(true);
    const plugins = await client.plugins();
    const status = (id: string) => plugins.find((plugin) => plugin.id === id)?.status;
    expect([status("overlayfs"), status("zfs"), status("devmapper")]).toEqual(["loaded", "skipped", "failed"]);
    expect((await client.plugins({ filters: ["id==native"] })).map(({ type }) => type)).toEqual([
      "io.containerd.snapshotter.v1",
    ]);
  });

  it("withLease holds what is written and is gone afterwards, also after a failure", async () => {
    const held = await client.withLease(async (leased) => {
      await leased.snapshotter("native").prepare("work", "");
      const [lease] = await Array.fromAsync(client.leases.list());
      expect(Date.parse(lease?.labels.get("containerd.io/gc.expire") ?? "")).toBeGreaterThan(
        Date.now() + 23 * 3600_000,
      );
      return Array.fromAsync(client.leases.listResources(lease?.id ?? ""));
    });
    expect(held).toEqual([{ id: "work", type: "snapshots/native" }]);
    const failing = client.withLease(() => Promise.reject(new Error("no")));
    await expect(failing).rejects.toThrow("no");
    expect(await Array.fromAsync(client.leases.list())).toEqual([]);
  });

  it("scoped works in another namespace on the same connection", async () => {
    const two = client.scoped({ namespace: "two" });
    await two.leases.create({ id: "mine", labels: new Map() });
    expect(await Array.fromAsync(client.leases.list())).toEqual([]);
    expect((await Array.fromAsync(two.leases.list())).map(({ id }) => id)).toEqual(["mine"]);
  });

  it("events are published and forwarded in the namespace given", async () => {
    const abort = new AbortController();
    const events = client.events.subscribe({ filters: ['topic~="^/test/"'], signal: abort.signal });
    const event = { typeUrl: "containerd.events.NamespaceDelete", value: new Uint8Array([10, 1, 120]) };
    const envelopes = events[Symbol.asyncIterator]();
    await untilSubscribed(client, envelopes.next());
    await client.events.publish(parseNamespace("three"), "/test/one", event);
    await client.events.forward({
      namespace: parseNamespace("four"),
      topic: "/test/two",
      event,
      timestampNs: 1_000_000_001n,
    });
    const seen: string[] = [];
    for await (const envelope of { [Symbol.asyncIterator]: () => envelopes }) {
      if (envelope.topic === PROBE_TOPIC) continue;
      seen.push(
        `${envelope.namespace} ${envelope.topic} ${envelope.topic === "/test/two" ? envelope.timestampNs : ""}`,
      );
      expect(envelope.event).toEqual(event);
      if (seen.length === 2) break;
    }
    expect(seen).toEqual(["three /test/one ", "four /test/two 1000000001"]);
    expect(await failure(client.events.publish(parseNamespace("three"), "bad topic", event))).toBe(
      Code.InvalidArgument,
    );
  });

  it("a subscription that nobody reads does not disturb when the connection ends", async () => {
    const other = createClient({ address: daemon.address });
    other.events.subscribe();
    await new Promise((resolve) => setTimeout(resolve, 100));
    await other[Symbol.asyncDispose]();
    await new Promise((resolve) => setTimeout(resolve, 100));
  });

  it("refuses a bad namespace at once, and an address without a daemon at the first call", async () => {
    expect(() => createClient({ address: daemon.address, namespace: "a/b" })).toThrow();
    await using nobody = createClient({ address: "/nonexistent/berth.sock", connectTimeoutMs: 500 });
    expect(await failure(nobody.version())).toBe(Code.Unavailable);
  });
});

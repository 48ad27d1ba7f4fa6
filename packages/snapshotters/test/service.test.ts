import { join } from "node:path";

import { Kind } from "@berth/api/containerd/services/snapshots/v1/snapshots";
import { Code, codeOf, invalidArgument } from "@berth/errors";
import { createRpcServer, serviceRoute } from "@berth/rpc";
import { createClient, createUnixTransport } from "@berth/rpc/client";
import { temporaryDirectory } from "@berth/testing";
import { describe, expect, it } from "vitest";

import { openOverlaySnapshotter } from "../src/overlayfs.ts";
import { createSnapshotService, Snapshots } from "../src/service.ts";

async function openService() {
  await using made = new AsyncDisposableStack();
  const directory = made.use(await temporaryDirectory("snapshots"));
  const { snapshotter: local } = await openOverlaySnapshotter({ root: join(directory.path, "root"), syncFs: false });
  made.use(local);
  const snapshotterFor = (_context: unknown, name: string) => {
    if (name !== "overlayfs") throw invalidArgument(`snapshotter ${name}`);
    return local;
  };
  const routes = [serviceRoute(Snapshots, createSnapshotService({ snapshotterFor }))];
  const server = made.use(createRpcServer({ routes }));
  const path = join(directory.path, "socket");
  await server.listen({ path });
  const client = createClient(Snapshots, made.use(createUnixTransport({ path })));
  const owned = made.move();
  return { client, root: join(directory.path, "root"), [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

const snapshotter = "overlayfs";

async function codeFrom(promise: Promise<unknown>): Promise<Code | "resolved"> {
  return promise.then(() => "resolved" as const, codeOf);
}

describe("snapshots service", () => {
  it("carries a snapshot from Prepare to Remove", async () => {
    await using service = await openService();
    const { client, root } = service;
    const labels = { "containerd.io/snapshot/a": "1" };
    const { mounts } = await client.prepare({ snapshotter, key: "work", labels });
    expect(mounts).toMatchObject([
      { type: "bind", source: `${root}/snapshots/1/fs`, target: "", options: ["rw", "rbind"] },
    ]);
    expect((await client.mounts({ snapshotter, key: "work" })).mounts).toEqual(mounts);
    await client.commit({ snapshotter, key: "work", name: "base" });
    const view = await client.view({ snapshotter, key: "look", parent: "base" });
    expect(view.mounts).toMatchObject([{ type: "bind", options: ["ro", "rbind"] }]);
    const { info } = await client.stat({ snapshotter, key: "look" });
    expect(info).toMatchObject({ name: "look", parent: "base", kind: Kind.VIEW });
    expect(info?.createdAt).toBeDefined();
    expect(await client.usage({ snapshotter, key: "base" })).toMatchObject({ inodes: 1n });
    await client.remove({ snapshotter, key: "look" });
    await client.cleanup({ snapshotter });
    await client.remove({ snapshotter, key: "base" });
  });

  it("updates labels by mask", async () => {
    await using service = await openService();
    const { client } = service;
    await client.prepare({ snapshotter, key: "work", labels: { a: "1", b: "2" } });
    const info = { name: "work", labels: { a: "9", b: "9", "c.d": "3" } };
    const updated = await client.update({ snapshotter, info, updateMask: { paths: ["labels.c.d", "labels.a"] } });
    expect(updated.info?.labels).toEqual({ a: "9", b: "2", "c.d": "3" });
    expect(await codeFrom(client.update({ snapshotter, info, updateMask: { paths: ["kind"] } }))).toBe(
      Code.InvalidArgument,
    );
    expect(await codeFrom(client.update({ snapshotter }))).toBe(Code.InvalidArgument);
  });

  it("rebases at Commit", async () => {
    await using service = await openService();
    const { client } = service;
    for (const key of ["one", "two"]) await client.prepare({ snapshotter, key });
    await client.commit({ snapshotter, key: "one", name: "base" });
    await client.commit({ snapshotter, key: "two", name: "top", parent: "base" });
    expect((await client.stat({ snapshotter, key: "top" })).info).toMatchObject({
      parent: "base",
      kind: Kind.COMMITTED,
    });
    expect(await codeFrom(client.remove({ snapshotter, key: "base" }))).toBe(Code.FailedPrecondition);
  });

  it("lists in blocks of 100", async () => {
    await using service = await openService();
    const { client } = service;
    await Promise.all(Array.from({ length: 101 }, (_, index) => client.prepare({ snapshotter, key: `k${index}` })));
    const blocks = await Array.fromAsync(client.list({ snapshotter }));
    expect(blocks.map(({ info }) => info.length)).toEqual([100, 1]);
    const [only] = await Array.fromAsync(client.list({ snapshotter, filters: ["name==k7"] }));
    expect(only?.info.map(({ name }) => name)).toEqual(["k7"]);
  });

  it("passes on the codes of the snapshotter", async () => {
    await using service = await openService();
    const { client } = service;
    expect(await codeFrom(client.stat({ snapshotter, key: "nobody" }))).toBe(Code.NotFound);
    expect(await codeFrom(client.stat({ snapshotter: "zfs", key: "nobody" }))).toBe(Code.InvalidArgument);
    expect(await codeFrom(client.prepare({ snapshotter, key: "" }))).toBe(Code.InvalidArgument);
    expect(await codeFrom(Array.fromAsync(client.list({ snapshotter, filters: ["name?"] })))).toBe(
      Code.InvalidArgument,
    );
  });
});

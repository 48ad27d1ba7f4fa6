import { join } from "node:path";

import { Code, codeOf } from "@berth/errors";
import { seededRandom, sha256, traceCalls } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { checkLeaks } from "./check-leaks.ts";
import { checkState } from "./check-state.ts";
import { FaultRig } from "./fault-rig.ts";
import { checkRecovered, prepareOperation } from "./kill-round.ts";
import { COMMITTED, fillActive, operationNamed } from "./operations.ts";

describe("a call that fails with EIO", { timeout: 120_000 }, () => {
  let rig: FaultRig;
  beforeAll(async () => void (rig = await FaultRig.start()));
  afterAll(() => rig[Symbol.asyncDispose]());

  it.each([
    ["fsync of content", "write", "fsync", 1],
    ["fsync of the directory of content", "write", "fsync", 2],
    ["syncfs of a layer", "unpack", "syncfs", 1],
    ["file of a layer", "unpack", "mknodat", 1],
  ] as const)(
    "%s: the operation fails as data_loss, the next one succeeds, the daemon goes on",
    async (_, name, call, count) => {
      const { pid } = rig.daemon;
      await prepareOperation(rig, operationNamed(name));
      {
        const when = count === undefined ? "" : `:when=${count}`;
        await using _tracer = await traceCalls(pid, { calls: [call], inject: `error=EIO${when}` });
        const failure: unknown = await operationNamed(name)
          .run(rig)
          .then(
            () => "no failure",
            (error: unknown) => error,
          );
        expect(codeOf(failure), String(failure)).toBe(Code.DataLoss);
      }
      expect(await checkRecovered(rig, operationNamed(name))).toEqual([]);
      expect(rig.daemon.pid).toBe(pid);
    },
  );

  it("syncfs of a snapshot: its commit fails as data_loss for good, for nobody knows what is missing; others are committed", async () => {
    await prepareOperation(rig, operationNamed("commit"));
    const snapshotter = rig.client.snapshotter(rig.snapshotter);
    {
      await using _tracer = await traceCalls(rig.daemon.pid, { calls: ["syncfs"], inject: "error=EIO:when=1" });
      await expect(operationNamed("commit").run(rig)).rejects.toMatchObject({ code: Code.DataLoss });
    }
    await expect(operationNamed("commit").run(rig)).rejects.toMatchObject({ code: Code.DataLoss });
    await snapshotter.remove(COMMITTED.key);
    await fillActive(rig);
    await operationNamed("commit").run(rig);
    expect(await checkState(rig)).toEqual([]);
    expect(await checkLeaks(rig)).toEqual([]);
  });

  it("write of content: fails as data_loss, and can be resumed", async () => {
    await prepareOperation(rig, operationNamed("import"));
    await rig.client.leases.create({ id: "fault-lease", labels: new Map() });
    const { content } = rig.client.scoped({ lease: "fault-lease" });
    const bytes = seededRandom(1).bytes(300_000);
    {
      await using writer = await content.writer("fault", { total: bytes.length });
      await writer.write(bytes.subarray(0, 100_000));
      const paths = [...(await rig.listFiles())].filter((path) => /\/ingest\/\w+\/data$/.test(path));
      await using _tracer = await traceCalls(rig.daemon.pid, {
        calls: ["write", "pwrite64"],
        inject: "error=EIO",
        paths,
      });
      // Told by one of the calls after the write, which does not wait.
      const failure: unknown = await writer
        .write(bytes.subarray(100_000))
        .then(() => writer.commit({ size: bytes.length }))
        .catch((error: unknown) => error);
      expect(codeOf(failure), String(failure)).toBe(Code.DataLoss);
    }
    await using writer = await content.writer("fault", { total: bytes.length });
    await writer.write(bytes.subarray((await writer.status()).offset));
    expect((await writer.commit({ size: bytes.length })).digest).toBe(sha256(bytes));
    expect(await checkState(rig)).toEqual([]);
    expect(await checkLeaks(rig)).toEqual([]);
  });

  it("read of content: fails as data_loss, and can be read afterwards", async () => {
    await prepareOperation(rig, operationNamed("import"));
    // Smaller ones may come from memory.
    const [{ digest, size } = rig.images.first.config] = rig.images.first.layers;
    const read = async (): Promise<number> => {
      await using reader = await rig.client.content.reader(digest);
      return (await reader.readAt(0, reader.size)).length;
    };
    {
      const paths = [join(rig.daemon.root, "io.containerd.content.v1.content", "blobs", ...digest.split(":"))];
      await using _tracer = await traceCalls(rig.daemon.pid, {
        calls: ["read", "pread64"],
        inject: "error=EIO",
        paths,
      });
      expect(codeOf(await read().catch((error: unknown) => error))).toBe(Code.DataLoss);
    }
    expect(await read()).toBe(size);
    expect(await checkState(rig)).toEqual([]);
    expect(await checkLeaks(rig)).toEqual([]);
  });

  it.each([
    ["metadata", "io.containerd.metadata.v1.bolt/meta.mdb", "write"],
    ["snapshots", "io.containerd.snapshotter.v1.overlayfs/metadata.mdb", "unpack"],
  ])(
    "fsync of the database of %s: the daemon says so and stops, the next one has all that was acknowledged",
    async (_, file, name) => {
      await prepareOperation(rig, operationNamed(name));
      const path = join(rig.daemon.root, file);
      {
        const calls = ["fdatasync", "fsync", "msync"];
        await using _tracer = await traceCalls(rig.daemon.pid, { calls, inject: "error=EIO:when=2", paths: [path] });
        await expect(operationNamed(name).run(rig)).rejects.toThrow();
        await rig.daemon.ended;
      }
      expect(await rig.daemon.log()).toContain(path);
      await rig.restart();
      expect(await checkRecovered(rig, operationNamed(name))).toEqual([]);
    },
  );

  type Change = (rig: FaultRig) => Promise<unknown>;
  it.each<readonly [string, string, Change, Change]>([
    [
      "metadata",
      "io.containerd.metadata.v1.bolt/meta.mdb",
      ({ client }) => client.leases.create({ id: "failing", labels: new Map() }),
      ({ client }) => client.leases.delete("failing"),
    ],
    [
      "snapshots",
      "io.containerd.snapshotter.v1.overlayfs/metadata.mdb",
      (rig) => rig.client.snapshotter(rig.snapshotter).prepare("failing", ""),
      (rig) => rig.client.snapshotter(rig.snapshotter).remove("failing"),
    ],
  ])(
    "write to the database of %s: the operation fails as data_loss, the next one succeeds, the daemon goes on",
    async (_, file, change, undo) => {
      const { pid } = rig.daemon;
      {
        // The first call of the only transaction: the pages whose write puts them on disk as well come last.
        await using _tracer = await traceCalls(pid, {
          calls: ["pwrite64", "writev"],
          inject: "error=EIO:when=1",
          paths: [join(rig.daemon.root, file)],
        });
        await expect(change(rig)).rejects.toMatchObject({ code: Code.DataLoss });
      }
      await change(rig);
      await undo(rig);
      expect(await checkState(rig)).toEqual([]);
      expect(await checkLeaks(rig)).toEqual([]);
      expect(rig.daemon.pid).toBe(pid);
    },
  );

  it("write of the first pages of a database, as no space: the daemon says so and stops, for the file is given up", async () => {
    const { client, daemon } = rig;
    const path = join(daemon.root, "io.containerd.metadata.v1.bolt/meta.mdb");
    const update = (id: string) => client.leases.create({ id, labels: new Map() });
    const trace = { calls: ["pwrite64"], paths: [path] };
    let first: number;
    {
      await using tracer = await traceCalls(daemon.pid, trace);
      await update("counted");
      await tracer.detach();
      const lines = await tracer.lines();
      first = 1 + lines.findIndex((line) => Number(/, (\d+)\) = /.exec(line)?.[1]) < 8192);
      expect(first, lines.join("\n")).toBeGreaterThan(0);
    }
    {
      await using _tracer = await traceCalls(daemon.pid, { ...trace, inject: `error=ENOSPC:when=${first}+` });
      await expect(update("fails")).rejects.toMatchObject({ code: Code.Unavailable });
      await daemon.ended;
    }
    expect(await daemon.log()).toContain(path);
    await rig.restart();
    expect(await Array.fromAsync(rig.client.leases.list(), ({ id }) => id)).toContain("counted");
    expect(await checkLeaks(rig)).toEqual([]);
  });
});

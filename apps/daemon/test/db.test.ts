import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

import type { Client } from "@berth/client";
import { createClient } from "@berth/client";
import { writeBlob } from "@berth/core/content";
import type { ProgramResult } from "@berth/testing";
import { launcher, runProgram, sha256, startBerthd, temporaryDirectory } from "@berth/testing";
import { describe, expect, it } from "vitest";

async function putBlob(client: Client, text: string): Promise<{ digest: ReturnType<typeof sha256>; size: number }> {
  const bytes = new TextEncoder().encode(text);
  const blob = { digest: sha256(bytes), size: bytes.length };
  await writeBlob(client.content, blob.digest, [bytes], blob);
  return blob;
}

/** This runs a daemon on a directory until `work` is done. */
async function withDaemon(directory: string, work: (client: Client) => Promise<void>): Promise<void> {
  await using daemon = await startBerthd({ directory });
  await using client = createClient({ address: daemon.address });
  await work(client);
}

/** An image of one layer, made by hand. */
async function putImage(client: Client, name: string): Promise<void> {
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  await client.withLease(async (leased) => {
    const config = await putBlob(leased, JSON.stringify({ name }));
    const layer = await putBlob(leased, `layer of ${name}`);
    const manifest = { schemaVersion: 2, mediaType, config: { mediaType: "c", ...config }, layers: [] as object[] };
    manifest.layers.push({ mediaType: "l", ...layer });
    const target = { mediaType, ...(await putBlob(leased, JSON.stringify(manifest))) };
    const labels = new Map([
      ["containerd.io/gc.ref.content.config", config.digest],
      ["containerd.io/gc.ref.content.l.0", layer.digest],
    ]);
    await client.content.update({ digest: target.digest, labels }, { fieldpaths: ["labels"] });
    await client.images.create({ name, labels: new Map(), target });
  });
}

function db(directory: string, ...args: string[]): Promise<ProgramResult> {
  const flags = ["--root", join(directory, "root"), "--state", join(directory, "state")];
  return runProgram(launcher("berthd"), [...flags, "db", ...args]);
}

async function json(result: Promise<ProgramResult>): Promise<unknown> {
  const { stdout } = await result;
  return JSON.parse(stdout);
}

describe("berthd db", () => {
  it("refuses a root that a daemon has, and one that is not there", async () => {
    await using directory = await temporaryDirectory("db");
    await withDaemon(directory.path, async () => {
      for (const command of ["check", "repair", "export", "stats"]) {
        const { code, stderr, stdout } = await db(directory.path, command);
        expect([code, stdout]).toEqual([1, ""]);
        expect(stderr).toContain("daemon is running");
      }
    });
    expect((await db(join(directory.path, "nothing"), "check")).code).toBe(1);
    expect((await db(directory.path, "check")).stdout).toBe("nothing is broken\n");
  });

  it("checks, repairs and tells by its exit code; the daemon starts with what was repaired", async () => {
    await using directory = await temporaryDirectory("db");
    await withDaemon(directory.path, (client) => putImage(client, "example.org/image:1"));
    const database = join(directory.path, "root", "io.containerd.metadata.v1.bolt", "meta.mdb");
    await writeFile(database, Buffer.alloc(20_000, "not any more"));
    const check = await db(directory.path, "check");
    expect(check.code).toBe(1);
    expect(check.stdout).toMatch(/^error {3}unreadable-database: .*\n {2}repair: .*\n1 broken\n$/);
    // Nothing is changed without being asked for.
    expect((await db(directory.path, "repair")).stdout).toContain("1 to repair: run again with --apply");
    expect((await db(directory.path, "repair", "--dry-run")).code).toBe(0);
    expect((await db(directory.path, "repair", "--dry-run", "--apply")).code).toBe(1);
    const repaired = await json(db(directory.path, "repair", "--apply", "--format", "json"));
    expect(repaired).toMatchObject({ repairs: [{ kind: "unreadable-database" }, { kind: "lost-image" }] });
    expect(await json(db(directory.path, "check", "--verify", "--format", "json"))).toEqual({ findings: [] });
    await withDaemon(directory.path, async ({ images, content }) => {
      expect(await Array.fromAsync(images.list())).toHaveLength(1);
      expect(await Array.fromAsync(content.list())).toHaveLength(3);
    });
  });

  it("exports and counts every record", async () => {
    await using directory = await temporaryDirectory("db");
    await withDaemon(directory.path, (client) => putImage(client, "example.org/image:1"));
    const exported = await json(db(directory.path, "export"));
    expect(exported).toMatchObject({
      schemaVersion: 2,
      damagedRecords: 0,
      records: expect.arrayContaining([
        expect.objectContaining({ table: "images", namespace: "default", key: "example.org/image:1" }),
      ]),
    });
    const stats = await json(db(directory.path, "stats", "--format", "json"));
    expect(stats).toMatchObject({
      records: { default: { namespaces: 1, images: 1, content: 3 } },
      content: { blobs: 3 },
      snapshotters: { overlayfs: { snapshots: 0 }, native: { snapshots: 0 } },
    });
    expect((await db(directory.path, "stats")).stdout).toContain("namespace default");
  });

  // The output of a worker is piped into that of the program, which then listens for errors of it already.
  const worker = `import { Worker } from "node:worker_threads"; new Worker("setInterval(() => {}, 1000)", { eval: true }).unref()`;
  it.each([
    ["db export", "alone", ""],
    ["db export", "beside a worker", `--import=data:text/javascript,${encodeURIComponent(worker)}`],
    ["config default", "alone", ""],
  ])("ends silently when nobody reads %s %s", async (command, _case, options) => {
    await using directory = await temporaryDirectory("db");
    await withDaemon(directory.path, (client) => putImage(client, "example.org/image:1"));
    // A pipe that nobody reads, from the first byte on.
    const script = `mkfifo "$1/pipe" && exec 3<>"$1/pipe" 4>"$1/pipe" 3<&-; exec "$0" --root "$1/root" --state "$1/state" ${command} >&4 4>&-`;
    const env = { NODE_OPTIONS: options };
    const { code, stderr } = await runProgram("/bin/sh", ["-c", script, launcher("berthd"), directory.path], { env });
    expect([code, stderr]).toEqual([141, ""]);
  });

  it("says that a snapshotter cannot be opened, and looks at the rest", async () => {
    await using directory = await temporaryDirectory("db");
    await withDaemon(directory.path, (client) => putImage(client, "example.org/image:1"));
    const path = join(directory.path, "root", "io.containerd.snapshotter.v1.native");
    await rm(path, { recursive: true });
    await writeFile(path, "no directory");
    const { code, stdout } = await db(directory.path, "check");
    expect([code, stdout]).toEqual([1, expect.stringContaining("broken-snapshotter: snapshotter native")]);
    expect(stdout).toContain("1 broken");
  });
});

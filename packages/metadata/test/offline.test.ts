import { commitSnapshot, labels, putContainer } from "@berth/conformance/collector";
import { chmod, readdir, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { createLocalContentStore } from "@berth/content";
import type { Namespace } from "@berth/core/namespaces";
import { Database } from "@berth/database";
import { Code, codeOf } from "@berth/errors";
import type { Digest } from "@berth/oci";
import { digestHex, MediaType, parseDigest } from "@berth/oci";
import { openNativeSnapshotter } from "@berth/snapshotters/native";
import fc from "fast-check";
import { temporaryDirectory } from "@berth/testing";
import { describe, expect, it } from "vitest";

import type { MetadataDatabase } from "../src/database/metadata-database.ts";
import { encodeRecordKey } from "../src/database/record-key.ts";
import { blobs, containers, images, snapshots } from "../src/database/tables.ts";
import type { Transaction } from "../src/database/transaction.ts";
import type { CheckOptions, Finding, OfflineStorage } from "../src/offline.ts";
import { checkStorage, exportRecords, OfflineDatabase, repairStorage, storageStats } from "../src/offline.ts";
import { parseNode } from "../src/offline/manifest-graph.ts";
import type { Storage } from "./daemon-storage.ts";
import { openDatabase, openStorage, putText, testNamespace } from "./daemon-storage.ts";

const OPTIONS: CheckOptions = { namespace: "default" };
const at = (key: string, group = "") => ({ namespace: testNamespace, group, key });

interface Damaged extends OfflineStorage, AsyncDisposable {
  readonly root: string;
}

/** This makes a root with `build`, stops, damages it, and opens its backends. */
async function damagedRoot(
  build: (storage: Storage) => Promise<void>,
  damage: (root: string) => Promise<void> = async () => {},
): Promise<Damaged> {
  await using made = new AsyncDisposableStack();
  const root = made.use(await temporaryDirectory("metadata")).path;
  {
    await using storage = await openStorage({ root });
    await build(storage);
  }
  await damage(root);
  const content = await createLocalContentStore({ root: join(root, "content") });
  const native = made.use(await openNativeSnapshotter({ root: join(root, "native") }));
  const owned = made.move();
  return {
    root,
    path: join(root, "meta.mdb"),
    content,
    snapshotters: new Map([["native", native]]),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** This writes records past all rules. */
async function writeRecords(root: string, run: (tx: Transaction) => void): Promise<void> {
  await withDatabase(join(root, "meta.mdb"), (database) =>
    database.update((tx) => {
      run(tx);
    }),
  );
}

async function withDatabase<T>(path: string, work: (database: MetadataDatabase) => Promise<T>): Promise<T> {
  await using database = await openDatabase(path);
  return await work(database);
}

async function check(storage: OfflineStorage, options: Partial<CheckOptions> = {}): Promise<Finding[]> {
  return Array.fromAsync(checkStorage(storage, { ...OPTIONS, ...options }));
}

const briefly = (findings: readonly Finding[]) =>
  findings.map(({ severity, kind, subject }) => `${severity} ${kind} ${subject}`).toSorted();

const json = (value: unknown): string => JSON.stringify(value);

/** This stores an image without a record: manifest, configuration and layer, with no labels between them. */
async function putManifest(storage: Storage, name: string, annotations: Record<string, string> = {}): Promise<Digest> {
  const { content } = storage.stores;
  const layer = await putText(content, `layer ${name}`);
  const config = await putText(content, json({ architecture: "amd64", os: "linux", config: {}, name }));
  return putText(
    content,
    json({
      schemaVersion: 2,
      mediaType: MediaType.ociManifest,
      config: { mediaType: MediaType.ociConfig, digest: config, size: 1 },
      layers: [{ mediaType: MediaType.ociLayer, digest: layer, size: 1 }],
      annotations,
    }),
  );
}

const blobPath = (root: string, digest: Digest): string => join(root, "content/blobs/sha256", digestHex(digest));

describe("checkStorage", () => {
  it("finds nothing broken in what is whole, and changes nothing", async () => {
    await using root = await damagedRoot(async (storage) => {
      const digest = await putText(storage.stores.content, "text");
      const target = { mediaType: "m", digest, size: 4 };
      await storage.stores.images.create({ name: "image", labels: new Map(), target });
      await commitSnapshot(storage.stores, "base");
      await storage.stores.snapshotter("native").prepare("rw", "base");
      await putContainer(storage.stores, "rw");
      await storage.stores.leases.create({ id: "l", labels: new Map() });
    });
    expect(await check(root, { verify: true })).toEqual([]);
    expect(await Array.fromAsync(repairStorage(root, OPTIONS))).toEqual([]);
  });

  it("holds records of blobs against the files, by size and by every byte", async () => {
    const digests: Digest[] = [];
    await using root = await damagedRoot(
      async ({ stores }) => {
        for (const text of ["missing", "short", "changed", "whole"]) digests.push(await putText(stores.content, text));
      },
      async (path) => {
        const [missing, short, changed] = digests as [Digest, Digest, Digest, Digest];
        await rm(blobPath(path, missing));
        for (const digest of [short, changed]) await chmod(blobPath(path, digest), 0o600);
        await truncate(blobPath(path, short), 2);
        await writeFile(blobPath(path, changed), "chanGed");
      },
    );
    const [missing, short, changed] = digests;
    expect(briefly(await check(root))).toEqual(
      [`error damaged-blob content ${short}`, `error missing-blob content ${missing}`].toSorted(),
    );
    expect(briefly(await check(root, { verify: true }))).toEqual(
      [
        `error missing-blob content ${missing}`,
        `error wrong-digest blob ${changed}`,
        `error wrong-digest blob ${short}`,
      ].toSorted(),
    );
    const repaired = await Array.fromAsync(repairStorage(root, { ...OPTIONS, verify: true }));
    expect(repaired.filter(({ failure }) => failure !== undefined)).toEqual([]);
    expect(await check(root, { verify: true })).toEqual([]);
    expect((await Array.fromAsync(root.content.list())).map(({ digest }) => digest)).toEqual([digests[3]]);
  });

  it("holds records of snapshots against the snapshotter, and counts children", async () => {
    await using root = await damagedRoot(
      async ({ stores, native }) => {
        await commitSnapshot(stores, "base");
        await commitSnapshot(stores, "lost", "base");
        await putContainer(stores, "");
        await native.prepare("foreign", "");
      },
      async (path) => {
        await using native = await openNativeSnapshotter({ root: join(path, "native") });
        for await (const { name } of native.list()) if (name.endsWith("/lost")) await native.remove(name);
        await writeRecords(path, (tx) => {
          const container = tx.get(containers, at("container")) ?? expect.fail("no container");
          tx.put(containers, at("container"), { ...container, snapshotter: "native", snapshotKey: "gone" });
          const base = tx.get(snapshots, at("base", "native")) ?? expect.fail("no snapshot");
          tx.put(snapshots, at("base", "other"), { ...base, parent: "nobody", children: 0 });
        });
      },
    );
    expect(briefly(await check(root))).toEqual([
      "error missing-parent snapshot base of other",
      "error missing-snapshot snapshot lost of native",
      "error missing-snapshot-of-container container container",
      "info unknown-snapshot snapshot foreign of native",
      "warning missing-snapshotter snapshotter other",
    ]);
    // Without its child the parent has to count again: a second round.
    const repairs = await Array.fromAsync(repairStorage(root, OPTIONS));
    expect(repairs.map(({ finding }) => finding.kind)).toEqual(["missing-snapshot", "wrong-children"]);
    expect(briefly(await check(root)).filter((line) => line.includes("of native"))).toEqual([
      "info unknown-snapshot snapshot foreign of native",
    ]);
  });

  it("tells snapshots whose files are gone, and removes the records of all that stands on them, but nothing that was written", async () => {
    await using root = await damagedRoot(
      async ({ stores }) => {
        for (const [name, parent] of [
          ["a", ""],
          ["b", "a"],
          ["c", ""],
          ["x", ""],
          ["y", "x"],
          ["d", ""],
        ] as const) {
          await commitSnapshot(stores, name, parent, { "containerd.io/snapshot.ref": name });
        }
        await commitSnapshot(stores, "made by hand", "d");
        await stores.snapshotter("native").prepare("written", "y");
        await stores.snapshotter("native").view("seen", "c");
      },
      async (path) => {
        // Numbers count from 1, in the order of creation.
        for (const id of ["1", "4", "6"]) await rm(join(path, "native/snapshots", id), { recursive: true });
      },
    );
    const findings = await check(root);
    expect(
      findings
        .map(({ kind, subject, repair }) => `${kind} ${subject}${repair === undefined ? " stays" : ""}`)
        .toSorted(),
    ).toEqual([
      "missing-files snapshot a of native",
      "missing-files snapshot b of native",
      "missing-files snapshot d of native stays",
      "missing-files snapshot made by hand of native stays",
      "missing-files snapshot written of native stays",
      "missing-files snapshot x of native stays",
      "missing-files snapshot y of native stays",
    ]);
    await Array.fromAsync(repairStorage(root, OPTIONS));
    expect(briefly(await check(root)).filter((line) => line.startsWith("error"))).toHaveLength(5);
  });

  it("tells damaged records, and removes them, after which the daemon opens the database", async () => {
    await using root = await damagedRoot(
      async ({ stores }) => void (await putText(stores.content, "whole", { "containerd.io/gc.root": "1" })),
      async (path) => {
        await using raw = await Database.open({
          path: join(path, "meta.mdb"),
          mapSizeBytes: 1024 ** 3,
          fatal: () => {},
        });
        await raw.update((tx) => {
          tx.put(encodeRecordKey(images.prefix, at("damaged")).key, Uint8Array.of(0xff, 0xff));
          tx.put(encodeRecordKey(blobs.prefix, at("no digest")).key, new Uint8Array(0));
          tx.put(Uint8Array.of(99, 1, 2), new Uint8Array(0));
          tx.put(Uint8Array.of(2, 200), new Uint8Array(0));
        });
      },
    );
    expect(codeOf(await openStorage({ root: root.root }).catch((error: unknown) => error))).toBe(Code.DataLoss);
    expect((await check(root)).map(({ kind }) => kind)).toEqual(Array(4).fill("damaged-record"));
    expect(await Array.fromAsync(repairStorage(root, OPTIONS))).toHaveLength(4);
    await using storage = await openStorage({ root: root.root });
    expect(await Array.fromAsync(storage.stores.content.list())).toHaveLength(1);
  });

  it("tells what is missing of images, labels and leases without calling all of it broken", async () => {
    const nothing = `sha256:${"0".repeat(64)}`;
    await using root = await damagedRoot(async ({ stores }) => {
      const target = { mediaType: "m", digest: parseDigest(nothing), size: 1 };
      await stores.images.create({ name: "image", labels: new Map(), target });
      await putText(stores.content, "blob", { "containerd.io/gc.ref.content.m.0": nothing });
      await stores.leases.create({ id: "lease", labels: new Map() });
      await stores.leases.addResource("lease", { type: "snapshots/native", id: "gone" });
    });
    const blob = (await Array.fromAsync(root.content.list()))[0]?.digest;
    expect(briefly(await check(root))).toEqual(
      [
        "error missing-target image image",
        "info dangling-lease lease lease",
        `info dangling-label content ${blob}`,
      ].toSorted(),
    );
  });

  it.each([
    ["nothing there", async () => {}, Code.NotFound],
    ["no database", (path: string) => writeFile(path, "x".repeat(100_000)), Code.DataLoss],
  ])("refuses %s", async (_, write, code) => {
    await using directory = await temporaryDirectory("metadata");
    const path = join(directory.path, "meta.mdb");
    await write(path);
    expect(codeOf(await OfflineDatabase.open(path).catch((error: unknown) => error))).toBe(code);
  });
});

describe("repairStorage", () => {
  it("brings back images whose records are lost: by annotation, by repository, by digest", async () => {
    const digests: Record<string, Digest> = {};
    await using root = await damagedRoot(async (storage) => {
      const { stores } = storage;
      digests["annotated"] = await putManifest(storage, "annotated", {
        "io.containerd.image.name": "docker.io/library/a:1",
      });
      digests["pulled"] = await putManifest(storage, "pulled");
      const source = labels({ "containerd.io/distribution.source.registry.example": "team/app,other" });
      await stores.content.update({ digest: digests["pulled"], labels: source }, { fieldpaths: ["labels"] });
      digests["nameless"] = await putManifest(storage, "nameless");
      digests["known"] = await putManifest(storage, "known");
      const target = { mediaType: MediaType.ociManifest, digest: digests["known"], size: 1 };
      await stores.images.create({ name: "known", labels: new Map(), target });
      digests["incomplete"] = await putManifest(storage, "incomplete");
      const layer = (await Array.fromAsync(stores.content.list({ filters: ["size==16"] })))[0];
      if (layer !== undefined) await stores.content.delete(layer.digest);
      digests["leased"] = await putManifest(storage, "leased");
      await stores.leases.create({ id: "l", labels: new Map() });
      await stores.leases.addResource("l", { type: "content", id: digests["leased"] });
    });
    await root.content.delete(await layerOf(root, "incomplete"));
    expect(briefly(await check(root)).filter((line) => /image/.test(line))).toEqual([
      `info incomplete-image image recovered@${digests["incomplete"]}`,
      "warning lost-image image docker.io/library/a:1",
      `warning lost-image image recovered@${digests["nameless"]}`,
      `warning lost-image image registry.example/team/app@${digests["pulled"]}`,
    ]);
    await Array.fromAsync(repairStorage(root, OPTIONS));
    await using storage = await openStorage({ root: root.root, startedAt: Date.now() + 60_000 });
    // What was brought back holds all that it needs.
    await storage.metadata.collect();
    const found = await Array.fromAsync(storage.stores.images.list());
    expect(found.map(({ name }) => name)).toEqual([
      "docker.io/library/a:1",
      "known",
      `recovered@${digests["nameless"]}`,
      `registry.example/team/app@${digests["pulled"]}`,
    ]);
    for (const { target, name } of found.filter((each) => each.name !== "known")) {
      expect(target.mediaType).toBe(MediaType.ociManifest);
      const info = await storage.stores.content.info(target.digest);
      expect([
        name,
        info.labels
          .values()
          .filter((value) => value.startsWith("sha256:"))
          .toArray().length,
      ]).toEqual([name, 2]);
      for (const child of info.labels.values()) {
        if (child.startsWith("sha256:")) await storage.stores.content.info(parseDigest(child));
      }
    }
  });

  it.each([
    ["unreadable-database", (path: string) => writeFile(path, Buffer.alloc(50_000, "no database")), 1],
    ["missing-database", (path: string) => rm(path), 0],
  ])(
    "%s: begins anew, with images from an index with names in the namespace that it is told",
    async (kind, lose, aside) => {
      await using root = await damagedRoot(
        async (storage) => {
          const manifest = await putManifest(storage, "image");
          const descriptor = {
            mediaType: MediaType.ociManifest,
            digest: manifest,
            size: 1,
            annotations: { "io.containerd.image.name": "docker.io/library/b:2" },
          };
          await putText(storage.stores.content, json({ schemaVersion: 2, manifests: [descriptor] }));
        },
        (path) => lose(join(path, "meta.mdb")),
      );
      const backendKey = "mine/41/key";
      await root.snapshotters.get("native")?.prepare(backendKey, "");
      expect((await check(root)).map(({ kind }) => kind)).toEqual([kind]);
      const done = await Array.fromAsync(repairStorage(root, { namespace: "mine" }));
      expect(done.map(({ finding }) => finding.kind)).toEqual([kind, "lost-image"]);
      // The old one stays for whoever wants to look at it, and its numbers are not given again.
      expect((await readdir(root.root)).filter((name) => name.startsWith("meta.mdb.damaged-"))).toHaveLength(aside);
      const ours = await withDatabase(root.path, (database) => database.nextSequence());
      expect(ours).toBeGreaterThan(41n);
      await using storage = await openStorage({ root: root.root });
      const stores = storage.metadata.namespace("mine" as Namespace);
      expect((await Array.fromAsync(stores.images.list())).map(({ name }) => name)).toEqual(["docker.io/library/b:2"]);
      expect((await Array.fromAsync(stores.content.list())).length).toBe(3);
      expect(await Array.fromAsync(storage.metadata.namespaces.list())).toEqual(["mine"]);
    },
  );
});

/** This finds the layer that {@link putManifest} stored for a name. */
async function layerOf({ content }: OfflineStorage, name: string): Promise<Digest> {
  for await (const { digest, size } of content.list()) {
    await using reader = await content.reader(digest);
    if (new TextDecoder().decode(await reader.readAt(0, size)) === `layer ${name}`) return digest;
  }
  return expect.fail(`no layer of ${name}`);
}

describe("exportRecords and storageStats", () => {
  it("have every record", async () => {
    await using root = await damagedRoot(async ({ stores }) => {
      await putText(stores.content, "text", { a: "b" });
      await commitSnapshot(stores, "base");
      await stores.leases.create({ id: "l", labels: new Map() });
    });
    await using database = await OfflineDatabase.open(root.path);
    const exported = [...exportRecords(database)];
    expect(exported.map(({ table }) => table)).toEqual(["namespaces", "leases", "content", "snapshots"]);
    expect(exported[2]).toMatchObject({ namespace: "test", value: { size: "4", labels: { a: "b" } } });
    expect(exported[3]).toMatchObject({ namespace: "test", group: "native", key: "base" });
    const stats = await storageStats(database, root);
    expect(stats.records).toEqual({ test: { namespaces: 1, leases: 1, content: 1, snapshots: 1 } });
    expect(stats).toMatchObject({
      content: { blobs: 1, bytes: 4, ingests: 0 },
      contentBytes: { test: 4 },
      snapshotters: { native: { snapshots: 1 } },
    });
    expect(stats.database.sizeBytes).toBeGreaterThan(0);
  });
});

describe("parseNode", () => {
  const digest = parseDigest(`sha256:${"0".repeat(64)}`);

  it("takes any bytes and any JSON without an error", () => {
    const key = fc.constantFrom("manifests", "config", "layers", "mediaType", "annotations", "digest", "size");
    const value = fc.letrec((tie) => ({
      value: fc.oneof(fc.string(), fc.integer(), fc.constant(null), fc.array(tie("value")), tie("object")),
      object: fc.dictionary(key, tie("value")),
    }));
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array(),
          value.object.map((each) => new TextEncoder().encode(json(each))),
        ),
        (bytes) => {
          parseNode(bytes, digest);
        },
      ),
    );
  });
});

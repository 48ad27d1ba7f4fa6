import { type Applier, LAYER_NEEDS_PARENT } from "@berth/core/diff";
import type { Mount } from "@berth/core/mount";
import type { SnapshotCommitOptions, SnapshotInfo, SnapshotOptions, Snapshotter } from "@berth/core/snapshots";
import { alreadyExists, Code, codeOf, invalidArgument, notFound } from "@berth/errors";
import type { Descriptor, Digest } from "@berth/oci";
import { allPlatforms } from "@berth/oci";
import { buildImage } from "@berth/testing";
import type { BuiltImage } from "@berth/testing";
import { beforeAll, describe, expect, it } from "vitest";

import type { UnpackOptions } from "../src/index.ts";
import { importArchive, unpack } from "../src/index.ts";
import { unpackTogether } from "../src/unpack-layers.ts";
import { MemoryContentStore } from "@berth/testing";

interface Record {
  kind: "active" | "committed";
  parent: string;
  labels: ReadonlyMap<string, string>;
}

/** Keeps only what unpacking asks for, and the order of the calls. */
class MemorySnapshotter implements Pick<Snapshotter, "stat" | "prepare" | "settle" | "commit" | "remove"> {
  readonly records = new Map<string, Record>();
  readonly calls: string[] = [];
  readonly settled = new Set<string>();

  async settle(key: string): Promise<void> {
    if (this.records.get(key)?.kind !== "active") throw notFound(key);
    this.settled.add(key);
  }

  async stat(key: string): Promise<SnapshotInfo> {
    const record = this.records.get(key);
    if (record === undefined) throw notFound(key);
    return { ...record, name: key, createdAt: 0, updatedAt: 0 };
  }

  async prepare(key: string, parent: string, options?: SnapshotOptions): Promise<readonly Mount[]> {
    if (parent !== "" && this.records.get(parent)?.kind !== "committed") throw notFound(parent);
    this.records.set(key, { kind: "active", parent, labels: options?.labels ?? new Map() });
    return [{ type: "bind", source: `/fs/${key}`, target: "", options: ["rw", "rbind"] }];
  }

  async commit(name: string, key: string, options?: SnapshotCommitOptions): Promise<void> {
    if (this.records.has(name)) throw alreadyExists(name);
    const record = this.records.get(key);
    if (record === undefined) throw notFound(key);
    this.records.delete(key);
    const parent = options?.parent ?? record.parent;
    this.records.set(name, { kind: "committed", parent, labels: options?.labels ?? new Map() });
    this.calls.push(name);
  }

  async remove(key: string): Promise<void> {
    if (!this.records.delete(key)) throw notFound(key);
  }
}

/** Refuses what is there already, and holds it for the caller, as a daemon does. */
class HoldingSnapshotter extends MemorySnapshotter {
  readonly held = new Set<string>();

  override async prepare(key: string, parent: string, options?: SnapshotOptions): Promise<readonly Mount[]> {
    const target = options?.labels?.get("containerd.io/snapshot.ref") ?? "";
    if (this.records.has(target)) {
      this.held.add(target);
      throw alreadyExists(target);
    }
    return super.prepare(key, parent, options);
  }
}

describe("unpack", () => {
  let image: BuiltImage;
  beforeAll(async () => {
    const layer = (name: string) => [{ path: name, type: "file" as const, size: 1, content: new Uint8Array(1) }];
    image = await buildImage({ name: "x/y:1", layers: ["a", "b", "c", "d"].map(layer) });
  });

  it.each([1, 4])("of layers that are there has them held for the caller, %i at once", async (concurrency) => {
    const content = new MemoryContentStore();
    await importArchive(bytes(image.archive), { content });
    const snapshotter = new HoldingSnapshotter();
    const applier: Applier = {
      apply: async (descriptor) => ({
        ...descriptor,
        digest:
          image.diffIds[image.layers.findIndex(({ digest }) => digest === descriptor.digest)] ?? descriptor.digest,
      }),
    };
    // Only what unpacking asks for.
    const options = { content, snapshotter, applier, platform: allPlatforms, snapshotterName: "x", concurrency };
    await unpack(image.manifest, options as unknown as UnpackOptions);
    expect([...snapshotter.held]).toEqual([]);
    await unpack(image.manifest, options as unknown as UnpackOptions);
    expect([...snapshotter.held]).toEqual(snapshotter.calls);
    expect([...snapshotter.records.keys()]).toEqual(snapshotter.calls);
  });

  const setUp = async (apply: (at: number, mounts: readonly Mount[]) => Promise<void>, concurrency: number) => {
    const content = new MemoryContentStore();
    await importArchive(bytes(image.archive), { content });
    const snapshotter = new MemorySnapshotter();
    const applier: Applier = {
      apply: async (descriptor: Descriptor, mounts) => {
        const at = image.layers.findIndex(({ digest }) => digest === descriptor.digest);
        await apply(at, mounts);
        return { ...descriptor, digest: image.diffIds[at] ?? descriptor.digest };
      },
    };
    const options: UnpackOptions = {
      content,
      // The rest of a snapshotter is never asked for by unpacking.
      snapshotter: snapshotter as unknown as Snapshotter,
      snapshotterName: "overlayfs",
      applier,
      platform: allPlatforms,
      concurrency,
    };
    return { content, snapshotter, options };
  };

  it.each([1, 3])("commits in order and labels what it made, %d at once", async (concurrency) => {
    let running = 0;
    let most = 0;
    const seen: (readonly Mount[])[] = [];
    const { content, snapshotter, options } = await setUp(async (at, mounts) => {
      most = Math.max(most, ++running);
      seen[at] = mounts;
      // Later layers are ready earlier.
      await new Promise((resolve) => setTimeout(resolve, 20 - 5 * at));
      running--;
    }, concurrency);
    const { chainIds, chainId } = await unpack(image.manifest, options);
    expect(most).toBe(concurrency);
    expect(snapshotter.calls).toEqual(chainIds);
    // One by one, nobody waits for the disk at the same time.
    expect(snapshotter.settled.size).toBe(concurrency === 1 ? 0 : 4);
    expect([...snapshotter.records.keys()]).toEqual(chainIds);
    expect([...snapshotter.records.values()].map(({ parent }) => parent)).toEqual(["", ...chainIds.slice(0, -1)]);
    expect(snapshotter.records.get(chainId)?.labels).toEqual(
      new Map([
        ["containerd.io/snapshot.ref", chainId],
        ["containerd.io/snapshot/diff-id", image.diffIds[3]],
        ["containerd.io/snapshot/parent-chain-id", chainIds[2]],
      ]),
    );
    expect((await content.info(image.config.digest)).labels).toEqual(
      new Map([["containerd.io/gc.ref.snapshot.overlayfs", chainId]]),
    );
    for (const [at, { digest }] of image.layers.entries()) {
      expect((await content.info(digest)).labels.get("containerd.io/uncompressed")).toBe(image.diffIds[at]);
    }
    // Where the parent comes later, whiteouts must survive in the upper directory.
    expect(seen.map(([mount]) => mount?.type)).toEqual(
      concurrency === 1 ? ["bind", "bind", "bind", "bind"] : ["bind", "overlay", "overlay", "overlay"],
    );
    await unpack(image.manifest, options);
    expect(snapshotter.calls).toHaveLength(4);
  });

  it.each([1, 3])("leaves no extraction snapshot when a layer fails, %d at once", async (concurrency) => {
    const { snapshotter, options } = await setUp(async (at) => {
      if (at === 2) throw invalidArgument("broken");
    }, concurrency);
    const error = await unpack(image.manifest, options).catch((thrown: unknown) => thrown);
    expect(codeOf(error)).toBe(Code.InvalidArgument);
    expect([...snapshotter.records.values()].map(({ kind }) => kind)).toEqual(["committed", "committed"]);
  });

  it.each([1, 3])(
    "leaves no extraction snapshot when aborted, and its locks are free, %d at once",
    async (concurrency) => {
      const abort = new AbortController();
      const { snapshotter, options } = await setUp(async (at) => {
        if (at !== 1 || abort.signal.aborted) return;
        abort.abort();
        abort.signal.throwIfAborted();
      }, concurrency);
      const error = await unpack(image.manifest, { ...options, signal: abort.signal }).catch(
        (thrown: unknown) => thrown,
      );
      expect(codeOf(error)).toBe(Code.Canceled);
      expect([...snapshotter.records.values()].every(({ kind }) => kind === "committed")).toBe(true);
      await unpack(image.manifest, options);
      expect(snapshotter.records.size).toBe(4);
    },
  );
});

describe("unpack, side by side", () => {
  let image: BuiltImage;
  beforeAll(async () => {
    const layer = (name: string) => [{ path: name, type: "file" as const, size: 1, content: new Uint8Array(1) }];
    image = await buildImage({ name: "x/z:1", layers: ["a", "b", "c"].map(layer) });
  });

  /** Unpacks; returns the types of the mounts that each layer was applied to, one time after the other. */
  async function applied(
    snapshotter: MemorySnapshotter,
    needsParent: (at: number, mounts: readonly Mount[]) => boolean,
  ) {
    const content = new MemoryContentStore();
    await importArchive(bytes(image.archive), { content });
    const seen = image.layers.map((): string[] => []);
    const applier: Applier = {
      apply: async (descriptor, mounts) => {
        const at = image.layers.findIndex(({ digest }) => digest === descriptor.digest);
        seen[at]?.push(mounts.map(({ type }) => type).join("+"));
        const annotations = needsParent(at, mounts) ? { [LAYER_NEEDS_PARENT]: "1" } : {};
        return { ...descriptor, digest: image.diffIds[at] ?? descriptor.digest, annotations };
      },
    };
    await unpack(image.manifest, {
      content,
      // The rest of a snapshotter is never asked for by unpacking.
      snapshotter: snapshotter as unknown as Snapshotter,
      snapshotterName: "other",
      applier,
      platform: allPlatforms,
      concurrency: 3,
    });
    return seen;
  }

  it("applies a layer again, over its parent, if the applier says that it has to be", async () => {
    const snapshotter = new MemorySnapshotter();
    const seen = await applied(snapshotter, (at, [mount]) => at === 1 && mount?.type === "overlay");
    expect(seen).toEqual([["bind"], ["overlay", "bind"], ["overlay"]]);
    expect([...snapshotter.records.values()].map(({ kind }) => kind)).toEqual(Array(3).fill("committed"));
    expect(snapshotter.calls).toHaveLength(3);
  });

  it("does not apply a layer without its parent to mounts in which its deletions would be lost", async () => {
    class BlockSnapshotter extends MemorySnapshotter {
      override async prepare(key: string, parent: string, options?: SnapshotOptions): Promise<readonly Mount[]> {
        const mounts = await super.prepare(key, parent, options);
        return [{ type: "mkfs/ext4", source: "/image", target: "", options: [] }, ...mounts];
      }
    }
    const snapshotter = new BlockSnapshotter();
    const whole = "mkfs/ext4+bind";
    expect(await applied(snapshotter, () => false)).toEqual([[whole], [whole], [whole]]);
    const parents = [...snapshotter.records.values()].map(({ parent }) => parent);
    expect(parents).toEqual(["", ...snapshotter.calls.slice(0, 2)]);
  });

  it("prepares only so many layers of a manifest that lists very many, and unpacks them all", async () => {
    const layers = Array.from({ length: 300 }, (_, at) => `sha256:${String(at).padStart(64, "0")}` as Digest);
    let most = 0;
    class CountingSnapshotter extends MemorySnapshotter {
      override async prepare(key: string, parent: string, options?: SnapshotOptions): Promise<readonly Mount[]> {
        const mounts = await super.prepare(key, parent, options);
        most = Math.max(most, [...this.records.values()].filter(({ kind }) => kind === "active").length);
        return mounts;
      }
    }
    const snapshotter = new CountingSnapshotter();
    await unpackTogether(
      layers.map((digest, at) => ({
        descriptor: { mediaType: "application/vnd.oci.image.layer.v1.tar", digest, size: 1 },
        diffId: digest,
        chainId: `chain-${at}`,
        parent: at === 0 ? "" : `chain-${at - 1}`,
        labels: new Map(),
      })),
      {
        // What is labelled does not matter here.
        content: { update: async () => {} } as unknown as UnpackOptions["content"],
        // The rest of a snapshotter is never asked for by unpacking.
        snapshotter: snapshotter as unknown as Snapshotter,
        snapshotterName: "many",
        applier: { apply: async (descriptor) => descriptor },
        platform: allPlatforms,
        concurrency: 3,
      },
    );
    expect(most).toBe(128);
    expect(snapshotter.calls).toEqual(layers.map((_, at) => `chain-${at}`));
    expect(snapshotter.records.get("chain-299")?.parent).toBe("chain-298");
  });

  it("gives its parent at once to the first layer that is not there", async () => {
    const snapshotter = new MemorySnapshotter();
    await applied(snapshotter, () => false);
    const [, second = "", third = ""] = snapshotter.calls;
    snapshotter.records.delete(second);
    snapshotter.records.delete(third);
    expect(await applied(snapshotter, () => false)).toEqual([[], ["bind"], ["overlay"]]);
  });
});

async function* bytes(archive: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield archive;
}

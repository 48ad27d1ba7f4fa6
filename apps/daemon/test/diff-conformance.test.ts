import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { type Client, createClient } from "@berth/client";
import { runConformance } from "@berth/conformance";
import { applierCases, applierCorpus, applyArchive, type TreeEntry } from "@berth/conformance/applier";
import { differCases, type DifferSubject } from "@berth/conformance/differ";
import { writeBlob } from "@berth/core/content";
import type { Mount } from "@berth/core/mount";
import { lgetxattr, llistxattr } from "@berth/linux/files";
import { mountTemporary } from "@berth/linux/mount";
import type { Descriptor } from "@berth/oci";
import { listTree, type PeerDaemon, sha256, startBerthd, startContainerd } from "@berth/testing";
import * as vitest from "vitest";

const { afterAll, beforeAll, describe, expect, it } = vitest;

/** What Debian's 1.6.20 makes otherwise of an archive, and why berth does not. */
const OTHERWISE: ReadonlyMap<string, string> = new Map([
  ["a global PAX header", "makes the directory of the name that the header itself has"],
  ["a contiguous file", "refuses the type"],
  ["a link to itself", "removes the file, and then does not find it"],
  ["a directory made again after its whiteout", "shows what the whiteout hid, on overlayfs"],
  ["an owner out of range", "takes the id 2^32 - 1, which means to leave the owner as it is"],
]);

let count = 0;

/** Snapshots of a daemon, in a namespace of their own, held by a lease. */
async function openSubject(daemon: PeerDaemon, snapshotterName: string): Promise<DifferSubject> {
  const owner = createClient({ address: daemon.address, namespace: `diff-${++count}` });
  await owner.leases.create({ id: "held", labels: new Map() });
  const client: Client = owner.scoped({ lease: "held" });
  const snapshotter = client.snapshotter(snapshotterName);
  const directory = await mkdtemp(join(tmpdir(), "berth-diff-"));
  const inMounts = async (mounts: readonly Mount[], work: (path: string) => Promise<void>): Promise<void> => {
    await using mounted = await mountTemporary(mounts, { directory });
    await work(mounted.path);
  };
  let key = 0;
  return {
    applier: client.diff,
    comparer: client.diff,
    async store(bytes, mediaType) {
      const layer = { mediaType, digest: sha256(bytes), size: bytes.length };
      await writeBlob(client.content, layer.digest, [bytes], layer);
      return layer;
    },
    async snapshot(lower?: Descriptor) {
      if (lower === undefined) return snapshotter.prepare(`top-${++key}`, "");
      const base = `base-${++key}`;
      await client.diff.apply(lower, await snapshotter.prepare(`${base}-active`, ""));
      await snapshotter.commit(base, `${base}-active`);
      return snapshotter.prepare(`top-${key}`, base);
    },
    async tree(mounts) {
      let tree: ReadonlyMap<string, TreeEntry> = new Map();
      await inMounts(mounts, async (path) => {
        tree = await listTree(path, xattrs);
      });
      return tree;
    },
    change: inMounts,
    labels: async ({ digest }) => (await client.content.info(digest)).labels,
    async [Symbol.asyncDispose]() {
      await rm(directory, { recursive: true });
      await owner[Symbol.asyncDispose]();
    },
  };
}

function xattrs(path: string): Record<string, string> {
  return Object.fromEntries(llistxattr(path).map((name) => [name, Buffer.from(lgetxattr(path, name)).toString("hex")]));
}

describe("diff over the client", () => {
  let daemon: PeerDaemon;
  let peer: PeerDaemon;

  beforeAll(async () => {
    [daemon, peer] = await Promise.all([startBerthd(), startContainerd()]);
  }, 60_000);
  afterAll(async () => {
    await daemon[Symbol.asyncDispose]();
    await peer[Symbol.asyncDispose]();
  });

  for (const snapshotter of ["overlayfs", "native"]) {
    runConformance(vitest, `applier, ${snapshotter}`, applierCases, () => openSubject(daemon, snapshotter));
    runConformance(vitest, `comparer, ${snapshotter}`, differCases, () => openSubject(daemon, snapshotter));
  }

  describe.each(["overlayfs", "native"])(
    "an archive of the corpus gives what it gives in containerd, %s",
    (snapshotter) => {
      it.each(applierCorpus.filter(({ name }) => !OTHERWISE.has(name)))("$name", async (archive) => {
        await using ours = await openSubject(daemon, snapshotter);
        await using theirs = await openSubject(peer, snapshotter);
        const startedNs = BigInt(Date.now()) * 1_000_000n;
        const made = await applyArchive(ours, archive);
        const expected = await applyArchive(theirs, archive);
        expect(made.outcome === "ok").toBe(expected.outcome === "ok");
        // What a layer that fails leaves behind is nobody's.
        if (made.outcome !== "ok") return;
        expect(timeless(made.tree, expected.tree, startedNs)).toEqual(
          timeless(expected.tree, expected.tree, startedNs),
        );
      });
    },
  );
});

/** Directories that no archive lists have the time of the unpacking in containerd; so has the root. */
function timeless(tree: ReadonlyMap<string, TreeEntry>, expected: ReadonlyMap<string, TreeEntry>, startedNs: bigint) {
  return new Map(
    [...tree].map(([path, { mtimeNs, ...rest }]) => {
      const isNow = path === "" || BigInt(expected.get(path)?.["mtimeNs"] ?? 0) >= startedNs - 1_000_000_000n;
      return [path, isNow ? rest : { mtimeNs, ...rest }];
    }),
  );
}

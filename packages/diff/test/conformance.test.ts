import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { runConformance } from "@berth/conformance";
import { applierCases } from "@berth/conformance/applier";
import { differCases, type DifferSubject } from "@berth/conformance/differ";
import type { Mount } from "@berth/core/mount";
import { createApplier, createComparer, createLayerEngine } from "@berth/diff";
import { lgetxattr, llistxattr } from "@berth/linux/files";
import { mountTemporary } from "@berth/linux/mount";
import { type Descriptor, formatDigest } from "@berth/oci";
import { listTree, MemoryContentStore, sha256 } from "@berth/testing";
import * as vitest from "vitest";

import { LayerFixture } from "./layer-fixture.ts";

const engine = createLayerEngine();
vitest.afterAll(() => engine[Symbol.asyncDispose]());

/** Snapshots as overlayfs has them, or as the native snapshotter has them. */
async function openSubject(kind: "overlay" | "bind"): Promise<DifferSubject> {
  const fixture = new LayerFixture();
  const content = new MemoryContentStore();
  const applier = createApplier({ content, engine, syncFs: false });
  let count = 0;
  const make = async (lower: Descriptor | undefined): Promise<Mount> => {
    const name = `snapshot-${count++}`;
    if (kind === "bind") {
      if (lower !== undefined) await applier.apply(lower, [fixture.bind(name)]);
      return fixture.bind(name);
    }
    mkdirSync(join(fixture.directory, `${name}.lower`));
    if (lower !== undefined) await applier.apply(lower, [fixture.overlay(`${name}.lower`)]);
    return fixture.overlay(name, `${name}.lower`);
  };
  return {
    applier,
    comparer: createComparer({ content, engine }),
    async store(bytes, mediaType) {
      content.blobs.set(sha256(bytes), { bytes, labels: new Map() });
      return { mediaType, digest: formatDigest("sha256", sha256(bytes).slice(7)), size: bytes.length };
    },
    snapshot: async (lower) => [await make(lower)],
    async tree(mounts) {
      await using mounted = await mountTemporary(mounts);
      return await listTree(mounted.path, xattrs);
    },
    async change(mounts, change) {
      await using mounted = await mountTemporary(mounts);
      await change(mounted.path);
    },
    labels: async ({ digest }) => (await content.info(digest)).labels,
    [Symbol.asyncDispose]: async () => fixture[Symbol.dispose](),
  };
}

function xattrs(path: string): Record<string, string> {
  return Object.fromEntries(llistxattr(path).map((name) => [name, Buffer.from(lgetxattr(path, name)).toString("hex")]));
}

for (const kind of ["overlay", "bind"] as const) {
  runConformance(vitest, `applier, ${kind}`, applierCases, () => openSubject(kind));
  runConformance(vitest, `comparer, ${kind}`, differCases, () => openSubject(kind));
}

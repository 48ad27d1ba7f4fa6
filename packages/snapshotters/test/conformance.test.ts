import { join } from "node:path";

import { runConformance } from "@berth/conformance";
import {
  snapshotCases,
  snapshotLimitCases,
  type SnapshotSubject,
  snapshotWithoutLimitCases,
} from "@berth/conformance/snapshots";
import type { Mount } from "@berth/core/mount";
import type { Snapshotter } from "@berth/core/snapshots";
import { mountAll, unmountAll, unmountRecursive } from "@berth/linux/mount";
import * as vitest from "vitest";

import { openBlockfileSnapshotter } from "../src/blockfile.ts";
import { openBtrfsSnapshotter } from "../src/btrfs.ts";
import { openNativeSnapshotter } from "../src/native.ts";
import { openOverlaySnapshotter } from "../src/overlayfs.ts";
import { makeScratch, mountBtrfs } from "./images.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

type Facts = Pick<SnapshotSubject, "rebases" | "usage">;

async function subject(
  facts: Facts,
  open: (root: string, made: AsyncDisposableStack) => Promise<Snapshotter>,
): Promise<SnapshotSubject> {
  await using made = new AsyncDisposableStack();
  const { path } = made.use(await temporaryDirectory());
  made.defer(() => unmountRecursive(path));
  const snapshotter = made.use(await open(path, made));
  const owned = made.move();
  return { snapshotter, ...facts, mount, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function mount(mounts: readonly Mount[], target: string): Promise<AsyncDisposable> {
  mountAll(mounts, target);
  return { [Symbol.asyncDispose]: () => unmountAll(target) };
}

const openOverlay = () =>
  subject({ rebases: true }, async (root) => (await openOverlaySnapshotter({ root })).snapshotter);
const openNative = () => subject({ rebases: false }, (root) => openNativeSnapshotter({ root }));
const openBlockfile = () =>
  subject({ rebases: false, usage: "image" }, async (root) =>
    openBlockfileSnapshotter({ root, scratchFile: await makeScratch(join(root, "empty.img")) }),
  );
const openBtrfs = () =>
  subject({ rebases: false }, async (root, made) => {
    const { path } = made.use(await mountBtrfs(root));
    return openBtrfsSnapshotter({ root: join(path, "root") });
  });

runConformance(vitest, "overlayfs", snapshotCases, openOverlay);
runConformance(vitest, "native", [...snapshotCases, ...snapshotWithoutLimitCases], openNative);
runConformance(vitest, "blockfile", [...snapshotCases, ...snapshotLimitCases], openBlockfile);
runConformance(vitest, "btrfs", [...snapshotCases, ...snapshotWithoutLimitCases], openBtrfs);

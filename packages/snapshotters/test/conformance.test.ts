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
import { debianPath, memoryDirectory, temporaryDirectory } from "@berth/testing";
import * as vitest from "vitest";

import { openBlockfileSnapshotter } from "../src/blockfile.ts";
import { openBtrfsSnapshotter } from "../src/btrfs.ts";
import { type ErofsSnapshotterOptions, openErofsSnapshotter } from "../src/erofs.ts";
import { openNativeSnapshotter } from "../src/native.ts";
import { openOverlaySnapshotter } from "../src/overlayfs.ts";
import { activateMounts } from "./activate-mounts.ts";
import { makeScratch, mountBtrfs } from "./images.ts";

/** Where programs are found that the drivers run. */
process.env["PATH"] = debianPath();
// Some rules run hundreds of programs, beside other tests.
vitest.vi.setConfig({ testTimeout: 120_000 });

type Facts = Pick<SnapshotSubject, "rebases" | "usage">;

/** In memory, but for the drivers that make files of layers themselves: rules do not wait for disks. */
async function subject(
  facts: Facts & { readonly onDisk?: boolean },
  open: (root: string, made: AsyncDisposableStack) => Promise<Snapshotter>,
): Promise<SnapshotSubject> {
  await using made = new AsyncDisposableStack();
  const { path } = made.use(await (facts.onDisk ? temporaryDirectory("snapshots") : memoryDirectory("snapshots")));
  made.defer(() => unmountRecursive(path));
  const snapshotter = made.use(await open(path, made));
  const owned = made.move();
  return { snapshotter, ...facts, mount, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function mount(mounts: readonly Mount[], target: string): Promise<AsyncDisposable> {
  await mountAll(mounts, target);
  return { [Symbol.asyncDispose]: () => unmountAll(target) };
}

const openOverlay = () =>
  subject({ rebases: true }, async (root) => (await openOverlaySnapshotter({ root })).snapshotter);
const openNative = () => subject({ rebases: false, onDisk: true }, (root) => openNativeSnapshotter({ root }));
const openBlockfile = () =>
  subject({ rebases: false, usage: "image" }, async (root) =>
    openBlockfileSnapshotter({ root, scratchFile: await makeScratch(join(root, "empty.img")) }),
  );
const openBtrfs = () =>
  subject({ rebases: false }, async (root, made) => {
    const { path } = made.use(await mountBtrfs(root));
    return openBtrfsSnapshotter({ root: join(path, "root") });
  });
async function openErofs(
  usage: NonNullable<SnapshotSubject["usage"]>,
  options: Partial<ErofsSnapshotterOptions>,
): Promise<SnapshotSubject> {
  await using made = new AsyncDisposableStack();
  const { path } = made.use(await temporaryDirectory("snapshots"));
  made.defer(() => unmountRecursive(path));
  const { snapshotter } = await openErofsSnapshotter({ root: join(path, "root"), ...options });
  made.use(snapshotter);
  const owned = made.move();
  return {
    snapshotter,
    rebases: true,
    usage,
    mount: (mounts, target) => activateMounts(mounts, target, path),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

runConformance(vitest, "overlayfs", [...snapshotCases, ...snapshotLimitCases], openOverlay);
runConformance(vitest, "native", [...snapshotCases, ...snapshotWithoutLimitCases], openNative);
runConformance(vitest, "blockfile", [...snapshotCases, ...snapshotLimitCases], openBlockfile);
runConformance(vitest, "btrfs", [...snapshotCases, ...snapshotWithoutLimitCases], openBtrfs);
runConformance(vitest, "erofs", [...snapshotCases, ...snapshotLimitCases], () => openErofs("converted", {}));
// The number of layers is not a matter of how the writable one is kept.
const blockCases = [...snapshotCases, ...snapshotLimitCases].filter(({ name }) => !name.startsWith("130 layers"));
runConformance(vitest, "erofs in block mode", blockCases, () =>
  openErofs("converted image", { defaultSize: 64 * 1024 * 1024 }),
);

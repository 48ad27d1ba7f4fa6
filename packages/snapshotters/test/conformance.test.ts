import { runConformance } from "@berth/conformance";
import { snapshotCases, type SnapshotSubject } from "@berth/conformance/snapshots";
import type { Mount } from "@berth/core/mount";
import type { Snapshotter } from "@berth/core/snapshots";
import { mountAll, unmountAll } from "@berth/linux/mount";
import * as vitest from "vitest";

import { openNativeSnapshotter } from "../src/native.ts";
import { openOverlaySnapshotter } from "../src/overlayfs.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

async function subject(rebases: boolean, open: (root: string) => Promise<Snapshotter>): Promise<SnapshotSubject> {
  await using made = new AsyncDisposableStack();
  const { path } = made.use(await temporaryDirectory());
  const snapshotter = made.use(await open(path));
  const owned = made.move();
  return { snapshotter, rebases, mount, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function mount(mounts: readonly Mount[], target: string): Promise<AsyncDisposable> {
  mountAll(mounts, target);
  return { [Symbol.asyncDispose]: () => unmountAll(target) };
}

runConformance(vitest, "overlayfs", snapshotCases, () =>
  subject(true, async (root) => (await openOverlaySnapshotter({ root })).snapshotter),
);
runConformance(vitest, "native", snapshotCases, () => subject(false, (root) => openNativeSnapshotter({ root })));

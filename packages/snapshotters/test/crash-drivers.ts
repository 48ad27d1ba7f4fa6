import { join } from "node:path";

import type { Snapshotter } from "@berth/core/snapshots";

import { openBlockfileSnapshotter } from "../src/blockfile.ts";
import { openBtrfsSnapshotter } from "../src/btrfs.ts";
import { openErofsSnapshotter } from "../src/erofs.ts";
import { openNativeSnapshotter } from "../src/native.ts";
import { openOverlaySnapshotter } from "../src/overlayfs.ts";
import { makeScratch } from "./images.ts";

/** What the test of crashes kills. */
export interface CrashDriver {
  readonly labels?: ReadonlyMap<string, string>;
  open(root: string): Promise<Snapshotter>;
}

const limit = new Map([["containerd.io/snapshot/max-size", String(16 * 1024 * 1024)]]);
const overlay = async (root: string): Promise<Snapshotter> => (await openOverlaySnapshotter({ root })).snapshotter;

export const CRASH_DRIVERS: Readonly<Record<string, CrashDriver>> = {
  overlayfs: { open: overlay },
  "overlayfs with a limit": { labels: limit, open: overlay },
  native: { open: (root) => openNativeSnapshotter({ root }) },
  blockfile: {
    open: async (root) =>
      openBlockfileSnapshotter({ root, scratchFile: await makeScratch(join(root, "../empty.img"), 8) }),
  },
  btrfs: { open: (root) => openBtrfsSnapshotter({ root }) },
  erofs: { open: async (root) => (await openErofsSnapshotter({ root })).snapshotter },
  "erofs immutable": { open: async (root) => (await openErofsSnapshotter({ root, setImmutable: true })).snapshotter },
};

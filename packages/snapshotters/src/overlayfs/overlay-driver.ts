import { lchown, mkdir, stat } from "node:fs/promises";
import { join } from "node:path";

import type { Mount } from "@berth/core/mount";
import { type SnapshotInfo, SnapshotLabel } from "@berth/core/snapshots";

import type { DirectoryDriver, DirectoryRequest } from "../directory-snapshotter.ts";
import type { SnapshotDirectories } from "../snapshot-directories.ts";
import type { SnapshotRecord } from "../store/snapshot-record.ts";
import { mappedRoot, type Owner } from "./id-mapping.ts";
import { overlayMounts } from "./overlay-mounts.ts";
import type { OverlaySupport } from "./overlay-support.ts";

/** Keeps the changes of a snapshot in `fs` and lets the kernel join them with those of its ancestors; `work` is the kernel's. */
export class OverlayDriver implements DirectoryDriver {
  readonly rebase: boolean;
  readonly #directories: SnapshotDirectories;
  readonly #support: OverlaySupport;
  readonly #upperdirLabel: boolean;

  constructor(directories: SnapshotDirectories, support: OverlaySupport, upperdirLabel: boolean) {
    this.#directories = directories;
    this.#support = support;
    this.#upperdirLabel = upperdirLabel;
    this.rebase = support.rebase;
  }

  filler({ kind, labels, parent }: DirectoryRequest): (path: string) => Promise<void> {
    const mapped = mappedRoot(labels);
    return async (path) => {
      const owner = mapped ?? (parent === undefined ? undefined : await stat(this.contentPath(parent.id)));
      await fill(path, kind, owner);
    };
  }

  contentPath(id: number): string {
    return join(this.#directories.of(id), "fs");
  }

  mounts(record: SnapshotRecord, ancestors: readonly SnapshotRecord[]): readonly Mount[] {
    const { kind, labels, id } = record;
    const { options, remapIds } = this.#support;
    const work = join(this.#directories.of(id), "work");
    const lower = ancestors.map((ancestor) => this.contentPath(ancestor.id));
    return overlayMounts({ kind, labels, upper: this.contentPath(id), work, lower, options, remapIds });
  }

  describe(info: SnapshotInfo, { id }: SnapshotRecord): SnapshotInfo {
    if (!this.#upperdirLabel) return info;
    return { ...info, labels: new Map([...info.labels, [SnapshotLabel.overlayUpperdir, this.contentPath(id)]]) };
  }
}

/** The owner of `fs` is the owner of `/` in the container, since the topmost directory gives its attributes. */
async function fill(path: string, kind: "active" | "view", owner: Owner | undefined): Promise<void> {
  const upper = join(path, "fs");
  await mkdir(upper, { mode: 0o755 });
  if (kind === "active") await mkdir(join(path, "work"), { mode: 0o711 });
  if (owner !== undefined) await lchown(upper, owner.uid, owner.gid);
}

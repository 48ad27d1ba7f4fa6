import type { Labels } from "@berth/core/labels";
import type { Mount } from "@berth/core/mount";
import { type SnapshotKind, SnapshotLabel } from "@berth/core/snapshots";

/** What the mounts of a snapshot depend on. */
export interface OverlayMountInput {
  readonly kind: SnapshotKind;
  readonly labels: Labels;
  /** `fs` directory of the snapshot. */
  readonly upper: string;
  /** `work` directory of the snapshot. */
  readonly work: string;
  /** `fs` directories of the ancestors, the parent first. */
  readonly lower: readonly string[];
  /** Options put after `lowerdir`. */
  readonly options: readonly string[];
  /** Whether mounts can map ids. */
  readonly remapIds: boolean;
}

/**
 * This says how to mount a snapshot: overlayfs where there are layers to join, a bind mount otherwise.
 * The order of options is containerd's; shims and tools look at them.
 *
 * @see containerd plugins/snapshots/overlay/overlay.go, mounts
 */
export function overlayMounts(input: OverlayMountInput): readonly Mount[] {
  const { kind, upper, work, lower, options } = input;
  const mapping = input.remapIds ? mappingOptions(input.labels) : [];
  const [parent] = lower;
  if (parent === undefined) return [bind(upper, [...mapping, kind === "view" ? "ro" : "rw", "rbind"])];
  if (kind === "view" && lower.length === 1) return [bind(parent, [...mapping, "ro", "rbind"])];
  const writable = kind === "active" ? [`workdir=${work}`, `upperdir=${upper}`] : [];
  const layers = `lowerdir=${lower.join(":")}`;
  return [{ type: "overlay", source: "overlay", target: "", options: [...mapping, ...writable, layers, ...options] }];
}

function bind(source: string, options: readonly string[]): Mount {
  return { type: "bind", source, target: "", options };
}

function mappingOptions(labels: Labels): string[] {
  const uids = labels.get(SnapshotLabel.uidMapping);
  const gids = labels.get(SnapshotLabel.gidMapping);
  return [...(uids === undefined ? [] : [`uidmap=${uids}`]), ...(gids === undefined ? [] : [`gidmap=${gids}`])];
}

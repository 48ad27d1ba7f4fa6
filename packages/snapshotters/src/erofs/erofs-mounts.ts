import type { Labels } from "@berth/core/labels";
import type { Mount } from "@berth/core/mount";
import { SnapshotLabel } from "@berth/core/snapshots";

/** A layer as an image. */
export interface ErofsLayer {
  readonly path: string;
  /** File that describes the hash tree of dm-verity behind it. */
  readonly verity?: string | undefined;
  /** Images whose data this one is an index of, the oldest first. */
  readonly devices?: readonly string[];
}

/** Where what is written goes. */
export type WritableLayer =
  | { readonly kind: "directory"; readonly upper: string; readonly work: string }
  | { readonly kind: "block"; readonly path: string; readonly size: number };

/** What the mounts of a snapshot depend on. */
export interface ErofsMountInput {
  readonly kind: "active" | "view";
  readonly labels: Labels;
  readonly writable: WritableLayer;
  /** Directory without content, for a view of nothing. */
  readonly empty: string;
  /** The layer of the snapshot itself, where it has no parent and somebody has made one. */
  readonly own: ErofsLayer | undefined;
  /** The layers to be joined, the parent's first. */
  readonly lower: readonly ErofsLayer[];
  /** Options put at the end of an overlay. */
  readonly options: readonly string[];
  /** Whether mounts can map ids. */
  readonly remapIds: boolean;
}

/**
 * This says how to mount a snapshot. Types with prefixes are for the mount manager; what it returns, the kernel can mount.
 *
 * @see containerd plugins/snapshots/erofs/erofs.go, mounts
 */
export function erofsMounts(input: ErofsMountInput): readonly Mount[] {
  const { kind, own, lower } = input;
  const [parent] = lower;
  if (parent === undefined) return own === undefined ? withoutLayers(input) : [layerMount(own)];
  if (kind === "view" && lower.length === 1) return parent.devices === undefined ? [layerMount(parent)] : merged(input);
  return joined(input);
}

function withoutLayers({ kind, writable, empty }: ErofsMountInput): readonly Mount[] {
  if (kind === "view") return [mount("bind", empty, ["ro", "rbind"])];
  if (writable.kind === "directory") return [mount("bind", writable.upper, ["rw", "rbind"])];
  const upper = "{{ mount 0 }}/upper";
  const options = [`X-containerd.mkdir.path=${upper}:0755`, "rw", "rbind"];
  return [blockMount(writable), mount("format/mkdir/bind", upper, options)];
}

/** One lower layer that stands for several: overlayfs takes no single one, and needs none. */
function merged(input: ErofsMountInput): readonly Mount[] {
  const options = [...mappingOptions(input), "ro", "rbind"];
  return [...input.lower.map(layerMount), mount("format/bind", "{{ mount 0 }}", options)];
}

function joined(input: ErofsMountInput): readonly Mount[] {
  const { kind, writable, lower } = input;
  const block = kind === "active" && writable.kind === "block" ? [blockMount(writable)] : [];
  const first = block.length;
  const last = first + lower.length - 1;
  const layers = first === last ? `{{ mount ${first} }}` : `{{ overlay ${first} ${last} }}`;
  const upper = kind === "active" ? upperOptions(writable) : [];
  const options = [...upper, ...mappingOptions(input), `lowerdir=${layers}`, ...input.options];
  return [...block, ...lower.map(layerMount), mount("format/mkdir/overlay", "overlay", options)];
}

function upperOptions(writable: WritableLayer): readonly string[] {
  if (writable.kind === "directory") return [`workdir=${writable.work}`, `upperdir=${writable.upper}`];
  const [upper, work] = ["{{ mount 0 }}/upper", "{{ mount 0 }}/work"];
  const made = [upper, work].map((path) => `X-containerd.mkdir.path=${path}:0755`);
  return [...made, `workdir=${work}`, `upperdir=${upper}`];
}

function mappingOptions({ labels, remapIds }: ErofsMountInput): readonly string[] {
  const uids = labels.get(SnapshotLabel.uidMapping);
  const gids = labels.get(SnapshotLabel.gidMapping);
  if (!remapIds || uids === undefined || gids === undefined) return [];
  return [`uidmap=${uids}`, `gidmap=${gids}`];
}

function layerMount({ path, verity, devices = [] }: ErofsLayer): Mount {
  const checked = verity === undefined ? [] : [`X-containerd.dmverity=${verity}`];
  return mount("erofs", path, ["ro", "loop", ...checked, ...devices.map((device) => `device=${device}`)]);
}

function blockMount({ path, size }: WritableLayer & { readonly kind: "block" }): Mount {
  return mount("mkfs/ext4", path, ["X-containerd.mkfs.fs=ext4", `X-containerd.mkfs.size=${size}`, "rw", "loop"]);
}

function mount(type: string, source: string, options: readonly string[]): Mount {
  return { type, source, target: "", options };
}

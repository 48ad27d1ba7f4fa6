import type { CallOptions } from "@berth/core/any";
import type { ContentStore } from "@berth/core/content";
import type { Applier } from "@berth/core/diff";
import type { Snapshotter } from "@berth/core/snapshots";
import type { Descriptor, PlatformMatcher } from "@berth/oci";

/** Options of `unpack`. */
export interface UnpackOptions extends CallOptions {
  readonly content: ContentStore;
  readonly snapshotter: Snapshotter;
  /** Name of the snapshotter, for the label that keeps the snapshots. */
  readonly snapshotterName: string;
  readonly applier: Applier;
  readonly platform: PlatformMatcher;
  /** Answer only when every layer has reached the disk; the applier's default when absent. */
  readonly syncFs?: boolean;
  /** So many layers are applied at once, and then given their parents; needs a snapshotter with the capability `rebase`. */
  readonly concurrency?: number;
  /** Resolves when the blob of a layer may be read; absent: all are there. */
  readonly layerReady?: (layer: Descriptor) => Promise<void>;
  /** The image's name, for a snapshotter that may bring layers in by itself: it is told with each layer what that is of. */
  readonly remoteName?: string;
  /** Called when a layer is there, whether it was unpacked now or before. */
  readonly onLayer?: (layer: Descriptor, state: "unpacked" | "exists") => void;
}

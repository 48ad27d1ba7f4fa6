import type { Applier } from "@berth/core/diff";
import type { Mount } from "@berth/core/mount";
import type { Descriptor } from "@berth/oci";

/** What a file of a tree is, property by property: `mode`, `owner`, `mtimeNs`, `device`, `content`, `linkedTo`, attributes by name. */
export type TreeEntry = Readonly<Record<string, string | number | bigint>>;

/** An applier under test, and the snapshots it applies to. */
export interface ApplierSubject extends AsyncDisposable {
  readonly applier: Applier;
  /** This puts a layer where the applier finds it. */
  store(bytes: Uint8Array, mediaType: string): Promise<Descriptor>;
  /** This returns the mounts of a new writable snapshot over what the layer `lower` holds, or over nothing. */
  snapshot(lower?: Descriptor): Promise<readonly Mount[]>;
  /** This lists what is seen where `mounts` are mounted, by path; the root is the empty one. */
  tree(mounts: readonly Mount[]): Promise<ReadonlyMap<string, TreeEntry>>;
}

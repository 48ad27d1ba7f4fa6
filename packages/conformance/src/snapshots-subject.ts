import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Mount } from "@berth/core/mount";
import type { SnapshotInfo, Snapshotter } from "@berth/core/snapshots";

/** A snapshotter under test. */
export interface SnapshotSubject extends AsyncDisposable {
  readonly snapshotter: Snapshotter;
  /** Whether a snapshot may get its parent at its commit. */
  readonly rebases: boolean;
  /**
   * What usage counts: each file of an active snapshot (`files`, the default), or the file that holds them (`image`); after the
   * commit the same, or the image that they were made into.
   */
  readonly usage?: "files" | "image" | "converted" | "converted image";
  /** This mounts a list at a directory; disposing the result unmounts it. */
  mount(mounts: readonly Mount[], target: string): Promise<AsyncDisposable>;
}

/** This mounts a list at a new directory for as long as `fn` runs. */
export async function withMounts<T>(
  subject: SnapshotSubject,
  mounts: readonly Mount[],
  fn: (directory: string) => Promise<T>,
): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), "berth-conformance-"));
  try {
    await using _mounted = await subject.mount(mounts, directory);
    return await fn(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** This commits a layer: `change` gets the mounted snapshot. */
export async function commitLayer(
  subject: SnapshotSubject,
  name: string,
  parent: string,
  change: (directory: string) => Promise<void> = async () => {},
): Promise<void> {
  const key = `prepare-${name}`;
  await withMounts(subject, await subject.snapshotter.prepare(key, parent), change);
  await subject.snapshotter.commit(name, key);
}

/** This lists names in the order of the snapshotter. */
export async function listNames(subject: SnapshotSubject, filters: readonly string[] = []): Promise<string[]> {
  const infos: SnapshotInfo[] = await Array.fromAsync(subject.snapshotter.list({ filters }));
  return infos.map(({ name }) => name);
}

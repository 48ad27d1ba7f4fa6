import { readFile } from "node:fs/promises";
import { join } from "node:path";

import type { ActivationInfo, Mount, MountManager } from "@berth/core/mount";

/** A mount manager under test, empty, with the handlers `erofs` and `loop`. */
export interface MountSubject extends AsyncDisposable {
  readonly mounts: MountManager;
  /** The same manager in another namespace. */
  readonly others: MountManager;
  /** An empty directory below a root in which mounts may be prepared. */
  readonly directory: string;
  /** This makes an image of files, by path, and returns where it is. */
  image(type: "erofs" | "ext4", files: Readonly<Record<string, string>>): Promise<string>;
  /** This mounts a list at a new directory until the result is disposed. */
  mount(mounts: readonly Mount[]): Promise<AsyncDisposable & { readonly path: string }>;
  /** This collects what nobody holds, and ends when that is done; activations through `mounts` and `others` are held. */
  collect(): Promise<void>;
  /** This lists the mount points of this machine and the files that loop devices are attached to. */
  machine(): Promise<{ readonly mountPoints: readonly string[]; readonly loopFiles: readonly string[] }>;
}

/** A mount as lists of them are written in the cases. */
export function mountOf(type: string, source: string, ...options: string[]): Mount {
  return { type, source, target: "", options };
}

/** This returns what a file shows through what an activation leaves to its caller; `undefined` where there is none. */
export async function readThrough(
  subject: MountSubject,
  { system }: ActivationInfo,
  file: string,
): Promise<string | undefined> {
  await using mounted = await subject.mount(system);
  return await readFile(join(mounted.path, file), "utf8").catch(() => undefined);
}

import type { Mount as ProtoMount } from "@berth/api/containerd/types/mount";
import { isFailedPrecondition, isUnimplemented, wrapError } from "@berth/errors";

import type { CallOptions } from "./any.ts";
import type { ListOptions, UpdateOptions } from "./content.ts";
import type { Labels } from "./labels.ts";

/**
 * One mount as it is asked for, independent of where it is made; a list of them is made in order, one over the other.
 *
 * @see containerd core/mount, Mount
 */
export interface Mount {
  /** File system type, or `bind`; for the mount manager also `format/`, `mkfs/` or `mkdir/` and a type, or that of a handler. */
  readonly type: string;
  readonly source: string;
  /** Path below the place where the list is mounted; empty for the place itself. */
  readonly target: string;
  /** As in fstab: `ro`, `rbind`, `lowerdir=…`. Those that begin with `X-containerd.` are for the mount manager. */
  readonly options: readonly string[];
}

/** This reads the message of a mount. */
export function fromProtoMount({ type, source, target, options }: ProtoMount): Mount {
  return { type, source, target, options };
}

/** The inverse of {@link fromProtoMount}. */
export function toProtoMount(mount: Mount): Pick<ProtoMount, "type" | "source" | "target" | "options"> {
  const { type, source, target, options } = mount;
  return { type, source, target, options: [...options] };
}

/** A mount that a mount manager, or one of its handlers, has made. */
export interface ActiveMount extends Mount {
  /** Where it is: a directory, or what a handler puts in its place. */
  readonly mountPoint: string;
  /** Milliseconds since 1970. */
  readonly mountedAt: number;
  /** What its handler tells those of the mounts after it. */
  readonly data: ReadonlyMap<string, string>;
}

/** What became of a list of mounts. */
export interface ActivationInfo {
  readonly name: string;
  /** Those that have been made, in their order. */
  readonly active: readonly ActiveMount[];
  /** Those that are left to the caller; at least one. */
  readonly system: readonly Mount[];
  readonly labels: Labels;
}

/** Options of {@link MountManager.activate}. */
export interface ActivateOptions extends CallOptions {
  /** Among them `containerd.io/gc.bref.<kind>`: the activation lives as long as the object that is named. */
  readonly labels?: Labels | undefined;
  /** Make all mounts and leave a bind of the last to the caller. */
  readonly temporary?: boolean | undefined;
  /** Types that the caller makes itself, in spite of a handler for them; `format/*` names all of a transformation. */
  readonly allowMountTypes?: readonly string[] | undefined;
  /** The caller keeps it from the garbage collector until it deactivates it, or this process ends; only for a manager in it. */
  readonly held?: boolean | undefined;
}

/**
 * Makes those mounts of a list that the kernel alone cannot make, in one namespace. An activation lives until it is deactivated,
 * or until neither its lease nor what its labels name is there any more.
 *
 * @see containerd core/mount/manager.go, Manager
 */
export interface MountManager {
  /**
   * This makes the mounts up to the last one that needs a handler or a transformation; when it fails, none is left.
   *
   * @throws unimplemented - none needs it: the caller makes them all
   * @throws already_exists - there is an activation of that name
   * @throws invalid_argument - a template, option or label is wrong
   * @throws failed_precondition - a file or directory that would be made lies in the way, or outside of where that is allowed; a source
   * is not there
   */
  activate(name: string, mounts: readonly Mount[], options?: ActivateOptions): Promise<ActivationInfo>;
  /** This forgets an activation and takes its mounts away, the last first. @throws not_found, failed_precondition - one is in use */
  deactivate(name: string, options?: CallOptions): Promise<void>;
  /** @throws not_found */
  info(name: string, options?: CallOptions): Promise<ActivationInfo>;
  /** @throws unimplemented - always, as in containerd */
  update(info: ActivationInfo, options?: UpdateOptions): Promise<ActivationInfo>;
  /** This lists activations in order of their names; filter fields are `name` and `labels.*`. */
  list(options?: ListOptions): AsyncIterable<ActivationInfo>;
}

const PLAIN_TYPES = new Set(["bind", "overlay"]);

/** This says whether everybody makes all of a list by the kernel alone; of others the mount manager has to be asked. */
export function arePlain(mounts: readonly Mount[]): boolean {
  return mounts.every(({ type }) => PLAIN_TYPES.has(type));
}

/** Mounts that need no mount manager; disposing takes away what one has made for them. */
export interface ActivatedMounts extends AsyncDisposable {
  readonly mounts: readonly Mount[];
}

/**
 * This has a mount manager make what it must of a list, for a while. Disposing does not fail where a mount is in use just then: the
 * garbage collector takes it away later.
 *
 * @throws as {@link MountManager.activate}, but for unimplemented: then the mounts are those given
 */
export async function activateMounts(
  manager: Pick<MountManager, "activate" | "deactivate">,
  name: string,
  mounts: readonly Mount[],
  options?: ActivateOptions,
): Promise<ActivatedMounts> {
  const asTheyAre = { mounts, [Symbol.asyncDispose]: async () => {} };
  if (arePlain(mounts)) return asTheyAre;
  try {
    const { system } = await manager.activate(name, mounts, options);
    return { mounts: system, [Symbol.asyncDispose]: () => release(manager, name) };
  } catch (error) {
    if (isUnimplemented(error)) return asTheyAre;
    throw wrapError(error, "activate mounts");
  }
}

/** Without the signal of the caller: what was made is taken away also when that has gone. */
async function release(manager: Pick<MountManager, "deactivate">, name: string): Promise<void> {
  await manager.deactivate(name).catch((error: unknown) => {
    if (!isFailedPrecondition(error)) throw error;
  });
}

/**
 * Makes the mounts of one type, that by whose name its plugin goes.
 *
 * @see containerd core/mount/manager.go, Handler
 */
export interface MountHandler {
  /**
   * This makes a mount at a path that does not exist yet, whose directory does; when it fails, nothing is mounted there.
   * `active` are the mounts made before it.
   */
  mount(
    mount: Mount,
    mountPoint: string,
    options: CallOptions & { readonly active: readonly ActiveMount[] },
  ): Promise<ActiveMount>;
  /** This takes a mount away, that of an earlier process too; none there is fine. What is left is at most an empty directory. */
  unmount(mountPoint: string, options?: CallOptions): Promise<void>;
  /** This says whether the mount is still there. */
  isMounted(mountPoint: string): Promise<boolean>;
}

/** What the mount manager knows of itself by name. */
export const MountLabel = {
  /** Id of the container that an activation lives as long as. */
  containerBackReference: "containerd.io/gc.bref.container",
} as const;

import type { Mount, MountHandler } from "@berth/core/mount";

import { isTransformation, type Transformation } from "./transformations/transformation.ts";

/** A mount of a list, with what has to be done to make it. */
export interface PlannedMount {
  readonly mount: Mount;
  /** In the order in which they are applied. */
  readonly transformations: readonly Transformation[];
  /** Its type without those; also with a prefix that is no transformation. */
  readonly type: string;
  /** Makes it; without one the kernel does. */
  readonly handler: MountHandler | undefined;
}

/** What a mount manager does with a list of mounts. */
export interface ActivationPlan {
  /** Made by the manager. */
  readonly made: readonly PlannedMount[];
  /** The first that is left to the caller, transformed here: it may speak of those that are made. */
  readonly first: PlannedMount | undefined;
  /** Left to the caller as they are. */
  readonly rest: readonly Mount[];
}

/** What the caller wants, and what there is. */
export interface PlanOptions {
  readonly handlers: ReadonlyMap<string, MountHandler>;
  readonly temporary: boolean;
  readonly allowMountTypes: readonly string[];
}

/**
 * This divides a list: everything before the last mount that needs a handler or a transformation is made by the manager, and that
 * one too when it needs a handler. `undefined` where none does.
 *
 * @see containerd core/mount/manager/manager.go, Activate
 */
export function planActivation(mounts: readonly Mount[], options: PlanOptions): ActivationPlan | undefined {
  const planned = mounts.map((mount) => planMount(mount, options.handlers));
  const boundary = options.temporary
    ? mounts.length
    : Math.max(-1, ...planned.map((each, at) => needs(each, at, options)));
  if (boundary === -1 || mounts.length === 0) return undefined;
  return { made: planned.slice(0, boundary), first: planned[boundary], rest: mounts.slice(boundary + 1) };
}

function planMount(mount: Mount, handlers: ReadonlyMap<string, MountHandler>): PlannedMount {
  const transformations: Transformation[] = [];
  let { type } = mount;
  for (let at = type.indexOf("/"); at !== -1; at = type.indexOf("/")) {
    const prefix = type.slice(0, at);
    if (!isTransformation(prefix)) break;
    transformations.push(prefix);
    type = type.slice(at + 1);
  }
  return { mount, transformations, type, handler: handlers.get(type) };
}

/** How many mounts of the list have to be made because of the one at `at`; −1 for none. */
function needs({ mount, transformations, type, handler }: PlannedMount, at: number, options: PlanOptions): number {
  const { allowMountTypes } = options;
  if (handler !== undefined && !allowMountTypes.includes(type)) return at + 1;
  const isLeft = (transformation: Transformation): boolean =>
    allowMountTypes.includes(`${transformation}/*`) || allowMountTypes.includes(mount.type);
  return transformations.every(isLeft) ? -1 : at;
}

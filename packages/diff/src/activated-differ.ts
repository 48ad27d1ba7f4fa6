import { randomBytes } from "node:crypto";

import type { CallOptions } from "@berth/core/any";
import type { Applier, Comparer } from "@berth/core/diff";
import type { Mount, MountManager } from "@berth/core/mount";
import { isFailedPrecondition, isUnimplemented, wrapError } from "@berth/errors";

/**
 * This makes a differ whose mounts may be of types that the kernel does not know: a mount manager makes those for as long as a call
 * takes.
 *
 * @see containerd core/diff/apply/apply.go, Apply
 */
export function activateMounts<T extends Applier & Comparer>(differ: T, manager: MountManager): Applier & Comparer {
  return {
    async apply(layer, mounts, options = {}) {
      await using activated = await activate(manager, mounts, options);
      return await differ.apply(layer, activated.mounts, options);
    },
    async compare(lower, upper, options = {}) {
      await using below = await activate(manager, lower, options);
      await using above = await activate(manager, upper, options);
      return await differ.compare(below.mounts, above.mounts, options);
    },
  };
}

interface Activated extends AsyncDisposable {
  readonly mounts: readonly Mount[];
}

async function activate(manager: MountManager, mounts: readonly Mount[], { signal }: CallOptions): Promise<Activated> {
  const name = `fs-diffapply-${process.hrtime.bigint() % 1_000_000_000n}-${randomBytes(3).toString("base64url")}`;
  try {
    const { system } = await manager.activate(name, mounts, { held: true, signal });
    // Without the caller's signal: what it made is taken away also when it has gone.
    return { mounts: system, [Symbol.asyncDispose]: () => release(manager, name) };
  } catch (error) {
    if (isUnimplemented(error)) return { mounts, [Symbol.asyncDispose]: async () => {} };
    throw wrapError(error, "activate mounts");
  }
}

/** A mount that somebody looks into just now is taken away later, by the garbage collector: the layer is none the worse for it. */
async function release(manager: MountManager, name: string): Promise<void> {
  await manager.deactivate(name).catch((error: unknown) => {
    if (!isFailedPrecondition(error)) throw error;
  });
}

import { randomBytes } from "node:crypto";

import type { CallOptions } from "@berth/core/any";
import type { Applier, Comparer } from "@berth/core/diff";
import { activateMounts, type ActivatedMounts, type Mount, type MountManager } from "@berth/core/mount";

import type { OwnedApplier } from "./applier.ts";

/**
 * This makes a differ whose mounts may be of types that the kernel does not know: a mount manager makes those for as long as a call
 * takes.
 *
 * @see containerd core/diff/apply/apply.go, Apply
 */
export function activatedDiffer(
  differ: Pick<OwnedApplier, "apply"> & Comparer,
  manager: MountManager,
): Applier & Comparer {
  const activate = (mounts: readonly Mount[], { signal }: CallOptions): Promise<ActivatedMounts> =>
    activateMounts(manager, uniqueName(), mounts, { held: true, signal });
  return {
    async apply(layer, mounts, options = {}) {
      await using activated = await activate(mounts, options);
      const areTemporary = activated.mounts !== mounts;
      return await differ.apply(layer, activated.mounts, { ...options, areTemporary });
    },
    async compare(lower, upper, options = {}) {
      await using below = await activate(lower, options);
      await using above = await activate(upper, options);
      return await differ.compare(below.mounts, above.mounts, options);
    },
  };
}

function uniqueName(): string {
  return `fs-diffapply-${process.hrtime.bigint() % 1_000_000_000n}-${randomBytes(3).toString("base64url")}`;
}

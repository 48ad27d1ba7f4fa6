import type { CallOptions } from "@berth/core/any";
import type { ActivateOptions, ActivationInfo, Mount } from "@berth/core/mount";
import type { Namespace } from "@berth/core/namespaces";

import type { Activation } from "./store/activation.ts";
import type { ActivationStore } from "./store/activation-store.ts";

/** What names an activation. */
export interface ActivationName {
  readonly namespace: Namespace;
  readonly name: string;
}

/** The activations of all namespaces: what the views of single namespaces and the collector work on. */
export interface Activations {
  readonly store: ActivationStore;
  /** @see MountManager.activate of `@berth/core/mount` */
  activate(
    place: ActivationName & { readonly lease: string },
    mounts: readonly Mount[],
    options: ActivateOptions,
  ): Promise<ActivationInfo>;
  /** @see MountManager.deactivate of `@berth/core/mount` */
  deactivate(place: ActivationName, options?: CallOptions): Promise<void>;
  /** This is `deactivate` for an activation that may be gone, or replaced by another of its name: then nothing is done. */
  deactivateIfSame(activation: Activation): Promise<void>;
  /** Whether who activated it keeps it from the garbage collector. */
  isHeld(activation: Activation): boolean;
  /** This takes mounts away that no activation speaks of; one that is in use stays for the next time, and is logged. */
  removeStale(): Promise<void>;
}

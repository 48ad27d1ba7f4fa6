import type { ActivationInfo } from "@berth/core/mount";
import type { Namespace } from "@berth/core/namespaces";

/** An activation as it is stored. */
export interface Activation extends ActivationInfo {
  readonly namespace: Namespace;
  /** Names the directory of its mount points. */
  readonly id: number;
  /** Lease that holds it, empty for none. */
  readonly lease: string;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** This leaves out what only the manager needs. */
export function activationInfo({ name, active, system, labels }: Activation): ActivationInfo {
  return { name, active, system, labels };
}

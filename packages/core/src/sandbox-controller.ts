import type { Platform } from "@berth/oci";

import type { AnyValue, CallOptions } from "./any.ts";
import type { Labels } from "./labels.ts";
import type { Mount } from "./mount.ts";
import type { Namespace } from "./namespaces.ts";
import type { ExitStatus } from "./runtime.ts";
import type { SandboxSpec } from "./sandboxes.ts";

/** What a sandbox is made with, beside its record. */
export interface SandboxCreateOptions extends CallOptions {
  readonly options?: AnyValue | undefined;
  readonly rootfs: readonly Mount[];
  /** Network namespace that it is to be in; empty for none. */
  readonly netnsPath: string;
  readonly annotations: ReadonlyMap<string, string>;
}

/** A sandbox that runs. Times are nanoseconds since 1970. */
export interface SandboxInstance {
  readonly id: string;
  readonly pid: number;
  readonly createdAtNs: bigint;
  /** Where tasks of it are made, `unix:///path`, and in which version of the task API; empty and 0 where it takes none. */
  readonly address: string;
  readonly version: number;
  readonly spec?: AnyValue | undefined;
}

/** What a controller knows of a sandbox. Times are nanoseconds since 1970, 0 for none. */
export interface SandboxStatus {
  readonly id: string;
  readonly pid: number;
  /** Words of the shim; containerd's are `SANDBOX_READY` and `SANDBOX_NOTREADY`. Empty for a sandbox that nobody runs. */
  readonly state: string;
  readonly info: Labels;
  readonly createdAtNs: bigint;
  readonly exitedAtNs: bigint;
  readonly extra?: AnyValue | undefined;
  readonly address: string;
  readonly version: number;
}

/** What a sandbox uses. */
export interface SandboxMetrics {
  readonly id: string;
  readonly timestampNs: bigint;
  readonly data?: AnyValue | undefined;
}

/**
 * Runs sandboxes. Their records are the business of the caller, see `SandboxStore`.
 *
 * @see containerd core/sandbox/controller.go, Controller
 */
export interface SandboxController {
  /** This sets the sandbox up without starting it; nothing is left when it fails. @throws already_exists, not_found - no such runtime */
  create(namespace: Namespace, sandbox: SandboxSpec, options: SandboxCreateOptions): Promise<void>;
  /** A sandbox that does not start is removed. @throws not_found */
  start(namespace: Namespace, id: string, options?: CallOptions): Promise<SandboxInstance>;
  /** @throws not_found */
  platform(namespace: Namespace, id: string, options?: CallOptions): Promise<Platform>;
  /** This ends what runs in the sandbox, by force after the timeout; one that is not there is fine. */
  stop(namespace: Namespace, id: string, options?: CallOptions & { readonly timeoutSeconds?: number }): Promise<void>;
  /** This resolves when the sandbox has ended: at once, with status 255, for one that is not there. */
  wait(namespace: Namespace, id: string, options?: CallOptions): Promise<Omit<ExitStatus, "pid">>;
  /** One that is not there has the time of its exit and nothing else. */
  status(
    namespace: Namespace,
    id: string,
    options?: CallOptions & { readonly verbose?: boolean },
  ): Promise<SandboxStatus>;
  /** This removes the sandbox with its processes; one that is not there is fine. */
  shutdown(namespace: Namespace, id: string, options?: CallOptions): Promise<void>;
  /** @throws not_found */
  metrics(namespace: Namespace, id: string, options?: CallOptions): Promise<SandboxMetrics>;
  /** This takes over the fields named of a changed record. */
  update(
    namespace: Namespace,
    id: string,
    sandbox: SandboxSpec,
    options: CallOptions & { readonly fields: readonly string[] },
  ): Promise<void>;
}

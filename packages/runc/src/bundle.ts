import { readFileSync } from "node:fs";
import { join } from "node:path";

import type { Mount } from "@berth/core/mount";
import { findSandboxAnnotation } from "@berth/core/shim-names";
import { invalidArgument, messageOf, systemErrorCode, unknown } from "@berth/errors";
import { mountAll } from "@berth/linux/mount";

/** What a shim wants to know of a container's specification. */
export interface BundleFacts {
  /** The processes have a pid namespace of their own, so that the kernel ends them all when init ends. */
  readonly privatePidNamespace: boolean;
  /** The sandbox that the container belongs to, by its annotations or by what the daemon wrote. */
  readonly sandboxId: string | undefined;
  /** As the specification has it. */
  readonly cgroupsPath: string | undefined;
}

/** This reads a bundle's `config.json`. @throws invalid_argument - it is missing or no JSON */
export function readBundleFacts(bundle: string): BundleFacts {
  try {
    const spec: unknown = JSON.parse(readFileSync(join(bundle, "config.json"), "utf8"));
    const privatePidNamespace = namespacesOf(spec).some((namespace) => isPrivatePid(namespace));
    const cgroupsPath = field(field(spec, "linux"), "cgroupsPath");
    return {
      privatePidNamespace,
      sandboxId: readSandboxFile(bundle) ?? findSandboxAnnotation(spec),
      cgroupsPath: typeof cgroupsPath === "string" ? cgroupsPath : undefined,
    };
  } catch (error) {
    throw invalidArgument(`read ${bundle}/config.json: ${messageOf(error)}`, { cause: error });
  }
}

function readSandboxFile(bundle: string): string | undefined {
  try {
    return readFileSync(join(bundle, "sandbox"), "utf8").trim() || undefined;
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

function namespacesOf(spec: unknown): readonly unknown[] {
  const linux = field(spec, "linux");
  const namespaces = field(linux, "namespaces");
  return Array.isArray(namespaces) ? namespaces : [];
}

function isPrivatePid(namespace: unknown): boolean {
  return field(namespace, "type") === "pid" && !field(namespace, "path");
}

function field(value: unknown, name: string): unknown {
  // any object may be asked for any name
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

/** This mounts the root file system of a bundle. @throws unknown - whatever the mount failed with: a class of its own would be taken for one of the shim */
export async function mountRootfs(mounts: readonly Mount[], rootfs: string): Promise<void> {
  try {
    await mountAll(mounts, rootfs);
  } catch (error) {
    throw unknown(`failed to mount rootfs component: ${messageOf(error)}`, { cause: error });
  }
}

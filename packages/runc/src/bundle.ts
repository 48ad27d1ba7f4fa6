import { readFileSync } from "node:fs";
import { join } from "node:path";

import { invalidArgument, messageOf } from "@berth/errors";

/** What a shim wants to know of a container's specification. */
export interface BundleFacts {
  /** The processes have a pid namespace of their own, so that the kernel ends them all when init ends. */
  readonly privatePidNamespace: boolean;
}

/** This reads a bundle's `config.json`. @throws invalid_argument - it is missing or no JSON */
export function readBundleFacts(bundle: string): BundleFacts {
  try {
    const spec: unknown = JSON.parse(readFileSync(join(bundle, "config.json"), "utf8"));
    return { privatePidNamespace: namespacesOf(spec).some((namespace) => isPrivatePid(namespace)) };
  } catch (error) {
    throw invalidArgument(`read ${bundle}/config.json: ${messageOf(error)}`, { cause: error });
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

/** A container's id and exec ids become file names and arguments. @throws invalid_argument */
export function checkIdentifier(id: string, what: string): void {
  if (!/^[A-Za-z0-9]+(?:[-._][A-Za-z0-9]+)*$/.test(id))
    throw invalidArgument(`${what} ${JSON.stringify(id)} is invalid`);
}

import { readFileSync } from "node:fs";
import { join } from "node:path";

import { findSandboxAnnotation, poolGroup } from "@berth/core/shim-names";

import type { Grouping } from "./environment.ts";

/** What decides which shim takes a container. */
export interface GroupRequest {
  readonly grouping: Grouping;
  readonly id: string;
  readonly bundle: string;
  /** A shim is in one cgroup: containers that want another one cannot share it. */
  readonly shimCgroup?: string | undefined;
}

/** This yields the names of the groups to try in turn: without end for a pool, one otherwise. */
export function* groupNames(request: GroupRequest): Generator<string, void> {
  if (request.grouping === "container") yield request.id;
  else if (request.grouping === "sandbox") yield sandboxOf(request.bundle) ?? request.id;
  else for (let number = 0; ; number += 1) yield poolGroup(number, request.shimCgroup);
}

function sandboxOf(bundle: string): string | undefined {
  const spec: unknown = JSON.parse(readFileSync(join(bundle, "config.json"), "utf8"));
  return findSandboxAnnotation(spec);
}

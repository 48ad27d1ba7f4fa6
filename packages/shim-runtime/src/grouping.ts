import { readFileSync } from "node:fs";
import { join } from "node:path";

import type { Grouping } from "./environment.ts";

const ANNOTATIONS = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

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
  else for (let number = 0; ; number += 1) yield poolName(number, request.shimCgroup);
}

function poolName(number: number, cgroup: string | undefined): string {
  return cgroup ? `pool-${number}@${cgroup}` : `pool-${number}`;
}

function sandboxOf(bundle: string): string | undefined {
  // what JSON.parse returns is checked below
  const spec = JSON.parse(readFileSync(join(bundle, "config.json"), "utf8")) as { annotations?: unknown };
  const annotations = new Map(Object.entries(spec.annotations ?? {}));
  return ANNOTATIONS.map((name) => annotations.get(name)).find((value) => typeof value === "string" && value !== "");
}

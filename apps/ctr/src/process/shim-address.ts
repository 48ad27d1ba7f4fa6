import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";

import { validateIdentifier } from "@berth/core/namespaces";

import type { Session } from "../cli/session.ts";

/** Plugins whose bundles have shims. */
const OWNERS = ["io.containerd.runtime.v2.task", "io.containerd.sandbox.controller.v1.shim"];

/**
 * This finds where the shim of a task or sandbox listens: as its bundle beside the daemon's socket says, else by containerd's rule,
 * which holds for shims that have nothing but it.
 *
 * @throws invalid_argument - the id is no identifier
 */
export async function findShimAddress({ address, namespace }: Session, id: string): Promise<string> {
  validateIdentifier(id, "shim id");
  const state = dirname(address);
  for (const owner of OWNERS) {
    const noted = await readAddress(join(state, owner, namespace, id, "bootstrap.json"));
    if (noted !== undefined) return noted;
  }
  const name = createHash("sha256").update(`${address}/${namespace}/${id}`).digest("hex");
  return `unix://${join(state, "s", name)}`;
}

async function readAddress(path: string): Promise<string | undefined> {
  try {
    // What JSON.parse returns is looked at with care.
    const { address } = JSON.parse(await readFile(path, "utf8")) as { address?: unknown };
    return typeof address === "string" && address !== "" ? address : undefined;
  } catch {
    return undefined;
  }
}

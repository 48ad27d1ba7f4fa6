import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { shimSocketPath } from "@berth/core/shim-names";
import { unavailable } from "@berth/errors";

import type { ShimDefinition } from "./define-shim.ts";
import type { ShimEnvironment } from "./environment.ts";
import type { ShimFlags } from "./flags.ts";
import { groupNames } from "./grouping.ts";
import { launchShim } from "./launch-shim.ts";
import { claimSocket, connectSocket, removeStaleSocket } from "./socket-file.ts";
import { readStdin } from "./stdin-bytes.ts";
import { formatTextAnswer, type ShimEndpoint } from "./text-answer.ts";

/** What an action works on. */
export interface ActionInput {
  readonly definition: ShimDefinition;
  readonly flags: ShimFlags;
  readonly environment: ShimEnvironment;
}

const API_VERSION = 3;
const ATTEMPTS = 20;
/** Longer with each attempt: 2 s in all. */
const PAUSE_MS = 10;

/**
 * This finds a shim with room for a container, or starts one, and returns what is to be printed.
 *
 * Where the shim lives already nothing is started: that path loads neither native code nor the shim itself.
 */
export async function startAction(input: ActionInput): Promise<Uint8Array> {
  const bytes = await readStdin();
  const { maxVersion } = input.environment;
  if (bytes.length === 0) {
    const endpoint = await place(input, {});
    noteAddress(input, endpoint);
    return new TextEncoder().encode(formatTextAnswer(endpoint, maxVersion));
  }
  const { formatBootstrapAnswer, parseBootstrapInput } = await import("./bootstrap.ts");
  const { form, params, options } = parseBootstrapInput(bytes, input.flags);
  const shimCgroup = options && (await input.definition.shimCgroup?.(options));
  const endpoint = await place(input, {
    shimCgroup: shimCgroup || undefined,
    socketDir: params?.socketDir || undefined,
    ttrpcAddress: params?.containerdTtrpcAddress || undefined,
  });
  if (form === "text") noteAddress(input, endpoint);
  return formatBootstrapAnswer(form, endpoint, maxVersion);
}

/** Daemons that know no bootstrap parameters keep no answer: after a restart they look for this file, and take a task without it for dead. */
function noteAddress({ flags }: ActionInput, { address }: ShimEndpoint): void {
  writeFileSync(join(bundleOf(flags), "address"), address, { mode: 0o600 });
}

function bundleOf(flags: ShimFlags): string {
  return flags.bundle || process.cwd();
}

/** What the standard input decides. */
interface Placement {
  readonly shimCgroup?: string | undefined;
  readonly socketDir?: string | undefined;
  readonly ttrpcAddress?: string | undefined;
}

async function place(input: ActionInput, placement: Placement): Promise<ShimEndpoint> {
  const { flags, environment } = input;
  const bundle = bundleOf(flags);
  const { grouping } = environment;
  for (const group of groupNames({ grouping, id: flags.id, bundle, shimCgroup: placement.shimCgroup })) {
    const subject = { grpcAddress: flags.address, namespace: flags.namespace, group };
    const path = shimSocketPath(placement.socketDir ?? environment.socketDir, subject);
    if (await enter(input, placement, path, bundle))
      return { version: API_VERSION, address: `unix://${path}`, protocol: "ttrpc" };
  }
  throw unavailable(`no shim takes container ${flags.id}`);
}

/** This brings a container to the shim of a socket, which is started where there is none; `false` when it is full. */
async function enter(input: ActionInput, placement: Placement, path: string, bundle: string): Promise<boolean> {
  const pooled = input.environment.grouping === "pool";
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const socket = await connectSocket(path);
    if (!socket) {
      await removeStaleSocket(path);
      const listener = await claimSocket(path);
      if (!listener) continue;
      await launchShim({ ...input, ...placement, bundle, path, listener });
      return true;
    }
    // one that was killed keeps its listener until its last thread is gone: only an answer tells that it lives
    const { askPool } = await import("./ask-pool.ts");
    const accepted = await askPool(socket, { id: input.flags.id, bundle });
    // those of earlier versions can be asked when they are pools only
    if (accepted === true || (accepted === "no pool" && !pooled)) return true;
    // what is no pool is never full: it is about to end, and its socket goes
    if (accepted === false && pooled) return false;
    await sleep(attempt * PAUSE_MS);
  }
  throw unavailable(`shim socket ${path}: no shim stays there`);
}

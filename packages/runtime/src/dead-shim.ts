import { DeleteResponseSchema } from "@berth/api/containerd/task/v2/task";
import type { Logger } from "@berth/core/log";
import type { ExitStatus } from "@berth/core/runtime";
import { fromProtoTimestampNs, nowNs } from "@berth/core/timestamp";
import { fromBinary } from "@bufbuild/protobuf";

import type { Bundle } from "./bundle.ts";
import { type ExitRecord, readExitRecords } from "./exit-records.ts";
import type { ShimStarter } from "./shim-starter.ts";

// What containerd reports when even the shim binary does not know how the container ended.
const UNKNOWN_EXIT_STATUS = 255;

/** What remained of a task whose shim is dead. */
export interface DeadShimResult {
  readonly exit: ExitStatus;
  /** The record that the shim left of init's exit, when init had ended before the shim died. */
  readonly record: ExitRecord | undefined;
  /** Whether the binary says that it has removed everything. */
  readonly isRemoved: boolean;
}

/** What is left of a shim, and who wants to know. */
export interface DeadShim {
  readonly bundle: Bundle;
  readonly binary: string | undefined;
  /** Called, once at most, when the container's processes are gone and that is known before all is removed. */
  readonly onEnded?: (exit: ExitStatus) => void;
}

/**
 * This has the shim's binary kill and remove what a dead shim left behind, and says how the container ended. It never throws:
 * what cannot be removed is logged.
 */
export async function cleanUpDeadShim(manager: ShimStarter, dead: DeadShim, log: Logger): Promise<DeadShimResult> {
  const { bundle } = dead;
  const deleted = await runDelete(manager, dead, log);
  const records = await readExitRecords(bundle).catch(() => []);
  const record = records.find(({ execId }) => execId === "");
  const exit = record ?? deleted ?? { pid: 0, exitStatus: UNKNOWN_EXIT_STATUS, exitedAtNs: nowNs() };
  return { exit, record, isRemoved: deleted !== undefined };
}

async function runDelete(
  manager: ShimStarter,
  { bundle, binary, onEnded }: DeadShim,
  log: Logger,
): Promise<ExitStatus | undefined> {
  const fields = { id: bundle.id, namespace: bundle.namespace };
  if (binary === undefined) {
    log.warn("cannot clean up after dead shim: its binary is not known", fields);
    return undefined;
  }
  try {
    const { status, stdout, stderr } = await manager.runDelete(bundle, binary, {
      timeoutMs: manager.timeouts.cleanupMs,
      onEnded: ({ stdout: answer }) => {
        const exit = parseDeleteOutput(answer);
        if (exit !== undefined) onEnded?.(exit);
      },
    });
    const warnings = new TextDecoder().decode(stderr).trim();
    if (warnings !== "") log.warn("cleanup warnings", { ...fields, warnings });
    if (status === 0) return parseDeleteOutput(stdout);
    log.warn("failed to clean up after shim disconnected", { ...fields, status });
  } catch (error) {
    log.warn("failed to clean up after shim disconnected", { ...fields, error });
  }
  return undefined;
}

/** This reads what a shim's `delete` printed; `undefined` for bytes that are no DeleteResponse. */
function parseDeleteOutput(stdout: Uint8Array): ExitStatus | undefined {
  try {
    const { pid, exitStatus, exitedAt } = fromBinary(DeleteResponseSchema, stdout);
    const exitedAtNs = fromProtoTimestampNs(exitedAt);
    return { pid, exitStatus, exitedAtNs: exitedAtNs > 0n ? exitedAtNs : nowNs() };
  } catch {
    return undefined;
  }
}

import { randomUUID } from "node:crypto";
import { open, rm, statfs } from "node:fs/promises";
import { join } from "node:path";

import { Code, codeOf, messageOf } from "@berth/errors";
import { traceCalls } from "@berth/testing";

import type { FaultRig } from "./fault-rig.ts";
import type { KillPoint, RoundOutcome } from "./kill-round.ts";
import { checkRecovered, prepareOperation } from "./kill-round.ts";
import type { Operation } from "./operations.ts";

/** Calls by which a database is put on disk, or its first pages are written: when one fails, the daemon stops. */
const DATABASE_CALLS = new Set(["pwrite64", "fdatasync", "msync", "fsync", "ftruncate"]);

/** One system call of the daemon fails; the operation may fail, what is acknowledged must hold and a second try succeed. */
export async function errorRound(
  rig: FaultRig,
  { operation, call, count, error }: KillPoint & { readonly error: "EIO" | "ENOSPC" },
): Promise<RoundOutcome> {
  await prepareOperation(rig, operation);
  const { pid } = rig.daemon;
  let failure: unknown;
  {
    await using _tracer = await traceCalls(pid, { calls: [call], inject: `error=${error}:when=${count}` });
    await operation.run(rig).catch((reason: unknown) => (failure = reason));
  }
  const problems: string[] = [];
  if (await hasStopped(rig)) {
    if (!DATABASE_CALLS.has(call)) problems.push(`the daemon stopped: ${messageOf(failure)}`);
    await rig.restart();
  } else if (failure !== undefined && codeOf(failure) === Code.Unknown) {
    problems.push(`an error without a class: ${messageOf(failure)}`);
  }
  problems.push(...(await checkRecovered(rig, operation)));
  return { problems, missed: false };
}

/** A daemon that must stop tells its clients first and is given a moment. */
async function hasStopped({ client }: FaultRig): Promise<boolean> {
  for (let attempt = 0; attempt < 3; attempt++) {
    try {
      await client.leases.create({ id: `alive-${randomUUID()}`, labels: new Map() });
    } catch {
      return true;
    }
  }
  return false;
}

/** The disk has only so many bytes left; when there is room again, a second try succeeds, without a restart. */
export async function fullRound(
  rig: FaultRig,
  { operation, freeBytes }: { readonly operation: Operation; readonly freeBytes: number },
): Promise<RoundOutcome> {
  if (rig.disk === undefined) throw new Error("only a disk of its own is filled");
  await prepareOperation(rig, operation);
  const { pid } = rig.daemon;
  const filler = join(rig.disk.path, "filler");
  await fillUp(filler, rig.disk.path, freeBytes);
  const problems: string[] = [];
  let missed = true;
  try {
    await operation.run(rig);
  } catch (error) {
    missed = false;
    // Go's client tells no code.
    const isTyped =
      codeOf(error) === Code.ResourceExhausted || /no space left|ResourceExhausted/i.test(messageOf(error));
    if (!isTyped) problems.push(`on a full disk: ${messageOf(error)}`);
  } finally {
    await rm(filler, { force: true });
  }
  problems.push(...(await checkRecovered(rig, operation)));
  if (rig.daemon.pid !== pid) problems.push("the daemon was restarted");
  return { problems, missed };
}

async function fillUp(path: string, disk: string, freeBytes: number): Promise<void> {
  await using file = await open(path, "w");
  const { bfree, bsize } = await statfs(disk);
  let rest = bfree * bsize - freeBytes;
  for (let size = 1 << 20; size >= 4096 && rest > 0; size = Math.floor(size / 16)) {
    try {
      for (; rest >= size; rest -= size) await file.write(new Uint8Array(size));
    } catch (error) {
      if (codeOf(error) !== Code.ResourceExhausted) throw error;
    }
  }
}

import type { FileHandle } from "node:fs/promises";
import { open } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import type { CallOptions } from "@berth/core/any";
import { failedPrecondition, isNotFound, wrapError } from "@berth/errors";

import type { Client } from "./client.ts";
import { linesOf } from "./output-lines.ts";
import type { AttachedIo } from "./run-task.ts";

const LOOK_AGAIN_MS = 100;
/** A shim tells the end of a process at once, and copies its last words meanwhile: a file that has not grown for so long is whole. */
const SETTLE_MS = 500;
const CHUNK_BYTES = 65_536;

/** This has a process write its output to a file, both streams as one. The daemon makes the file, and nobody needs to read along. */
export function logIo(path: string, options: { readonly terminal?: boolean } = {}): AttachedIo {
  const { terminal = false } = options;
  const url = `file://${path}`;
  // containerd's shim wants both or none.
  const paths = { stdin: "", stdout: url, stderr: terminal ? "" : url, terminal };
  return { paths, async [Symbol.asyncDispose]() {} };
}

/** Options of {@link readLog}. */
export interface ReadLogOptions extends CallOptions {
  /** Go on until the task has ended, and its last words are there: it is gone, or its file has not grown for half a second. */
  readonly follow?: boolean;
}

/**
 * This yields the lines that a task has written to its file so far, with `follow` also those to come. The task must have been started with {@link logIo}, or by `ctr run
 * --log-uri file://…`, and not be deleted yet; the file is read on this machine.
 *
 * @throws not_found - no such task, or no file; failed_precondition - its output goes elsewhere
 * @throws unavailable - the daemon has gone while its task was followed: whether that has ended is not known
 */
export async function* readLog(
  client: Client,
  id: string,
  options: ReadLogOptions = {},
): AsyncGenerator<string, void, undefined> {
  const { follow = false, signal } = options;
  const { stdout } = await client.tasks.get(id, { signal });
  if (!stdout.startsWith("file://")) {
    throw failedPrecondition(`task ${id} does not write to a file but to ${JSON.stringify(stdout)}`);
  }
  const path = fileURLToPath(stdout);
  await using file = await openLog(path);
  const stop = new AbortController();
  await using _stopped = { [Symbol.asyncDispose]: async () => stop.abort() };
  const ended = follow ? taskEnd(client, id, AbortSignal.any([stop.signal, ...(signal ? [signal] : [])])) : undefined;
  yield* linesOf(chunksOf(file, ended, options));
}

async function openLog(path: string): Promise<FileHandle> {
  try {
    return await open(path, "r");
  } catch (error) {
    throw wrapError(error, `open log ${path}`);
  }
}

/** What is known of a task that is followed: an ended one is not deleted yet, and its shim may still write. */
interface TaskEnd {
  status: "running" | "ended" | "gone";
  /** Why it cannot be known. */
  failure?: { readonly error: unknown };
}

function taskEnd(client: Client, id: string, signal: AbortSignal): TaskEnd {
  const end: TaskEnd = { status: "running" };
  const finish = (): void => {
    end.status = "ended";
  };
  const fail = (error: unknown): void => {
    if (isNotFound(error)) end.status = "gone";
    else end.failure = { error };
  };
  void client.tasks.task(id).wait({ signal }).then(finish, fail);
  return end;
}

/** Without an end, what is there now. */
async function* chunksOf(
  file: FileHandle,
  end: Readonly<TaskEnd> | undefined,
  { signal }: ReadLogOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const buffer = new Uint8Array(CHUNK_BYTES);
  let settledMs = 0;
  for (;;) {
    signal?.throwIfAborted();
    // Asked first: what was written before the end is then read after it.
    const status = end?.status ?? "gone";
    const { bytesRead } = await file.read(buffer, 0, buffer.length);
    if (bytesRead > 0) {
      settledMs = 0;
      yield buffer.slice(0, bytesRead);
      continue;
    }
    if (status === "gone" || settledMs >= SETTLE_MS) return;
    if (end?.failure !== undefined) throw wrapError(end.failure.error, "wait for the end of the task");
    await sleep(LOOK_AGAIN_MS, undefined, { signal });
    if (status === "ended") settledMs += LOOK_AGAIN_MS;
  }
}

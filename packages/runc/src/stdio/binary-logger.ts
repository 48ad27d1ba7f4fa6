import { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

import { deadlineExceeded, failedPrecondition } from "@berth/errors";
import { closeFd, pipe2 } from "@berth/linux/files";
import type { Child, ChildReaper } from "@berth/linux/process";

import { commandEnvironment, startProgram } from "../run-command.ts";
import type { StdioTarget } from "./stdio-uri.ts";

const READY_TIMEOUT_MS = 10_000;
const END_GRACE_MS = 1000;
const KILL_AFTER_MS = 12_000;

/** A program that is given the output of a process. */
export interface BinaryLogger {
  /** Ends that the process writes to; their taker closes them. */
  readonly stdout: number;
  readonly stderr: number;
  /** This waits for the end of the logger, which comes by itself when the ends are closed; then it asks, then it kills. */
  close(): Promise<void>;
}

/** Whose output it gets. */
export interface LoggerContext {
  readonly reaper: ChildReaper;
  readonly namespace: string;
  readonly id: string;
}

/**
 * This starts a logger and waits until it says that it is ready.
 * @throws failed_precondition - it ended or said nothing useful @throws deadline_exceeded - it did not get ready
 */
export async function startBinaryLogger(
  target: Extract<StdioTarget, { kind: "binary" }>,
  { reaper, namespace, id }: LoggerContext,
): Promise<BinaryLogger> {
  await using undo = new AsyncDisposableStack();
  const [outRead, stdout] = pipe2();
  const [errRead, stderr] = pipe2();
  const [readyRead, readyWrite] = pipe2();
  const ready = new Socket({ fd: readyRead, readable: true, writable: false });
  undo.defer(() => void ready.destroy());
  const closeOurs = undo.adopt([stdout, stderr], (ends) => ends.forEach(closeFd));
  const env = { ...commandEnvironment(), CONTAINER_ID: id, CONTAINER_NAMESPACE: namespace };
  let child: Child;
  try {
    const extraFds = new Map([
      [3, outRead],
      [4, errRead],
      [5, readyWrite],
    ]);
    child = startProgram(reaper, { path: target.path, args: target.args, env, extraFds });
  } finally {
    [outRead, errRead, readyWrite].forEach(closeFd);
  }
  undo.defer(() => killIfAlive(child));
  await untilReady(ready, target, child);
  ready.destroy();
  undo.move();
  void closeOurs;
  return { stdout, stderr, close: () => end(child) };
}

async function untilReady(ready: Socket, target: { readonly path: string; readonly version: 1 | 2 }, child: Child) {
  const said = (async () => {
    for await (const chunk of ready) if (chunk.length > 0) return true;
    return target.version === 1;
  })();
  // destroying the pipe after a timeout rejects it with nobody waiting
  said.catch(() => {});
  const late = sleep(READY_TIMEOUT_MS, "late" as const, { ref: false });
  const outcome = await Promise.race([said, child.exited, late]);
  if (outcome === "late") throw deadlineExceeded(`logger ${target.path} did not get ready`);
  // a logger may say that it is ready and end at once
  if (outcome !== true && (await Promise.race([said, sleep(100, false)])) !== true) {
    throw failedPrecondition(`logger ${target.path} ended before it was ready`);
  }
}

async function end(child: Child): Promise<void> {
  if (await endsWithin(child, END_GRACE_MS)) return;
  signal(child, "SIGTERM");
  if (!(await endsWithin(child, KILL_AFTER_MS))) await killIfAlive(child);
}

async function endsWithin(child: Child, ms: number): Promise<boolean> {
  const stop = new AbortController();
  const late = sleep(ms, false, { signal: stop.signal }).catch(() => false);
  const ended = await Promise.race([child.exited.then(() => true), late]);
  stop.abort();
  return ended;
}

async function killIfAlive(child: Child): Promise<void> {
  signal(child, "SIGKILL");
  await child.exited;
}

function signal(child: Child, name: NodeJS.Signals): void {
  try {
    process.kill(child.pid, name);
  } catch {
    // it has ended
  }
}

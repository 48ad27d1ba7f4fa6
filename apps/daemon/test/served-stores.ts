import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { basename, dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { deadlineExceeded, failedPrecondition } from "@berth/errors";

const CHECKOUT = join(import.meta.dirname, "..", "..", "..");
const READY_DEADLINE_MS = 20_000;

/** A program of a README that serves a store; disposing it stops it. */
export interface ServedStore extends AsyncDisposable {
  readonly pid: number;
  readonly socket: string;
}

/** This runs the program under "## Serving …" of a package's README, as it stands there, and waits until it answers. */
export async function serveStore(name: "content" | "snapshotters", root: string, socket: string): Promise<ServedStore> {
  const directory = join(CHECKOUT, "packages", name);
  const program = /^## Serving .*?^```ts\n(.*?)^```/ms.exec(await readFile(join(directory, "README.md"), "utf8"))?.[1];
  if (program === undefined) throw failedPrecondition(`${directory}/README.md has no program under "## Serving"`);
  await using undo = new AsyncDisposableStack();
  // In the package, whose dependencies it imports.
  const file = join(directory, "test", `.serving-${basename(dirname(socket))}.ts`);
  await writeFile(file, program);
  undo.defer(() => rm(file, { force: true }));
  const args = ["--conditions=@berth/source", file, root, socket];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "inherit", "inherit"] });
  const ended = once(child, "exit");
  undo.defer(async () => {
    // A stopped process gets no other signal.
    child.kill("SIGCONT");
    child.kill("SIGTERM");
    await ended;
  });
  const deadline = Date.now() + READY_DEADLINE_MS;
  while (!(await answers(socket))) {
    if (child.exitCode !== null) throw failedPrecondition(`the program of ${directory}/README.md ended`);
    if (Date.now() > deadline) throw deadlineExceeded(`the program of ${directory}/README.md does not answer`);
    await sleep(20);
  }
  const owned = undo.move();
  return { pid: child.pid ?? 0, socket, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

function answers(path: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect(path);
  socket.once("connect", () => resolve(true));
  socket.once("error", () => resolve(false));
  return promise.finally(() => socket.destroy());
}

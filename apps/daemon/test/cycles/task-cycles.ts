import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { createClient, type Client } from "@berth/client";
import {
  type AttachedIo,
  createContainer,
  makePipedIo,
  nullIo,
  removeContainer,
  run,
  type RunningProcess,
  startExec,
  startTask,
} from "@berth/client/run";
import { noLabels } from "@berth/core/labels";
import { internal, isNotFound } from "@berth/errors";
import { withProcessArgs } from "@berth/oci/spec";
import type { PeerDaemon, SeededRandom } from "@berth/testing";
import { BUSYBOX_IMAGE, busyboxImage, seededRandom, startBerthd } from "@berth/testing";

import { type Holdings, holdingsOf, type HoldingsPlace, residentBytes } from "./daemon-holdings.ts";

const MAIN = "main";
const KILLED = 137;
const LONGEST_START_MS = 150;
const REST_TRIES = 36;

/** What was held before and after, and how much memory grew. */
export interface TaskCyclesResult {
  readonly before: Holdings;
  readonly after: Holdings;
  readonly grownBytes: number;
}

/**
 * Containers that are run and removed and execs in one that stays, drawn at random and several at a time, over the socket of a real
 * daemon; a third of them fail, are killed or given up. What the daemon and its shims hold afterwards is what they held before.
 */
export class TaskCycles implements AsyncDisposable {
  readonly #client: Client;
  readonly #place: HoldingsPlace;
  readonly #random: SeededRandom;
  readonly #stack: AsyncDisposableStack;
  #count = 0;

  private constructor(client: Client, place: HoldingsPlace, random: SeededRandom, stack: AsyncDisposableStack) {
    this.#client = client;
    this.#place = place;
    this.#random = random;
    this.#stack = stack;
  }

  static async open(seed: number): Promise<TaskCycles> {
    await using stack = new AsyncDisposableStack();
    const daemon: PeerDaemon = stack.use(await startBerthd());
    const namespace = `cycles-${process.pid}`;
    await daemon.ctr(["-n", namespace, "image", "import", "-"], { input: (await busyboxImage()).archive });
    const client = stack.use(createClient({ address: daemon.address, namespace }));
    const pipes = join(daemon.state, "..", "pipes");
    await mkdir(pipes, { recursive: true });
    const { pid, root, state } = daemon;
    const place = { pid, root, state, namespace, pipes };
    const staying = Promise.withResolvers<RunningProcess>();
    const ended = run(client, {
      ...imageOf(MAIN, ["sleep", "100000"]),
      remove: true,
      onStarted: (running) => staying.resolve(running),
    });
    ended.catch((error: unknown) => staying.reject(error));
    const main = await staying.promise;
    stack.defer(async () => {
      await main.task.kill({ signalNumber: 9 });
      await ended;
    });
    return new TaskCycles(client, place, seededRandom(seed), stack.move());
  }

  /** This warms everything up, runs so many cycles, and looks. */
  async run(rounds: number, { warmUp = 60, atOnce = 3 } = {}): Promise<TaskCyclesResult> {
    await this.#many(warmUp, atOnce);
    const [before, bytes] = [await this.#settled(), await this.#bytesAtRest()];
    await this.#many(rounds, atOnce);
    const after = await this.#settled();
    return { before, after, grownBytes: (await this.#bytesAtRest()) - bytes };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }

  async #many(rounds: number, atOnce: number): Promise<void> {
    let left = rounds;
    const worker = async (): Promise<void> => {
      while ((left -= 1) >= 0) await this.#cycle(`n${(this.#count += 1)}`);
    };
    await Promise.all(Array.from({ length: atOnce }, worker));
  }

  async #cycle(id: string): Promise<void> {
    const kind = this.#random.below(12);
    if (kind < 3) await this.#expectRun(id, ["true"], 0);
    else if (kind === 3) await this.#expectRun(id, ["sh", "-c", "exit 3"], 3);
    else if (kind === 4) await this.#expectRun(id, ["echo", id], 0, await this.#pipes());
    else if (kind === 5) await this.#expectFailure(run(this.#client, { ...imageOf(id, ["/no/such"]), remove: true }));
    else if (kind === 6) await this.#killed(id, this.#random.below(2) === 0);
    else if (kind === 7) await this.#givenUp(id);
    else if (kind < 10) await this.#exec(id, ["true"], 0);
    else if (kind === 10) await this.#exec(id, ["sh", "-c", `echo ${id}; exit 5`], 5, await this.#pipes());
    else await this.#expectFailure(this.#exec(id, ["/no/such"], 0));
  }

  #pipes(): Promise<AttachedIo> {
    return makePipedIo({ directory: this.#place.pipes });
  }

  async #expectRun(id: string, args: readonly string[], expected: number, io: AttachedIo = nullIo): Promise<void> {
    const status = await run(this.#client, { ...imageOf(id, args), remove: true, io: async () => io });
    if (status !== expected) throw internal(`${args.join(" ")} ended with ${status}`);
  }

  async #expectFailure(work: Promise<unknown>): Promise<void> {
    const failed = await work.then(
      () => false,
      () => true,
    );
    if (!failed) throw internal("what must fail did not");
  }

  async #killed(id: string, isPaused: boolean): Promise<void> {
    const status = await run(this.#client, {
      ...imageOf(id, ["sleep", "1000"]),
      remove: true,
      onStarted: ({ task }) => {
        void (async () => {
          if (isPaused) {
            await task.pause();
            await task.resume();
          }
          await task.kill({ signalNumber: 9 });
        })();
      },
    });
    if (status !== KILLED) throw internal(`a killed process ended with ${status}`);
  }

  /** Its client goes away somewhere between the first call and the end, and another one removes what there is. */
  async #givenUp(id: string): Promise<void> {
    const container = await createContainer(this.#client, imageOf(id, ["sleep", "0.05"]));
    const leaving = AbortSignal.timeout(1 + this.#random.below(LONGEST_START_MS));
    await startTask(this.#client, container, { io: nullIo, signal: leaving }).catch(() => {});
    const task = this.#client.tasks.task(id);
    const signal = AbortSignal.timeout(30_000);
    await ignoringMissing(task.kill({ signalNumber: 9, all: true, signal }));
    await ignoringMissing(task.wait({ signal }));
    await ignoringMissing(task.delete({ signal }));
    await removeContainer(this.#client, id);
  }

  async #exec(execId: string, args: readonly string[], expected: number, io: AttachedIo = nullIo): Promise<void> {
    const process = { args: [...args], env: ["PATH=/bin"], cwd: "/", user: { uid: 0, gid: 0 } };
    const running = await startExec(this.#client, MAIN, { execId, process, io });
    const status = await running.finish();
    if (status !== expected) throw internal(`exec of ${args.join(" ")} ended with ${status}`);
  }

  /** Memory is given back twelve seconds after the last work, as long as nothing else keeps the machine busy. */
  async #bytesAtRest(): Promise<number> {
    let least = Infinity;
    for (let tries = 0; tries < REST_TRIES; tries++) {
      await sleep(500);
      least = Math.min(least, residentBytes(this.#place));
    }
    return least;
  }

  /** Exits that are being told and streams that were closed take their time: what is held when that no longer changes. */
  async #settled(): Promise<Holdings> {
    // snapshots that were removed lose their directories when the collector comes by
    await this.#client.leases.create({ id: "collect", labels: noLabels });
    await this.#client.leases.delete("collect", { sync: true });
    let last = holdingsOf(this.#place);
    for (let same = 0, tries = 0; same < 4 && tries < 80; tries += 1) {
      await sleep(250);
      const now = holdingsOf(this.#place);
      same = JSON.stringify(now) === JSON.stringify(last) ? same + 1 : 0;
      last = now;
    }
    return last;
  }
}

function imageOf(id: string, args: readonly string[]) {
  return {
    id,
    image: BUSYBOX_IMAGE,
    snapshotter: "overlayfs",
    runtime: { name: "io.containerd.runc.v2" },
    spec: () => [withProcessArgs(...args)],
  };
}

async function ignoringMissing(call: Promise<unknown>): Promise<void> {
  try {
    await call;
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

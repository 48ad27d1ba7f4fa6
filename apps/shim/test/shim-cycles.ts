import { closeSync, constants, openSync, readSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import type { Client } from "@connectrpc/connect";
import type { Task } from "@berth/api/containerd/task/v2/task";
import { internal, systemErrorCode } from "@berth/errors";
import { mkfifo } from "@berth/linux/files";
import { type SeededRandom, seededRandom } from "@berth/testing";

import { residentBytes, runtimesOf, type ShimState, shimState } from "./shim-state.ts";
import { ShimFixture } from "./shim-fixture.ts";

const MAIN = "main";
const SIGKILL = 9;
const LONGEST_CREATE_MS = 60;

/** What a shim held before and after, and how much its memory grew. */
export interface CyclesResult {
  readonly before: ShimState;
  readonly after: ShimState;
  readonly grownBytes: number;
}

/**
 * Execs and short containers against one shim, drawn at random, a third of them failing in one way or another, beside one
 * container that stays. What a shim holds afterwards is what it held before.
 */
export class ShimCycles implements AsyncDisposable {
  readonly #fixture: ShimFixture;
  readonly #client: Client<typeof Task>;
  readonly #pid: number;
  readonly #log: number;
  readonly #random: SeededRandom;
  #count = 0;

  private constructor(
    fixture: ShimFixture,
    client: Client<typeof Task>,
    at: { pid: number; log: number; seed: number },
  ) {
    this.#fixture = fixture;
    this.#client = client;
    this.#pid = at.pid;
    this.#log = at.log;
    this.#random = seededRandom(at.seed);
  }

  static async open(seed: number): Promise<ShimCycles> {
    const fixture = await ShimFixture.open();
    const bundle = fixture.bundle(MAIN, ["sleep", "100000"]);
    mkfifo(join(bundle, "log"), 0o600);
    const log = openSync(join(bundle, "log"), constants.O_RDONLY | constants.O_NONBLOCK);
    const client = fixture.client(await fixture.start(MAIN));
    await fixture.launch(client, MAIN);
    const { shimPid: pid } = await client.connect({ id: MAIN });
    return new ShimCycles(fixture, client, { pid, log, seed });
  }

  /** This warms the shim up, runs so many cycles, and looks. */
  async run(rounds: number, { warmUp = 40, atOnce = 3 } = {}): Promise<CyclesResult> {
    await this.#many(warmUp, atOnce);
    const [before, bytes] = [await this.#settled(), residentBytes(this.#pid)];
    await this.#many(rounds, atOnce);
    const after = await this.#settled();
    return { before, after, grownBytes: residentBytes(this.#pid) - bytes };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.kill({ id: MAIN, signal: SIGKILL });
    await this.#client.wait({ id: MAIN });
    await this.#client.delete({ id: MAIN });
    process.kill(this.#pid, "SIGTERM");
    closeSync(this.#log);
    await this.#fixture[Symbol.asyncDispose]();
  }

  async #many(rounds: number, atOnce: number): Promise<void> {
    let left = rounds;
    const worker = async (): Promise<void> => {
      while ((left -= 1) >= 0) await this.#cycle();
    };
    await Promise.all(Array.from({ length: atOnce }, worker));
  }

  async #cycle(): Promise<void> {
    const id = `n${(this.#count += 1)}`;
    const kind = this.#random.below(13);
    if (kind < 4) await this.#exec(id, ["true"]);
    else if (kind === 4) await this.#exec(id, ["echo", id], { read: true });
    else if (kind === 5) await this.#exec(id, ["echo", id], { read: false });
    else if (kind === 6) await this.#exec(id, ["echo", id], { read: true, terminal: true });
    else if (kind === 7) await this.#exec(id, ["/no/such"], { fails: true, terminal: this.#random.below(2) === 0 });
    else if (kind === 8) await this.#exec(id, ["sleep", "1000"], { killed: true });
    else if (kind === 9) await this.#execNeverStarted(id);
    else if (kind === 10) await this.#container(id, this.#random.pick([["true"], ["sleep", "1000"]]));
    else if (kind === 11) await this.#containerThatFails(id);
    else await this.#containerCutShort(id);
  }

  async #exec(execId: string, args: readonly string[], how: ExecShape = {}): Promise<void> {
    const stdout = how.read === undefined ? "" : join(this.#fixture.directory, `${execId}.out`);
    if (stdout) mkfifo(stdout, 0o600);
    const reader = how.read ? openSync(stdout, constants.O_RDONLY | constants.O_NONBLOCK) : undefined;
    const terminal = how.terminal ?? false;
    await this.#client.exec({ id: MAIN, execId, stdout, terminal, spec: processSpec(args, terminal) });
    const pid = await this.#client.start({ id: MAIN, execId }).catch(() => undefined);
    if ((pid === undefined) !== (how.fails ?? false)) throw internal(`exec ${execId} of ${args.join(" ")}`);
    if (how.killed) await this.#client.kill({ id: MAIN, execId, signal: SIGKILL });
    await this.#client.wait({ id: MAIN, execId });
    await this.#client.delete({ id: MAIN, execId });
    if (reader !== undefined) {
      const text = readAll(reader).trim();
      closeSync(reader);
      if (text !== execId) throw internal(`exec ${execId} printed ${JSON.stringify(text)}`);
    }
    if (stdout) rmSync(stdout);
  }

  async #execNeverStarted(execId: string): Promise<void> {
    await this.#client.exec({ id: MAIN, execId, spec: processSpec(["true"], false) });
    const waiting = this.#client.wait({ id: MAIN, execId }).catch(() => {});
    await this.#client.exec({ id: MAIN, execId, spec: processSpec(["true"], false) }).catch(() => {});
    await this.#client.delete({ id: MAIN, execId });
    await waiting;
  }

  /** One that is killed with an exec beside it, unless it ends by itself; now and then one that never starts. */
  async #container(id: string, args: readonly string[]): Promise<void> {
    const bundle = this.#fixture.bundle(id, args);
    await this.#client.create({ id, bundle });
    const starts = this.#random.below(4) > 0;
    if (starts) await this.#client.start({ id });
    if (starts && args.length > 1) {
      await this.#client.exec({ id, execId: "beside", spec: processSpec(args, false) });
      await this.#client.start({ id, execId: "beside" });
      await this.#client.stats({ id });
      await this.#client.kill({ id, signal: SIGKILL });
    }
    if (starts) await this.#client.wait({ id });
    await this.#client.delete({ id });
    rmSync(bundle, { recursive: true });
  }

  async #containerThatFails(id: string): Promise<void> {
    const bundle = this.#fixture.bundle(id, ["/no/such"]);
    const failed = await this.#client.create({ id, bundle }).then(
      () => false,
      () => true,
    );
    if (!failed) throw internal(`container ${id} was made`);
    rmSync(bundle, { recursive: true });
  }

  /** The runtime is killed somewhere in the middle of it, or has just ended. */
  async #containerCutShort(id: string): Promise<void> {
    const bundle = this.#fixture.bundle(id, ["true"]);
    const making = this.#client.create({ id, bundle }).then(
      () => true,
      () => false,
    );
    await sleep(this.#random.below(LONGEST_CREATE_MS));
    for (const pid of runtimesOf(bundle)) killUnlessGone(pid);
    if (await making) await this.#client.delete({ id });
    rmSync(bundle, { recursive: true });
  }

  /** Streams that were closed and exits that are being told take their time: what it holds when that no longer changes. */
  async #settled(): Promise<ShimState> {
    let last = await this.#state();
    for (let same = 0, tries = 0; same < 3 && tries < 50; tries += 1) {
      await sleep(150);
      const now = await this.#state();
      same = JSON.stringify(now) === JSON.stringify(last) ? same + 1 : 0;
      last = now;
    }
    return last;
  }

  /** What can be seen from outside, and what the shim itself says it waits for: its timers among it. */
  async #state(): Promise<ShimState> {
    readAll(this.#log);
    process.kill(this.#pid, "SIGUSR1");
    let dump = "";
    for (let tries = 0; tries < 100 && !dump.includes(" memory="); tries += 1) {
      await sleep(20);
      dump += readAll(this.#log);
    }
    const [, waiting = "unknown"] = / waiting="((?:[^"\\]|\\.)*)"/.exec(dump) ?? [];
    return { ...shimState({ pid: this.#pid, directory: this.#fixture.directory }), waiting: [waiting] };
  }
}

/** One that was found may have ended since, with its parent. */
function killUnlessGone(pid: number): void {
  try {
    process.kill(pid, SIGKILL);
  } catch (error) {
    if (systemErrorCode(error) !== "ESRCH") throw error;
  }
}

interface ExecShape {
  /** There is a FIFO, and it is read or not. */
  readonly read?: boolean;
  readonly terminal?: boolean;
  readonly fails?: boolean;
  readonly killed?: boolean;
}

function processSpec(args: readonly string[], terminal: boolean) {
  const spec = { args, terminal, env: ["PATH=/bin"], cwd: "/", user: { uid: 0, gid: 0 } };
  return { typeUrl: "process", value: new TextEncoder().encode(JSON.stringify(spec)) };
}

function readAll(descriptor: number): string {
  const buffer = Buffer.alloc(1024 * 1024);
  let text = "";
  try {
    for (let count = readSync(descriptor, buffer); count > 0; count = readSync(descriptor, buffer))
      text += buffer.toString("utf8", 0, count);
  } catch {
    // nothing there yet
  }
  return text;
}

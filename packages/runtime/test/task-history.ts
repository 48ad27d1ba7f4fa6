import { readFile } from "node:fs/promises";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { codeName, codeOf } from "@berth/errors";
import type { SeededRandom } from "@berth/testing";

import { ShimTask } from "../src/shim-task.ts";
import { cgroupsNamed, eventually, type Harness, processSpec, servingShimsOf } from "./harness.ts";

/** What is known of the one container of a history. */
type State = "none" | "created" | "running" | "paused" | "stopped";

/** Exits are told within 25 s at the latest; a shim tries for 15 s by itself. */
const EVENTS_MS = 40_000;
const KILLED = 137;

const OPERATIONS = [
  "create",
  "start",
  "exec",
  "pause",
  "resume",
  "kill",
  "killOutside",
  "delete",
  "restart",
  "killShim",
  "restartWithDeadShim",
  "restartWithDeadContainer",
] as const;

/** Of six creations one is cut short. */
const CREATIONS = ["create", "create", "create", "create", "create", "createAndKillShim"] as const;
/** A shim that has to be started first takes longer; then it is killed as soon as it is there. */
const LONGEST_CREATE_MS = 120;

/**
 * A random life of tasks of one id: calls, kills of container and shim, and restarts of the daemon. A model says what each must give;
 * what is not as it says throws.
 */
export class TaskHistory {
  readonly #harness: Harness;
  readonly #random: SeededRandom;
  readonly #id: string;
  readonly #isOwn: boolean;
  readonly done: string[] = [];
  #state: State = "none";
  #pid = 0;
  #execs = 0;
  #waiting: Promise<number> | undefined;
  /** Ends of init that must have been told, and those of which nobody could know. */
  #ends = 0;
  #untold = 0;

  constructor(harness: Harness, random: SeededRandom, { id, isOwn }: { readonly id: string; readonly isOwn: boolean }) {
    this.#harness = harness;
    this.#random = random;
    this.#id = id;
    this.#isOwn = isOwn;
  }

  async run(steps: number): Promise<void> {
    for (let step = 0; step < steps; step++) {
      // A history that mostly meets no task is a dull one.
      const operation = this.#state === "none" ? this.#random.pick(CREATIONS) : this.#random.pick(OPERATIONS);
      this.done.push(operation);
      await this[operation]();
      await this.#check();
    }
    await this.#end();
  }

  async create(): Promise<void> {
    const { runtime, namespace } = this.#harness;
    const making = runtime.create(namespace, this.#id, this.#harness.options(["sleep", "1000"]));
    if (this.#state !== "none") return await expectCode(making, "already_exists");
    this.#created((await (await making).state()).pid);
  }

  async createAndKillShim(): Promise<void> {
    // Debian's leaves a frozen process in the cgroup now and then.
    if (!this.#isOwn) return await this.create();
    const { runtime, namespace, directory } = this.#harness;
    const options = this.#harness.options(["sleep", "1000"]);
    let made: boolean | undefined;
    const making = runtime.create(namespace, this.#id, options).then(
      () => (made = true),
      () => (made = false),
    );
    await sleep(this.#random.below(LONGEST_CREATE_MS));
    let shims = servingShimsOf(directory);
    for (; made === undefined && shims.length === 0; shims = servingShimsOf(directory)) await sleep(5);
    for (const pid of shims) process.kill(pid, "SIGKILL");
    if (shims.length === 0) throw new Error("a creation failed whose shim was not killed");
    if (!(await making)) this.#untold++;
    else if (await this.#hasOther(shims)) return this.#created((await this.#task.state()).pid);
    else this.#ends++;
    await eventually(() => runtime.list(namespace).length === 0, EVENTS_MS);
    const { cgroupsPath } = JSON.parse(new TextDecoder().decode(options.spec.value)).linux;
    await eventually(() => cgroupsNamed(cgroupsPath).length === 0, EVENTS_MS);
  }

  async start(): Promise<void> {
    if (this.#state !== "created") return;
    same(await this.#task.start(), this.#pid, "pid of start");
    this.#state = "running";
  }

  async exec(): Promise<void> {
    const execId = `e${this.#execs++}`;
    const io = { stdin: "", stdout: "", stderr: "", terminal: false };
    const adding = this.#task.exec(execId, { spec: processSpec(["sh", "-c", "exit 5"]), io });
    if (this.#state === "stopped") return void (await adding.then(unexpected, () => undefined));
    if (this.#state !== "running") return void (await adding.catch(() => undefined));
    await adding;
    const ended = this.#task.wait({ execId });
    await this.#task.start({ execId });
    same((await ended).exitStatus, 5, "exit of an exec");
    same((await this.#task.deleteProcess(execId)).exitStatus, 5, "exit of a deleted exec");
  }

  async pause(): Promise<void> {
    if (this.#state !== "running") return;
    await this.#task.pause();
    this.#state = "paused";
  }

  async resume(): Promise<void> {
    if (this.#state !== "paused") return;
    await this.#task.resume();
    this.#state = "running";
  }

  async kill(): Promise<void> {
    if (this.#state === "stopped") return await expectCode(this.#task.kill({ signalNumber: 9 }), "not_found");
    // Frozen processes take no signal.
    await this.resume();
    await this.#task.kill({ signalNumber: 9 });
    await this.#stopped();
  }

  async killOutside(): Promise<void> {
    if (this.#state === "stopped") return;
    await this.resume();
    process.kill(this.#pid, "SIGKILL");
    await this.#stopped();
  }

  async delete(): Promise<void> {
    const { runtime, namespace } = this.#harness;
    const deleting = runtime.delete(namespace, this.#id);
    if (this.#state === "running") return void (await deleting.then(unexpected, () => undefined));
    if (this.#state !== "stopped") return void (await deleting.catch(() => undefined), await this.#look());
    same((await deleting).exitStatus, KILLED, "exit of a deleted task");
    await expectCode(runtime.delete(namespace, this.#id), "not_found");
    this.#state = "none";
  }

  async restart(): Promise<void> {
    this.#forget();
    await this.#harness.restart();
    this.#wait();
  }

  async killShim(): Promise<void> {
    const wasStopped = this.#state === "stopped";
    const waiting = this.#waiting;
    const shim = await this.#findShim();
    if (shim === undefined) return;
    process.kill(shim, "SIGKILL");
    if (waiting !== undefined) same(await waiting, KILLED, "exit of a task whose shim was killed");
    await eventually(() => this.#harness.runtime.list(this.#harness.namespace).length === 0);
    if (!wasStopped) this.#ends++;
    this.#state = "none";
  }

  async restartWithDeadShim(): Promise<void> {
    this.#forget();
    const shim = await this.#findShim();
    await this.#harness.stop();
    if (shim !== undefined) process.kill(shim, "SIGKILL");
    await this.#harness.restart();
    // Only berth's shim leaves a record of what it has seen.
    if (this.#isOwn && this.#state === "stopped") return this.#wait();
    if (this.#state !== "stopped") this.#untold++;
    else if (this.#told() < this.#ends) {
      this.#ends--;
      this.#untold++;
    }
    this.#state = "none";
  }

  async restartWithDeadContainer(): Promise<void> {
    if (this.#state === "stopped") return;
    await this.resume();
    this.#forget();
    await this.#harness.stop();
    process.kill(this.#pid, "SIGKILL");
    await this.#harness.restart();
    this.#wait();
    await this.#stopped();
  }

  get #task() {
    return this.#harness.runtime.get(this.#harness.namespace, this.#id);
  }

  #wait(): void {
    if (this.#state === "none") return;
    this.#waiting = this.#task.wait().then(({ exitStatus }) => exitStatus);
    // Of a daemon that stops.
    this.#waiting.catch(() => {});
  }

  #forget(): void {
    this.#waiting = undefined;
  }

  async #stopped(): Promise<void> {
    same(await this.#waiting, KILLED, "exit of a killed task");
    same((await this.#task.wait()).exitStatus, KILLED, "exit, asked again");
    this.#state = "stopped";
    this.#ends++;
  }

  /** A created task may be deleted or not, as its shim likes. */
  async #look(): Promise<void> {
    if (this.#harness.runtime.list(this.#harness.namespace).length > 0) return;
    this.#state = "none";
    this.#untold++;
  }

  async #check(): Promise<void> {
    const { runtime, namespace, stateDir } = this.#harness;
    const listed = runtime.list(namespace).map(({ id }) => id);
    same(listed.join(), this.#state === "none" ? "" : this.#id, "list");
    if (this.#state === "none") {
      await eventually(() => readdirSync(join(stateDir, namespace)).length === 0);
      await expectCode((async () => runtime.get(namespace, this.#id).state())(), "not_found");
      const status = await readFile(`/proc/${this.#pid}/status`, "utf8").catch(() => "State:\tZ");
      // Its new parent may take its time to reap it.
      if (this.#pid !== 0 && !/^State:\t[ZX]/m.test(status)) throw new Error(`process ${this.#pid} lives on`);
      return;
    }
    const state = await this.#task.state();
    same(state.status, this.#state, "status");
    same(state.pid, this.#pid, "pid");
    if (this.#state === "stopped") same(state.exitStatus, KILLED, "exit of the state");
  }

  /** Every end was told once. */
  async #end(): Promise<void> {
    if (this.#state !== "none" && this.#state !== "stopped") await this.kill();
    if (this.#state === "stopped") await this.delete();
    await eventually(() => this.#told() >= this.#ends, EVENTS_MS);
    const told = this.#told();
    if (told > this.#ends + this.#untold) throw new Error(`${told} exits were told, ${this.#ends} were there`);
  }

  #told(): number {
    return this.#harness.events.exits().filter(({ id }) => id === this.#id).length;
  }

  #created(pid: number): void {
    this.#pid = pid;
    this.#state = "created";
    this.#wait();
  }

  /** An earlier shim that had nothing left to do, and was about to end, may have been killed in place of the task's own. */
  async #hasOther(killed: readonly number[]): Promise<boolean> {
    const shim = await this.#findShim().catch(() => undefined);
    return shim !== undefined && !killed.includes(shim);
  }

  /** The shim of the task; none is left where only the exit of a container is known. */
  async #findShim(): Promise<number | undefined> {
    const task = this.#task;
    if (!(task instanceof ShimTask)) return undefined;
    const limits = { timeoutMs: 5000 };
    return (await task.connection.call((tasks, options) => tasks.connect({ id: this.#id }, options), limits)).shimPid;
  }
}

function same(actual: unknown, expected: unknown, what: string): void {
  if (actual !== expected) throw new Error(`${what}: expected ${String(expected)}, got ${String(actual)}`);
}

function unexpected(): never {
  throw new Error("a call that must fail did not");
}

async function expectCode(work: Promise<unknown>, code: string): Promise<void> {
  const got = await work.then(
    () => "ok",
    (error: unknown) => codeName(codeOf(error)),
  );
  same(got, code, "code");
}

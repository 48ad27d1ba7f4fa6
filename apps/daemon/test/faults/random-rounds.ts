import { messageOf } from "@berth/errors";
import type { SeededRandom } from "@berth/testing";
import { seededRandom } from "@berth/testing";

import { errorRound, fullRound } from "./disturbed-rounds.ts";
import type { FaultFileSystem } from "./fault-disk.ts";
import { faultDisk } from "./fault-disk.ts";
import { FaultRig } from "./fault-rig.ts";
import type { KillPoint, RoundOutcome } from "./kill-round.ts";
import { countOperation, countStart, killRound, startRound } from "./kill-round.ts";
import { OPERATIONS } from "./operations.ts";
import type { PowerCut } from "./power-round.ts";
import { powerRound } from "./power-round.ts";

/** Kinds of faults that are drawn. */
export const FAULT_KINDS = ["kill", "start", "power", "error", "full"] as const;
/** One of them. */
export type FaultKind = (typeof FAULT_KINDS)[number];

/** What one round did, and what came of it. */
export interface RandomRound extends RoundOutcome {
  readonly description: string;
}

const FILE_SYSTEMS: readonly FaultFileSystem[] = ["ext4", "xfs"];
const SNAPSHOTTERS = ["overlayfs", "overlayfs", "native", "blockfile", "erofs"];
const LONGEST_DELAY_MS = 6000;
const LONGEST_OPERATION_MS = 300;

/** The most that an operation takes is a little more. */
const MOST_FREE_BYTES = 2_000_000;

const NEVER_FAIL: ReadonlySet<string> = new Set(["write", "writev", "rmdir"]);

/**
 * Calls that may be made to fail: `write` is what threads wake each other with, which never fails, `writev` what answers go out by; an empty directory that
 * cannot be removed stays until the next start; and a snapshot that is committed by hand is not trusted any more when a sync has failed.
 */
function isOurs(operation: string, call: string): boolean {
  return !NEVER_FAIL.has(call) && !(operation === "commit" && call === "syncfs");
}

interface WantedRig {
  readonly snapshotter: string;
  /** The root has a disk of its own. */
  readonly type?: FaultFileSystem;
}

function rigFor(snapshotter: string): WantedRig {
  return snapshotter === "btrfs" ? { snapshotter, type: "btrfs" } : { snapshotter };
}

/** Draws faults from seeds. Daemons and disks are kept from round to round; after a failure they are made anew. */
export class RandomRounds implements AsyncDisposable {
  readonly #rigs = new Map<string, { readonly rig: FaultRig; readonly owned: AsyncDisposableStack }>();
  readonly #counts = new Map<string, ReadonlyMap<string, number>>();

  /** This does one round: the same seed draws the same fault, though not the same timing. */
  async run(seed: number, kinds: readonly FaultKind[]): Promise<RandomRound> {
    const random = seededRandom(seed);
    // The first numbers of neighbouring seeds should not look alike.
    random.below(2);
    switch (random.pick(kinds)) {
      case "kill":
        return this.#atCall(random, "kill", killRound);
      case "start":
        return this.#start(random);
      case "error": {
        const error = random.pick(["EIO", "ENOSPC"] as const);
        return this.#atCall(random, error, (rig, point) => errorRound(rig, { ...point, error }));
      }
      case "power":
        return this.#power(random);
      case "full":
        return this.#full(random);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of this.#rigs.keys()) await this.#drop(name);
  }

  async #atCall(
    random: SeededRandom,
    fault: string,
    round: (rig: FaultRig, point: KillPoint) => Promise<RoundOutcome>,
  ): Promise<RandomRound> {
    const wanted = rigFor(random.pick([...SNAPSHOTTERS, "btrfs"]));
    const operation = random.pick(OPERATIONS);
    const name = `call ${wanted.snapshotter}`;
    let point: KillPoint | undefined;
    const outcome = await this.#guard(name, wanted, async (rig) => {
      const counts = await this.#countsOf(rig, operation);
      const calls = [...counts.keys()].filter((call) => fault === "kill" || isOurs(operation.name, call));
      const call = random.pick(calls.toSorted());
      point = { operation, call, count: 1 + random.below(counts.get(call) ?? 1) };
      return round(rig, point);
    });
    return {
      ...outcome,
      description: `${fault} ${wanted.snapshotter}: ${operation.name}, ${point?.call} ${point?.count}`,
    };
  }

  /** Killed while it starts, after it was killed while it worked. */
  async #start(random: SeededRandom): Promise<RandomRound> {
    const wanted = rigFor(random.pick([...SNAPSHOTTERS, "btrfs"]));
    const operation = random.pick(OPERATIONS);
    const delayMs = random.below(LONGEST_OPERATION_MS);
    let point: KillPoint | undefined;
    const outcome = await this.#guard(`call ${wanted.snapshotter}`, wanted, async (rig) => {
      const counts = await this.#counted(`start ${rig.snapshotter}`, () => countStart(rig));
      const call = random.pick([...counts.keys()].toSorted());
      point = { operation, call, count: 1 + random.below(counts.get(call) ?? 1) };
      return startRound(rig, { ...point, delayMs });
    });
    const at = `${point?.call} ${point?.count}`;
    return {
      ...outcome,
      description: `start ${wanted.snapshotter}: ${at}, ${delayMs} ms after ${operation.name} began`,
    };
  }

  async #full(random: SeededRandom): Promise<RandomRound> {
    const type = random.pick(FILE_SYSTEMS);
    const operation = random.pick(OPERATIONS);
    const freeBytes = random.below(MOST_FREE_BYTES);
    const name = `full ${type}`;
    const outcome = await this.#guard(name, { snapshotter: "overlayfs", type }, (rig) =>
      fullRound(rig, { operation, freeBytes }),
    );
    return { ...outcome, description: `${name}: ${operation.name}, ${freeBytes} bytes free` };
  }

  async #power(random: SeededRandom): Promise<RandomRound> {
    const type = random.pick(FILE_SYSTEMS);
    const snapshotter = random.pick(SNAPSHOTTERS);
    const from = random.pick(["acknowledged", "begun"] as const);
    const cut: PowerCut = {
      operation: random.pick(OPERATIONS),
      from,
      delayMs: random.below(from === "acknowledged" ? LONGEST_DELAY_MS : LONGEST_OPERATION_MS),
      mode: random.pick(["nothing", "nothing", "journal", "all"] as const),
    };
    const name = `power cut ${type} ${snapshotter}`;
    const outcome = await this.#guard(name, { snapshotter, type }, (rig) => powerRound(rig, cut));
    const when = `${cut.delayMs} ms after it was ${from}, ${cut.mode} written`;
    return { ...outcome, description: `${name}: ${cut.operation.name}, ${when}` };
  }

  #countsOf(rig: FaultRig, operation: KillPoint["operation"]): Promise<ReadonlyMap<string, number>> {
    return this.#counted(`${rig.snapshotter} ${operation.name}`, () => countOperation(rig, operation));
  }

  async #counted(key: string, count: () => Promise<ReadonlyMap<string, number>>): Promise<ReadonlyMap<string, number>> {
    const counts = this.#counts.get(key) ?? (await count());
    this.#counts.set(key, counts);
    return counts;
  }

  /** A round that cannot be done to its end has failed too. */
  async #guard(
    name: string,
    wanted: WantedRig,
    round: (rig: FaultRig) => Promise<RoundOutcome>,
  ): Promise<RoundOutcome> {
    try {
      const outcome = await round(await this.#rig(name, wanted));
      if (outcome.problems.length > 0) await this.#drop(name);
      return outcome;
    } catch (error) {
      const log = await this.#rigs.get(name)?.rig.daemon.log();
      await this.#drop(name);
      return { problems: [messageOf(error), ...(log ?? "").split("\n").slice(-20)], missed: false };
    }
  }

  async #rig(name: string, { snapshotter, type }: WantedRig): Promise<FaultRig> {
    const known = this.#rigs.get(name);
    if (known !== undefined) return known.rig;
    await using made = new AsyncDisposableStack();
    const disk = type === undefined ? undefined : made.use(await faultDisk({ type }));
    const rig = made.use(await FaultRig.start({ snapshotter, ...(disk === undefined ? {} : { disk }) }));
    this.#rigs.set(name, { rig, owned: made.move() });
    return rig;
  }

  async #drop(name: string): Promise<void> {
    const dropped = this.#rigs.get(name);
    this.#rigs.delete(name);
    await dropped?.owned.disposeAsync();
  }
}

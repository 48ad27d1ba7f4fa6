import { setTimeout as sleep } from "node:timers/promises";

import { BUSYBOX_IMAGE } from "@berth/testing";

import type { MeasuredDaemon } from "../daemons.ts";
import { shimsOf, startBoth } from "../daemons.ts";
import type { Figure, FigureContext, Row, Side, Target } from "../figure.ts";
import { alternate } from "../figure.ts";
import type { GroupMemory } from "../processes.ts";
import { memoryOf } from "../processes.ts";

const MANY = 50;
const MOST = 200;
const COUNTS = [0, 1, MANY, MOST];
const AT_ONCE = 4;

/** At rest: berth's worker threads end 10 s after their last work, and both sides then give back what nothing uses. */
const SETTLE_MS = 20_000;

/** Memory with so many containers, by their number. */
type Stages = ReadonlyMap<number, GroupMemory>;

/** Memory of the daemon and its shims, idle and with containers that sleep; the containers' own processes are not counted. */
export const memory: Figure = {
  name: "memory",
  rounds: 1,
  async measure(context) {
    await using daemons = await startBoth();
    const samples = await alternate(context, (side, round) => measureStages(daemons[side], `round-${round}`, context));
    const rowOf = (label: string, value: (at: (count: number) => GroupMemory) => number, target?: Target): Row => {
      const of = (side: Side): number[] => samples[side].map((stages) => value((count) => at(stages, count)));
      return { label, unit: "MiB", berth: of("berth"), other: of("containerd"), ...(target && { target }) };
    };
    const rowsOf = (label: string, count: number, ratio?: number): Row[] => [
      rowOf(
        `${label}, PSS`,
        (stage) => stage(count).pss,
        ratio === undefined ? undefined : { ratio, bound: "at most" },
      ),
      rowOf("  were they alone", (stage) => stage(count).alone),
    ];
    return [
      rowOf("idle daemon, RSS", (stage) => stage(0).rss),
      ...rowsOf("idle daemon", 0),
      ...rowsOf("with shims, 1 container", 1),
      ...rowsOf(`with shims, ${MANY} containers`, MANY, 0.6),
      ...rowsOf(`with shims, ${MOST} containers`, MOST, 0.3),
      rowOf("1st container, alone", (stage) => stage(1).alone - stage(0).alone),
      rowOf("each further container, alone", (stage) => (stage(MOST).alone - stage(1).alone) / (MOST - 1)),
    ];
  },
};

function at(stages: Stages, count: number): GroupMemory {
  const found = stages.get(count);
  if (found === undefined) throw new Error(`not measured with ${count} containers`);
  return found;
}

async function measureStages(daemon: MeasuredDaemon, prefix: string, context: FigureContext): Promise<Stages> {
  const ids = Array.from({ length: MOST }, (_, index) => `${prefix}-${index}`);
  const stages = new Map<number, GroupMemory>();
  let started = 0;
  for (const count of COUNTS) {
    await eachOf(ids.slice(started, count), context, (id) =>
      daemon.ctr(["run", "-d", BUSYBOX_IMAGE, id, "sleep", "100000"]),
    );
    started = count;
    await sleep(SETTLE_MS);
    const measured = await memoryOf([daemon.daemon.pid, ...(await shimsOf(daemon))]);
    context.progress(`${measured.processes} processes with ${count} containers`);
    stages.set(count, measured);
  }
  await eachOf(ids, context, async (id) => {
    await daemon.ctr(["task", "rm", "-f", id]);
    await daemon.ctr(["container", "rm", id]);
  });
  return stages;
}

/** This does something for each id, a few at a time. */
async function eachOf(
  ids: readonly string[],
  { signal }: FigureContext,
  act: (id: string) => Promise<unknown>,
): Promise<void> {
  const rest = ids.values();
  const lane = async (): Promise<void> => {
    for (const id of rest) {
      signal.throwIfAborted();
      await act(id);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
}

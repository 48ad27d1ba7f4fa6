import { setTimeout as sleep } from "node:timers/promises";

import { BUSYBOX_IMAGE } from "@berth/testing";

import type { MeasuredDaemon } from "../daemons.ts";
import { shimsOf, startBoth } from "../daemons.ts";
import type { Figure, FigureContext, Row, Side } from "../figure.ts";
import { alternate } from "../figure.ts";
import type { GroupMemory } from "../processes.ts";
import { memoryOf } from "../processes.ts";

const CONTAINERS = 50;
const SETTLE_MS = 3000;

interface Stages {
  readonly idle: GroupMemory;
  readonly one: GroupMemory;
  readonly many: GroupMemory;
}

/** Memory of the daemon and its shims, idle and with containers that sleep; the containers' own processes are not counted. */
export const memory: Figure = {
  name: "memory",
  rounds: 1,
  async measure(context) {
    await using daemons = await startBoth();
    const samples = await alternate(context, (side, round) => measureStages(daemons[side], `round-${round}`, context));
    const rowOf = (label: string, value: (stages: Stages) => number): Row => {
      const of = (side: Side): number[] => samples[side].map(value);
      return { label, unit: "MiB", berth: of("berth"), other: of("containerd") };
    };
    return [
      rowOf("idle daemon, RSS", ({ idle }) => idle.rss),
      rowOf("idle daemon, PSS", ({ idle }) => idle.pss),
      rowOf("idle daemon, were it alone", ({ idle }) => idle.alone),
      rowOf("with shims, 1 container, PSS", ({ one }) => one.pss),
      rowOf("  were they alone", ({ one }) => one.alone),
      rowOf(`with shims, ${CONTAINERS} containers, PSS`, ({ many }) => many.pss),
      rowOf("  were they alone", ({ many }) => many.alone),
      rowOf("1st container, alone", ({ idle, one }) => one.alone - idle.alone),
      rowOf("each further container, alone", ({ one, many }) => (many.alone - one.alone) / (CONTAINERS - 1)),
    ];
  },
};

async function measureStages(
  daemon: MeasuredDaemon,
  prefix: string,
  { signal, progress }: FigureContext,
): Promise<Stages> {
  const ids = Array.from({ length: CONTAINERS }, (_, index) => `${prefix}-${index}`);
  const start = async (id: string): Promise<void> => {
    signal.throwIfAborted();
    await daemon.ctr(["run", "-d", BUSYBOX_IMAGE, id, "sleep", "100000"]);
  };
  const measure = async (): Promise<GroupMemory> => {
    await sleep(SETTLE_MS);
    return await memoryOf([daemon.daemon.pid, ...(await shimsOf(daemon))]);
  };
  const idle = await measure();
  const [first = "", ...others] = ids;
  await start(first);
  const one = await measure();
  for (const id of others) await start(id);
  const many = await measure();
  progress(`${one.processes} processes with 1 container, ${many.processes} with ${CONTAINERS}`);
  for (const id of ids) {
    await daemon.ctr(["task", "rm", "-f", id]);
    await daemon.ctr(["container", "rm", id]);
  }
  return { idle, one, many };
}

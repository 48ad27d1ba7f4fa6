import { Code, codeOf } from "@berth/errors";
import { expect, it } from "vitest";

import { LayerWorkerPool } from "./layer-worker-pool.ts";

const DEAF = new URL(
  'data:text/javascript,import{parentPort}from"node:worker_threads";parentPort.on("message",()=>{})',
);

it("ends a thread whose jobs are all cancelled and do not stop, and says that they were", async () => {
  await using pool = new LayerWorkerPool({ workers: 1, workerUrl: DEAF });
  const stop = new AbortController();
  const place = { root: "/", whiteouts: "naive", userXattr: false, lowers: [], hasAllLayers: true } as const;
  const run = (): Promise<Code | undefined> =>
    pool
      .run(
        {
          kind: "apply",
          place,
          unpacked: new Int32Array(new SharedArrayBuffer(4)),
          compression: "none",
          gunzip: undefined,
          budgets: {},
          source: { kind: "file", path: "/nowhere" },
        },
        { signal: stop.signal, onTurn: (turn) => turn.pause() },
      )
      .then(() => undefined, codeOf);
  const jobs = [run(), run()];
  await new Promise((resolve) => setTimeout(resolve, 200));
  stop.abort();
  expect(await Promise.all(jobs)).toEqual([Code.Canceled, Code.Canceled]);
}, 25_000);

import { silentLogger } from "@berth/core/log";
import { parseNamespace } from "@berth/core/namespaces";
import { codeName, codeOf, deadlineExceeded } from "@berth/errors";
import { expect, it } from "vitest";

import { Bundle } from "./bundle.ts";
import type { ShimOutput } from "./shim-command.ts";
import { type DeleteRun, ShimDeletes, type ShimDeletesOptions } from "./shim-deletes.ts";

const LIMIT_MS = 1000;
const LIMITS = { timeoutMs: LIMIT_MS };
const namespace = parseNamespace("testing");
const bundleOf = (id: string, stateDir = "/state"): Bundle =>
  new Bundle({ stateDir, rootDir: "/root" }, { namespace, id });
const output = (status: number, text = ""): ShimOutput => ({
  status,
  stdout: new TextEncoder().encode(text),
  stderr: new TextEncoder().encode("why"),
});
const idsOf = ({ bundle, moreIds }: DeleteRun): readonly string[] => [bundle.id, ...moreIds];
const textOf = ({ status, stdout }: ShimOutput): string => `${status} ${new TextDecoder().decode(stdout)}`;
const lineOf = (id: string, text: string): Uint8Array => new TextEncoder().encode(`${id} removed ${btoa(text)}\n`);

const open = (run: ShimDeletesOptions["run"], change: Partial<ShimDeletesOptions> = {}): ShimDeletes =>
  new ShimDeletes({ run, takesMany: () => true, log: silentLogger, ...change });

/** Runs that answer for all but the ids that begin with an x. */
function answering(runs: DeleteRun[]): (run: DeleteRun) => Promise<ShimOutput> {
  return async (run) => {
    runs.push(run);
    if (run.moreIds.length === 0) return output(0, run.bundle.id);
    for (const id of [run.bundle.id, ...run.moreIds]) if (!id.startsWith("x")) run.onOutput?.(lineOf(id, id));
    return output(0);
  };
}

it("many of one pool take few runs, and each has its answer", async () => {
  const runs: DeleteRun[] = [];
  const deletes = open(answering(runs));
  const ids = Array.from({ length: 300 }, (__, index) => `c${index}`);
  const answers = await Promise.all(ids.map((id) => deletes.run(bundleOf(id), "/shim", LIMITS)));
  expect(answers.map(textOf)).toEqual(ids.map((id) => `0 ${id}`));
  expect(runs.map(({ moreIds }) => moreIds.length + 1)).toEqual([128, 128, 44]);
});

it("one whose processes are gone is told before it is removed, and others do not wait for it", async () => {
  const order: string[] = [];
  const removal = Promise.withResolvers<void>();
  const run = async (asked: DeleteRun): Promise<ShimOutput> => {
    asked.onOutput?.(new TextEncoder().encode(`a ended ${btoa("9")}\nc ended ${btoa("8")}\n`));
    asked.onOutput?.(lineOf("b", "b"));
    await removal.promise;
    asked.onOutput?.(lineOf("a", "a"));
    return output(0);
  };
  const deletes = open(async (asked) => (asked.moreIds.length === 0 ? output(0, "alone") : await run(asked)));
  const ask = async (id: string): Promise<void> => {
    const onEnded = (told: ShimOutput): void => void order.push(`${id} ended: ${textOf(told)}`);
    order.push(`${id} removed: ${textOf(await deletes.run(bundleOf(id), "/shim", { ...LIMITS, onEnded }))}`);
    if (id === "b") removal.resolve();
  };
  await Promise.all(["a", "b", "c"].map(ask));
  expect(order).toEqual(["a ended: 0 9", "c ended: 0 8", "b removed: 0 b", "a removed: 0 a", "c removed: 0 alone"]);
});

it.each([
  ["another binary", "/other", "/state"],
  ["another directory", "/shim", "/elsewhere"],
])("what has %s goes by itself", async (_, binary, directory) => {
  const runs: DeleteRun[] = [];
  const deletes = open(answering(runs));
  await Promise.all([
    deletes.run(bundleOf("a"), "/shim", LIMITS),
    deletes.run(bundleOf("b", directory), binary, LIMITS),
  ]);
  expect(runs.map(({ moreIds }) => moreIds)).toEqual([[], []]);
});

it("shims of others are called for one at a time", async () => {
  const runs: DeleteRun[] = [];
  const deletes = open(answering(runs), { takesMany: () => false });
  await Promise.all(["a", "b", "c"].map((id) => deletes.run(bundleOf(id), "/shim", LIMITS)));
  expect(runs.map(({ moreIds }) => moreIds)).toEqual([[], [], []]);
});

it("one without an answer has a run of its own, and fails by that", async () => {
  const runs: DeleteRun[] = [];
  const run = async (asked: DeleteRun): Promise<ShimOutput> =>
    asked.moreIds.length === 0 ? (runs.push(asked), output(1)) : await answering(runs)(asked);
  const deletes = open(run);
  const answers = await Promise.all(["a", "x", "b"].map((id) => deletes.run(bundleOf(id), "/shim", LIMITS)));
  expect(answers.map(textOf)).toEqual(["0 a", "1 ", "0 b"]);
  expect(runs.map(idsOf)).toEqual([["a", "x", "b"], ["x"]]);
  expect(runs.at(-1)?.timeoutMs).toBe(LIMIT_MS);
});

it("those that a run that took too long never came to are removed all the same, and one that hangs is given up", async () => {
  const run = async (asked: DeleteRun): Promise<ShimOutput> => {
    const { moreIds, bundle } = asked;
    if (moreIds.length === 0 && !bundle.id.startsWith("x")) return output(0, `alone ${bundle.id}`);
    if (moreIds.length > 0) asked.onOutput?.(lineOf("a", "soon"));
    throw deadlineExceeded("too long");
  };
  const deletes = open(run);
  const ids = ["a", "x1", "b", "c"];
  const ended = await Promise.allSettled(ids.map((id) => deletes.run(bundleOf(id), "/shim", LIMITS)));
  expect(
    ended.map((each) => (each.status === "fulfilled" ? textOf(each.value) : codeName(codeOf(each.reason)))),
  ).toEqual(["0 soon", "deadline_exceeded", "0 alone b", "0 alone c"]);
});

it.each([[["a", "a", "b"]], [["a", "a"]]])("of %j, those who ask for the same one are both answered", async (ids) => {
  const runs: DeleteRun[] = [];
  const deletes = open(answering(runs));
  const answers = await Promise.all(ids.map((id) => deletes.run(bundleOf(id), "/shim", LIMITS)));
  expect(answers.map(textOf)).toEqual(ids.map((id) => `0 ${id}`));
  expect(runs.map(idsOf)).toEqual([[...new Set(ids)]]);
});

it("what a run with several warns of is logged", async () => {
  const warned: unknown[] = [];
  const log = { ...silentLogger, warn: (_: string, fields?: object) => void warned.push(fields), with: () => log };
  const deletes = open(answering([]), { log });
  await Promise.all(["a", "b"].map((id) => deletes.run(bundleOf(id), "/shim", LIMITS)));
  await expect.poll(() => warned).toMatchObject([{ warnings: "why" }]);
});

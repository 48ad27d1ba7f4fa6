import { parseNamespace } from "@berth/core/namespaces";
import { deadlineExceeded } from "@berth/errors";
import { expect, it } from "vitest";

import { Bundle } from "./bundle.ts";
import type { ShimOutput } from "./shim-command.ts";
import { type DeleteRun, ShimDeletes } from "./shim-deletes.ts";

const LIMIT_MS = 1000;
const namespace = parseNamespace("testing");
const bundleOf = (id: string, stateDir = "/state"): Bundle =>
  new Bundle({ stateDir, rootDir: "/root" }, { namespace, id });
const output = (status: number, text = ""): ShimOutput => ({
  status,
  stdout: new TextEncoder().encode(text),
  stderr: new TextEncoder().encode("why"),
});
const textOf = ({ status, stdout }: ShimOutput): string => `${status} ${new TextDecoder().decode(stdout)}`;
const lineOf = (id: string, text: string): Uint8Array => new TextEncoder().encode(`${id} ${btoa(text)}\n`);

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
  const deletes = new ShimDeletes(answering(runs), () => true);
  const ids = Array.from({ length: 40 }, (__, index) => `c${index}`);
  const answers = await Promise.all(ids.map((id) => deletes.run(bundleOf(id), "/shim", LIMIT_MS)));
  expect(answers.map(textOf)).toEqual(ids.map((id) => `0 ${id}`));
  expect(runs.map(({ moreIds }) => moreIds.length + 1)).toEqual([16, 16, 8]);
});

it.each([
  ["another binary", "/other", "/state"],
  ["another directory", "/shim", "/elsewhere"],
])("what has %s goes by itself", async (_, binary, directory) => {
  const runs: DeleteRun[] = [];
  const deletes = new ShimDeletes(answering(runs), () => true);
  await Promise.all([
    deletes.run(bundleOf("a"), "/shim", LIMIT_MS),
    deletes.run(bundleOf("b", directory), binary, LIMIT_MS),
  ]);
  expect(runs.map(({ moreIds }) => moreIds)).toEqual([[], []]);
});

it("shims of others are called for one at a time", async () => {
  const runs: DeleteRun[] = [];
  const deletes = new ShimDeletes(answering(runs), () => false);
  await Promise.all(["a", "b", "c"].map((id) => deletes.run(bundleOf(id), "/shim", LIMIT_MS)));
  expect(runs.map(({ moreIds }) => moreIds)).toEqual([[], [], []]);
});

it("one that has no answer has failed, and the others have not", async () => {
  const deletes = new ShimDeletes(answering([]), () => true);
  const answers = await Promise.all(["a", "x", "b"].map((id) => deletes.run(bundleOf(id), "/shim", LIMIT_MS)));
  expect(answers.map(textOf)).toEqual(["0 a", "1 ", "0 b"]);
});

it("who was answered before a run took too long keeps the answer, and the next have their turn", async () => {
  let fails = true;
  const run = async (asked: DeleteRun): Promise<ShimOutput> => {
    if (!fails) return output(0, "later");
    asked.onOutput?.(lineOf("a", "soon"));
    throw deadlineExceeded("too long");
  };
  const deletes = new ShimDeletes(run, () => true);
  const [first, second] = await Promise.allSettled(
    ["a", "b"].map((id) => deletes.run(bundleOf(id), "/shim", LIMIT_MS)),
  );
  expect(first).toMatchObject({ status: "fulfilled" });
  expect(second).toMatchObject({ status: "rejected" });
  fails = false;
  expect(textOf(await deletes.run(bundleOf("b"), "/shim", LIMIT_MS))).toBe("0 later");
});

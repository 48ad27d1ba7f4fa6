import { parseNamespace } from "@berth/core/namespaces";
import type { ExitStatus, Task } from "@berth/core/runtime";
import { notFound, unavailable } from "@berth/errors";
import { expect, it } from "vitest";

import { Restores } from "./restores.ts";

const namespace = parseNamespace("one");

/** A task that is only waited for, and its checkpoint. */
function setUp() {
  const ended = Promise.withResolvers<ExitStatus>();
  const signals: (AbortSignal | undefined)[] = [];
  const wait: Task["wait"] = ({ signal } = {}) => {
    signals.push(signal);
    return ended.promise;
  };
  // Nothing else of it is asked for.
  const task = { namespace, id: "c", wait } as unknown as Task;
  const gone: string[] = [];
  const directory = (path: string) => ({ path, [Symbol.asyncDispose]: async () => void gone.push(path) });
  return { ended, signals, task, gone, directory };
}

const turns = () => new Promise((resolve) => setImmediate(resolve));
const exit = { pid: 1, exitStatus: 137, exitedAtNs: 0n };

it.each([
  ["ends", ({ ended }: ReturnType<typeof setUp>) => ended.resolve(exit)],
  ["is gone", ({ ended }: ReturnType<typeof setUp>) => ended.reject(notFound("task"))],
])("Restores removes the checkpoint of a task that %s before it was started", async (_, end) => {
  const test = setUp();
  await new Restores().keep(test.task, test.directory("a"));
  await turns();
  expect(test.gone).toEqual([]);
  end(test);
  await turns();
  expect(test.gone).toEqual(["a"]);
});

it("Restores keeps the checkpoint of a task whose shim does not answer, and that of the next one of its name", async () => {
  const [first, second] = [setUp(), setUp()];
  const restores = new Restores();
  await restores.keep(first.task, first.directory("a"));
  await restores.keep(second.task, second.directory("b"));
  expect([first.gone, first.signals[0]?.aborted]).toEqual([["a"], true]);
  first.ended.resolve(exit);
  second.ended.reject(unavailable("busy"));
  await turns();
  expect(second.gone).toEqual([]);
  await restores.release(namespace, "c");
  expect([second.gone, second.signals[0]?.aborted]).toEqual([["b"], true]);
});

import type { Container } from "@berth/core/containers";
import { Code, codeOf, notFound, unavailable } from "@berth/errors";
import { describe, expect, it } from "vitest";

import type { Client } from "./client.ts";
import type { AttachedIo } from "./run-task.ts";
import { nullIo, RunningProcess, startTask } from "./run-task.ts";
import type { RemoteTask } from "./tasks-client.ts";

const fail = (error: Error) => (): Promise<never> => Promise.reject(error);

/** A process whose daemon answers everything with this error, and what became of its streams. */
function processOf(error: Error, canLeave: boolean) {
  const told: string[] = [];
  const io: AttachedIo = {
    ...nullIo,
    ...(canLeave && { leave: () => void told.push("left") }),
    [Symbol.asyncDispose]: async () => void told.push("disposed"),
  };
  // A fake of the calls that are made.
  const task = { kill: fail(error), wait: fail(error), delete: fail(error) } as unknown as RemoteTask;
  const exited = Promise.reject(error);
  return { told, running: new RunningProcess(task, { pid: 1, execId: "", exited, io }) };
}

describe("a running process", () => {
  it.each([
    ["is gone", notFound("it"), undefined, "disposed", true],
    ["cannot be removed", unavailable("the daemon is gone"), Code.Unavailable, "left", true],
    ["cannot be removed, and nobody attaches again", unavailable("gone"), Code.Unavailable, "disposed", false],
  ])("has its streams closed when it %s", async (_, error, code, end, canLeave) => {
    const { told, running } = processOf(error, canLeave);
    const reason: unknown = await running[Symbol.asyncDispose]().catch((each: unknown) => each);
    expect(reason === undefined ? undefined : codeOf(reason)).toBe(code);
    expect(told).toEqual([end]);
  });
});

it("startTask leaves the streams of a task whose start nobody could answer or take back", async () => {
  const told: string[] = [];
  const gone = unavailable("the daemon is gone");
  // A fake of the calls that are made.
  const task = { pid: 1, wait: fail(gone), start: fail(gone), kill: fail(gone) };
  const client = { tasks: { create: async () => task } } as unknown as Client;
  const container = { id: "c", snapshotter: "", snapshotKey: "" } as Container;
  const io: AttachedIo = {
    ...nullIo,
    leave: () => void told.push("left"),
    [Symbol.asyncDispose]: async () => void told.push("disposed"),
  };
  await expect(startTask(client, container, { io })).rejects.toBeDefined();
  expect(told).toEqual(["left"]);
});

import { appendFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { notFound, unavailable } from "@berth/errors";
import type { TemporaryDirectory } from "@berth/testing";
import { temporaryDirectory } from "@berth/testing";
import { Code } from "@connectrpc/connect";
import { afterAll, beforeAll, expect, it } from "vitest";

import type { Client } from "./client.ts";
import { readLog } from "./read-log.ts";

let directory: TemporaryDirectory;

beforeAll(async () => {
  directory = await temporaryDirectory("read-log");
});

afterAll(() => directory[Symbol.asyncDispose]());

/** A daemon with one task, as far as a log needs it. */
async function scene(name: string): Promise<{ file: string; client: Client; end: PromiseWithResolvers<never> }> {
  const file = join(directory.path, name);
  await writeFile(file, "one\n");
  const end = Promise.withResolvers<never>();
  end.promise.catch(() => {});
  const tasks = { get: async () => ({ stdout: `file://${file}` }), task: () => ({ wait: () => end.promise }) };
  // Only these two are asked for.
  return { file, client: { tasks } as unknown as Client, end };
}

it("readLog with follow yields what a shim copies after it has told the end", async () => {
  const { file, client, end } = await scene("late");
  const lines = readLog(client, "id", { follow: true });
  expect((await lines.next()).value).toBe("one");
  // Nobody looks at what a wait answers.
  end.resolve(undefined as never);
  await new Promise(setImmediate);
  const last = lines.next();
  await new Promise((resolve) => setTimeout(resolve, 50));
  await appendFile(file, "two\n");
  expect((await last).value).toBe("two");
  expect((await lines.next()).done).toBe(true);
});

it("readLog with follow yields all that was there when the task was deleted", async () => {
  const { file, client, end } = await scene("gone");
  const lines = readLog(client, "id", { follow: true });
  expect((await lines.next()).value).toBe("one");
  await appendFile(file, "two");
  end.reject(notFound("no such task"));
  expect(await Array.fromAsync(lines)).toEqual(["two"]);
});

it("readLog with follow says when the end of the task cannot be known", async () => {
  const { client, end } = await scene("lost");
  end.reject(unavailable("the daemon has gone"));
  await expect(Array.fromAsync(readLog(client, "id", { follow: true }))).rejects.toMatchObject({
    code: Code.Unavailable,
  });
});

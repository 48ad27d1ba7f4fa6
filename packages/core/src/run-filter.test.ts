import { closeSync, openSync } from "node:fs";

import { Code, codeOf, systemErrorCode } from "@berth/errors";
import { expect, it, vi } from "vitest";

import { type FilterOptions, runFilter } from "./run-filter.ts";

const LIMITS = { input: "", timeoutMs: 60_000, maxStdoutBytes: 1 << 20 };

const shell = (script: string, options: Partial<FilterOptions> = {}) =>
  runFilter("/bin/sh", { args: ["-c", script], ...LIMITS, ...options });

async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
}

it("runFilter gives input and returns what was written, and how it ended", async () => {
  const ended = { code: 3, signalName: null, stdout: "in", stderr: "no" };
  expect(await shell("cat; printf no >&2; exit 3", { input: "in" })).toEqual(ended);
  expect(await shell("kill -KILL $$")).toMatchObject({ code: null, signalName: "SIGKILL" });
  expect(await shell("exec <&-; printf out", { input: "x".repeat(1 << 20) })).toMatchObject({ code: 0, stdout: "out" });
});

it("runFilter gives nothing away that is meant for this process alone", async () => {
  vi.stubEnv("NOTIFY_SOCKET", "/run/notify");
  vi.stubEnv("GIVEN", "yes");
  expect((await shell("printf %s $NOTIFY_SOCKET$GIVEN")).stdout).toBe("yes");
  vi.unstubAllEnvs();
});

it("runFilter drops what is too much, or ends what writes it", async () => {
  expect((await shell("printf 12345", { maxStdoutBytes: 3 })).stdout).toBe("123");
  const error = await failureOf(shell("cat /dev/zero", { maxStdoutBytes: 3, isMoreAnError: true }));
  expect(codeOf(error)).toBe(Code.ResourceExhausted);
});

it("runFilter waits for nothing that has left the group", async () => {
  const error = await failureOf(shell("setsid sleep 30 & sleep 30", { timeoutMs: 200 }));
  expect(codeOf(error)).toBe(Code.DeadlineExceeded);
});

it("runFilter fails where a program cannot be started", async () => {
  expect(systemErrorCode(await failureOf(runFilter("/nowhere", LIMITS)))).toBe("ENOENT");
});

it("runFilter fails where there are no descriptors left", async () => {
  const taken: number[] = [];
  try {
    for (;;) taken.push(openSync("/dev/null", "r"));
  } catch (error) {
    expect(systemErrorCode(error)).toBe("EMFILE");
  }
  const failed = failureOf(shell("true"));
  for (const fd of taken) closeSync(fd);
  expect(systemErrorCode(await failed)).toBe("EMFILE");
});

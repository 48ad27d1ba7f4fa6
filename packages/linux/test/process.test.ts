import { closeSync, existsSync, openSync, readdirSync, readFileSync, realpathSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

import { codeName, codeOf } from "@berth/errors";
import { describe, expect, it } from "vitest";

import { closeFd, pipe2 } from "../src/files.ts";
import {
  ChildReaper,
  findOnPath,
  findProgram,
  getOomScoreAdj,
  getPpid,
  peekExited,
  pidNamespaceInode,
  processExit,
  type ProgramOptions,
  runProgram,
  setOomScoreAdj,
  setSubreaper,
  spawn,
  type SpawnOptions,
  waitPid,
} from "../src/process.ts";
import { temporaryDirectory } from "./temporary-directory.ts";
import { errnoName } from "./thrown.ts";

const shell = (script: string): SpawnOptions => ({
  path: "/bin/sh",
  args: ["-c", script],
  env: { PATH: "/usr/bin:/bin" },
});

/** This runs a program to its end and returns its output and status. */
function run(options: SpawnOptions, extraFds = new Map<number, number>()): { output: string; status: number } {
  const [read, write] = pipe2();
  try {
    const pid = spawn({ ...options, stdio: ["null", write, write], extraFds });
    closeFd(write);
    const output = readFileSync(read, "utf8");
    return { output, status: waitPid(pid, { noHang: false })?.status ?? -1 };
  } finally {
    closeFd(read);
  }
}

function zombies(): number {
  return readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid) || !existsSync(`/proc/${pid}/stat`)) return false;
    const [, state, parent] = /\) (\S) (\d+) /.exec(readFileSync(`/proc/${pid}/stat`, "utf8")) ?? [];
    return state === "Z" && parent === String(process.pid);
  }).length;
}

it("spawn gives the child its descriptors and no other one", () => {
  const held = [openSync("/usr", "r"), openSync("/usr", "r")];
  const [read, write] = pipe2({ cloexec: false });
  try {
    const probe = "n=0; while [ $n -lt 300 ]; do [ -e /proc/$$/fd/$n ] && echo $n; n=$((n + 1)); done; true";
    expect(run(shell(probe)).output).toBe("0\n1\n2\n");
    const extra = new Map([
      [3, write],
      [5, read],
    ]);
    const further = run(shell("for fd in 3 4 5 6; do [ -e /proc/$$/fd/$fd ] && echo $fd; done; true"), extra);
    expect(further.output).toBe("3\n5\n");
  } finally {
    for (const fd of [...held, read, write]) closeSync(fd);
  }
});

it("spawn can swap descriptors whose numbers overlap", async () => {
  await using directory = temporaryDirectory();
  const [first, second] = ["a", "b"].map((name) => openSync(`${directory.path}/${name}`, "w+"));
  try {
    const swapped = new Map([
      [first ?? -1, second ?? -1],
      [second ?? -1, first ?? -1],
    ]);
    const { output } = run(shell(`readlink /proc/self/fd/${first} /proc/self/fd/${second}`), swapped);
    expect(output).toBe(`${directory.path}/b\n${directory.path}/a\n`);
  } finally {
    for (const fd of [first, second]) closeSync(fd ?? -1);
  }
});

it("spawn passes arguments, environment and working directory exactly", async () => {
  await using directory = temporaryDirectory();
  const args = ["-c", 'printf "%s|" "$0" "$@"; pwd; env | grep ^BERTH', "zero", "", "two words", "ü\n"];
  const options = { path: "/bin/sh", args, env: { BERTH_A: "1=2", BERTH_B: undefined, PATH: "/usr/bin:/bin" } };
  const { output } = run({ ...options, cwd: directory.path });
  expect(output).toBe(`zero||two words|ü\n|${realpathSync(directory.path)}\nBERTH_A=1=2\n`);
});

it("spawn looks a bare name up on PATH and reports what cannot be started", () => {
  expect(run({ path: "true", args: [], env: {} }).status).toBe(0);
  const start = (options: Partial<SpawnOptions>) =>
    errnoName(() => spawn({ path: "true", args: [], env: {}, ...options }));
  expect(start({ path: "no-such-program-here" })).toBe("ENOENT");
  expect(start({ path: "/etc/passwd" })).toBe("EACCES");
  expect(start({ cwd: "/no/such" })).toBe("ENOENT");
  expect(start({ stdio: [999_999] })).toBe("EBADF");
  expect(start({ stdio: [-2] })).toBe("EINVAL");
  expect(start({ args: ["a\0b"] })).toBe("EINVAL");
  expect(zombies()).toBe(0);
});

it("spawn resets ignored signals, so that SIGPIPE ends a writer", () => {
  const script = "grep SigIgn /proc/$$/status";
  expect(run(shell(script)).output).toMatch(/SigIgn:\t0{16}\n/);
  // Node itself ignores SIGPIPE: bit 12
  expect(run({ ...shell(script), resetSignals: false }).output).toMatch(/SigIgn:\t[0-9a-f]{12}[13579bdf][0-9a-f]{3}\n/);
});

it("spawn starts sessions and process groups", () => {
  const field = (options: Partial<SpawnOptions>): string[] => {
    const { output } = run({ ...shell("cat /proc/$$/stat"), ...options });
    return output.slice(output.indexOf(")") + 2).split(" ");
  };
  const [, , group, session] = field({ newSession: true });
  expect(group).toBe(session);
  const [, , ownGroup, ownSession] = field({ newProcessGroup: true });
  expect(ownSession).not.toBe(ownGroup);
  expect(ownSession).not.toBe(session);
});

it.each([
  ["exit 0", { status: 0, exitCode: 0 }],
  ["exit 255", { status: 255, exitCode: 255 }],
  ["kill -9 $$", { status: 137, signal: 9 }],
  ["kill -15 $$", { status: 143, signal: 15 }],
])("the status of %j is %j", (script, expected) => {
  const pid = spawn(shell(script));
  const status = waitPid(pid, { noHang: false });
  expect(status).toMatchObject({ pid, ...expected });
  expect(Object.keys(status ?? {})).toHaveLength(Object.keys(expected).length + 2);
});

it("waitPid answers undefined while a child runs and ECHILD once its status is taken", () => {
  const pid = spawn({ path: "sleep", args: ["60"], env: {} });
  expect(waitPid(pid)).toBeUndefined();
  process.kill(pid, "SIGKILL");
  expect(waitPid(pid, { noHang: false })?.status).toBe(137);
  expect(errnoName(() => waitPid(pid))).toBe("ECHILD");
});

it("peekExited names an exited child and leaves it to be waited for", async () => {
  const pid = spawn(shell("exit 7"));
  await processExit(pid);
  expect(peekExited()).toBe(pid);
  expect(peekExited()).toBe(pid);
  expect(waitPid(pid)?.status).toBe(7);
  expect(peekExited()).toBeUndefined();
});

it.each(["registered", "all"] as const)(
  "ChildReaper %s sees 200 exits, each with its status, and leaves no zombie",
  async (mode) => {
    using reaper = new ChildReaper({ mode });
    const ends: Promise<number>[] = [];
    for (let number = 0; number < 200; number += 1) {
      const child = reaper.spawn(shell(`exit ${number}`));
      ends.push(child.exited.then((status) => status.status));
      if (number % 20 === 0) await sleep(1);
    }
    expect(await Promise.all(ends)).toEqual(Array.from({ length: 200 }, (_, number) => number));
    expect(zombies()).toBe(0);
  },
);

it("ChildReaper registered takes no child of somebody else", async () => {
  using reaper = new ChildReaper({ mode: "registered" });
  const foreign = spawn(shell("exit 4"));
  await processExit(foreign);
  expect((await reaper.spawn(shell("exit 5")).exited).status).toBe(5);
  expect(waitPid(foreign)?.status).toBe(4);
});

it("ChildReaper wait takes an exit that no sweep has seen yet, and refuses what is no child", async () => {
  using all = new ChildReaper({ mode: "all" });
  const pid = spawn(shell("exit 6"));
  const begin = performance.now();
  // the thread is held, so that no signal is delivered before the call
  while (readFileSync(`/proc/${pid}/stat`, "utf8").split(" ")[2] !== "Z" && performance.now() - begin < 2000);
  expect((await all.wait(pid)).status).toBe(6);
  using registered = new ChildReaper({ mode: "registered" });
  await expect(registered.wait(1)).rejects.toMatchObject({ code: "ECHILD" });
});

it("spawn passes more arguments and environment than a page, and reports what exceeds the kernel", () => {
  const env = { PATH: "/usr/bin:/bin", LONG: "x".repeat(100_000) };
  const args = ["-c", "echo ${#LONG} $#", ...Array.from({ length: 20_000 }, () => "argument")];
  expect(run({ path: "/bin/sh", args, env }).output).toBe("100000 19999\n");
  expect(errnoName(() => spawn({ path: "true", args: ["x".repeat(3 << 20)], env: {} }))).toBe("E2BIG");
});

it("ChildReaper all takes orphans, and wait finds one that ended before the call", async () => {
  setSubreaper(true);
  try {
    const orphans: number[] = [];
    using reaper = new ChildReaper({ mode: "all", onOrphan: (pid) => orphans.push(pid) });
    const [read, write] = pipe2();
    const parent = reaper.spawn({ ...shell("(sleep 0.05; exit 9) & echo $!"), stdio: ["null", write, "null"] });
    closeFd(write);
    const orphan = Number(readFileSync(read, "utf8"));
    closeFd(read);
    await parent.exited;
    await expect.poll(() => orphans).toEqual([orphan]);
    expect((await reaper.wait(orphan)).status).toBe(9);
    expect((await reaper.wait(orphan)).status).toBe(9);
    expect(zombies()).toBe(0);
  } finally {
    setSubreaper(false);
  }
});

it("ChildReaper wait follows an orphan that still runs", async () => {
  setSubreaper(true);
  try {
    using reaper = new ChildReaper({ mode: "all" });
    const [read, write] = pipe2();
    const parent = reaper.spawn({ ...shell("exec >/dev/null sleep 60 & echo $!"), stdio: ["null", write, "null"] });
    closeFd(write);
    const orphan = Number(readFileSync(read, "utf8"));
    closeFd(read);
    await parent.exited;
    const ended = reaper.wait(orphan);
    process.kill(orphan, "SIGTERM");
    expect((await ended).signal).toBe(15);
  } finally {
    setSubreaper(false);
  }
});

it("processExit resolves at the exit of a process, and stops waiting on abort", async () => {
  const pid = spawn({ path: "sleep", args: ["60"], env: {} });
  await expect(processExit(pid, { signal: AbortSignal.timeout(20) })).rejects.toMatchObject({ name: "TimeoutError" });
  const ended = processExit(pid);
  process.kill(pid, "SIGKILL");
  await ended;
  waitPid(pid);
  await expect(processExit(pid)).rejects.toMatchObject({ code: "ESRCH" });
});

it("setOomScoreAdj raises the score of a child", () => {
  const pid = spawn({ path: "sleep", args: ["60"], env: {} });
  const raised = Math.min(1000, getOomScoreAdj() + 1);
  setOomScoreAdj(pid, raised);
  expect(getOomScoreAdj(pid)).toBe(raised);
  process.kill(pid, "SIGKILL");
  waitPid(pid, { noHang: false });
});

it("pidNamespaceInode and getPpid describe this process", () => {
  expect(pidNamespaceInode()).toBe(pidNamespaceInode(process.pid));
  expect(getPpid()).toBe(Number(/PPid:\t(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))?.[1]));
});

describe("runProgram", () => {
  const sh = (script: string, options: Partial<ProgramOptions> = {}) =>
    runProgram({ path: "sh", args: ["-c", script], timeoutMs: 20_000, ...options });

  it("returns what a program printed, and its status", async () => {
    expect(await sh("echo out; echo err >&2; exit 3")).toEqual({ status: 3, output: "out\nerr\n" });
    expect(await sh("kill -TERM $$")).toMatchObject({ status: 143 });
  });

  it("gives it an empty input, the descriptors asked for, and no other environment", async () => {
    const [read, write] = pipe2();
    const script = "cat; echo -n told >&5; echo ${HOME-none}";
    expect(await sh(script, { extraFds: new Map([[5, write]]) })).toEqual({ status: 0, output: "none\n" });
    closeFd(write);
    expect(readFileSync(read, "utf8")).toBe("told");
    closeFd(read);
  });

  it("kills a program, and what it started, that takes too long or whose caller goes away", async () => {
    const slow = sh("sleep 100 & sleep 100", { timeoutMs: 100 });
    expect(codeName(codeOf(await slow.catch((error: unknown) => error)))).toBe("deadline_exceeded");
    const closed = sh("exec >&- 2>&-; sleep 100", { timeoutMs: 100 });
    expect(codeName(codeOf(await closed.catch((error: unknown) => error)))).toBe("deadline_exceeded");
    const controller = new AbortController();
    const aborted = sh("sleep 100", { signal: controller.signal });
    controller.abort(new Error("gone"));
    await expect(aborted).rejects.toThrow("gone");
    const late = sh("exec >&- 2>&-; sleep 100", { signal: AbortSignal.timeout(100) });
    await expect(late).rejects.toMatchObject({ name: "TimeoutError" });
    expect(() => waitPid(-1)).toThrow("ECHILD");
  });

  it("kills a program that prints without end", async () => {
    const endless = sh("while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done");
    expect(codeName(codeOf(await endless.catch((error: unknown) => error)))).toBe("resource_exhausted");
  });

  it("finds programs on PATH, then where those of the system are, and never in the working directory", async () => {
    expect(findProgram("sh", "")).toMatch(/\/bin\/sh$/);
    expect(findProgram("package.json", ".::")).toBeUndefined();
    expect(findOnPath("sh", "")).toBeUndefined();
    expect(findOnPath("sh", "relative::/nowhere:/bin")).toBe("/bin/sh");
    const missing = runProgram({ path: "no-such-program", args: [], timeoutMs: 1000 });
    expect(codeName(codeOf(await missing.catch((error: unknown) => error)))).toBe("not_found");
  });
});

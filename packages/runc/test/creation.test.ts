import { spawn } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { Code, codeOf } from "@berth/errors";
import { silentLogger } from "@berth/core/log";
import { flock } from "@berth/linux/files";
import { cleanUpContainer } from "@berth/runc";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { TasksFixture } from "./container-fixture.ts";

const ROOT = "/sys/fs/cgroup";
const unified = existsSync(join(ROOT, "cgroup.controllers"));
const hierarchies = unified ? [ROOT] : ["freezer", "memory"].map((name) => join(ROOT, name));
const freeze = unified ? "echo 1 > $place/cgroup.freeze" : `echo FROZEN > ${ROOT}/freezer/$name/freezer.state`;

const cgroupsOf = (id: string) => hierarchies.map((directory) => join(directory, `berth-test-${process.pid}-${id}`));
const isRunning = (pid: number): boolean =>
  existsSync(`/proc/${pid}`) && !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));

describe("a runtime that is cut short while it makes a container", { timeout: 30_000 }, () => {
  let fixture: TasksFixture;
  beforeAll(async () => {
    fixture = await TasksFixture.open();
  });
  afterAll(() => fixture[Symbol.asyncDispose]());

  /** Shell that does what runc does before it notes anything: a frozen process in the container's cgroup, a state directory. */
  const halfMade = (id: string, then: string): string => {
    const pidFile = join(fixture.directory, `${id}.left`);
    const places = cgroupsOf(id).join(" ");
    return `
      case " $* " in *" create "*) ;; *) exec runc "$@";; esac
      name=berth-test-${process.pid}-${id}
      mkdir -p ${join(fixture.directory, "runc", "test", id)} ${places}
      sleep 1000 <&- >&- 2>&- &
      for place in ${places}; do echo $! > $place/cgroup.procs; done
      echo $! > ${pidFile}
      ${freeze}
      ${then}`;
  };
  const leftOver = (id: string): number => Number(readFileSync(join(fixture.directory, `${id}.left`), "utf8"));
  const stateOf = (id: string): string => join(fixture.directory, "runc", "test", id);

  /** A hook that runs while runc's init waits in the cgroup: it says which process that is, waits for a word and does what it is told. */
  const hooked = (id: string, then: string) => {
    const path = join(fixture.directory, `${id}.hook`);
    const file = join(fixture.directory, `${id}.left`);
    const find = `grep -oE '"pid":[0-9]+' | head -n 1 | grep -oE '[0-9]+'`;
    const wait = `while [ ! -e ${join(fixture.directory, `${id}.go`)} ]; do sleep 0.02; done`;
    const places = `place=${cgroupsOf(id)[0]} name=berth-test-${process.pid}-${id}`;
    const script = `#!/bin/sh\nPATH=/usr/bin:/bin\n${find} > ${file}.new\nmv ${file}.new ${file}\n${places}\n${wait}\n${then}\n`;
    writeFileSync(path, script, { mode: 0o755 });
    return { createRuntime: [{ path }] };
  };
  const go = (id: string): void => writeFileSync(join(fixture.directory, `${id}.go`), "");

  it("leaves no process, cgroup, state or note when it is killed", async () => {
    const hooks = hooked("killed", `${freeze}\nkill -9 $PPID`);
    go("killed");
    const made = fixture.create("killed", { args: ["true"], hooks });
    expect(await made.then(() => undefined, codeOf)).toBe(Code.Unknown);
    await expect.poll(() => isRunning(leftOver("killed"))).toBe(false);
    expect(cgroupsOf("killed").filter((path) => existsSync(path))).toEqual([]);
    expect(existsSync(stateOf("killed"))).toBe(false);
    expect(readdirSync(join(fixture.directory, "killed"))).not.toContain("creating.json");
    // the same id can be used again
    await fixture.create("killed", { args: ["true"] });
    await fixture.call("start", "killed");
    await fixture.remove("killed");
  });

  it("leaves alone what was in the cgroup before, and a state that is another's", async () => {
    for (const path of cgroupsOf("shared")) mkdirSync(path);
    const script = halfMade("shared", "kill -9 $$");
    const other = fixture.runtime("first-runc", "", script);
    mkdirSync(stateOf("shared"), { recursive: true });
    writeFileSync(join(stateOf("shared"), "mark"), "");
    await fixture.create("other", { args: ["sleep", "1000"] });
    const { pid = 0 } = await fixture.call("start", "other");
    for (const path of cgroupsOf("shared")) writeFileSync(join(path, "cgroup.procs"), String(pid));
    await expect(fixture.create("shared", { args: ["true"] }, { options: other })).rejects.toThrow();
    expect(isRunning(pid)).toBe(true);
    expect(existsSync(join(stateOf("shared"), "mark"))).toBe(true);
    thaw("shared");
    process.kill(leftOver("shared"), "SIGKILL");
    await fixture.remove("other");
    for (const path of cgroupsOf("shared")) await expect.poll(() => tryRemove(path)).toBe(true);
  });

  it.each([
    ["is killed", `${freeze}; kill -9 $PPID`],
    ["fails", "exit 1"],
  ])("leaves alone who has joined the cgroup, or one below it, when it %s", async (word, then) => {
    const id = `joined-${word.slice(-2)}`;
    const failing = fixture.create(id, { args: ["true"], hooks: hooked(id, then) }).then(() => undefined, codeOf);
    await expect.poll(() => existsSync(join(fixture.directory, `${id}.left`)), { timeout: 10_000 }).toBe(true);
    // younger than the creation, as the processes of a container that comes up beside it are
    const others = ["", "below"].map((name) => {
      const { pid = 0 } = spawn("sleep", ["1000"], { stdio: "ignore" });
      for (const path of cgroupsOf(id)) {
        mkdirSync(join(path, name), { recursive: true });
        writeFileSync(join(path, name, "cgroup.procs"), String(pid));
      }
      return pid;
    });
    go(id);
    expect(await failing).toBe(Code.Unknown);
    await expect.poll(() => isRunning(leftOver(id))).toBe(false);
    expect(others.map(isRunning)).toEqual([true, true]);
    for (const pid of others) process.kill(pid, "SIGKILL");
    // they end: nothing has stayed frozen
    for (const pid of others) await expect.poll(() => isRunning(pid)).toBe(false);
    for (const path of cgroupsOf(id).flatMap((place) => [join(place, "below"), place]))
      await expect.poll(() => tryRemove(path)).toBe(true);
    removeElsewhere(id);
  });

  it("is ended itself, with what it left, after the death of its shim", async () => {
    const options = fixture.runtime("hanging-create", "", halfMade("hangs", "sleep 30"));
    const failing = fixture.create("hangs", { args: ["true"] }, { options }).then(() => undefined, codeOf);
    await expect.poll(() => existsSync(join(fixture.directory, "hangs.left"))).toBe(true);
    await expect.poll(() => readdirSync(join(fixture.directory, "hangs"))).toContain("creating.json");
    const bundle = join(fixture.directory, "hangs");
    // as a second process would; that the first one lives here only means that it learns of its runtime's end
    const runcRoot = join(fixture.directory, "runc");
    await cleanUpContainer({ namespace: "test", id: "hangs", bundle, log: silentLogger, runcRoot });
    expect(await failing).toBe(Code.Unknown);
    await expect.poll(() => isRunning(leftOver("hangs"))).toBe(false);
    expect(cgroupsOf("hangs").filter((path) => existsSync(path))).toEqual([]);
    expect(existsSync(stateOf("hangs"))).toBe(false);
  });

  it("keeps nobody who cleans up waiting for another restore in its directory of CRIU's work", async () => {
    const [bundle, workPath] = [join(fixture.directory, "left-restore"), join(fixture.directory, "held-work")];
    for (const path of [join(bundle, "rootfs"), workPath]) mkdirSync(path, { recursive: true });
    const note = { stateWasFree: true, freeCgroups: [], since: 0, workPath };
    writeFileSync(join(bundle, "creating.json"), JSON.stringify(note));
    using held = new DisposableStack();
    expect(flock(held.adopt(openSync(workPath, "r"), closeSync))).toBe(true);
    const warnings: string[] = [];
    const log = { ...silentLogger, warn: (message: string) => void warnings.push(message) };
    const runcRoot = join(fixture.directory, "runc");
    await cleanUpContainer({ namespace: "test", id: "left-restore", bundle, log, runcRoot });
    expect(warnings).toContain("mounts not removed");
    expect(readdirSync(bundle)).not.toContain("creating.json");
  });
});

function thaw(id: string): void {
  const [first = ""] = cgroupsOf(id);
  writeFileSync(join(first, unified ? "cgroup.freeze" : "freezer.state"), unified ? "0" : "THAWED");
}

function tryRemove(path: string): boolean {
  try {
    rmdirSync(path);
    return true;
  } catch {
    return false;
  }
}

/** The runtime has made the cgroup in all hierarchies. */
function removeElsewhere(id: string): void {
  for (const name of unified ? [] : readdirSync(ROOT)) tryRemove(join(ROOT, name, `berth-test-${process.pid}-${id}`));
}

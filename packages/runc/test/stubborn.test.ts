import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import type { Socket } from "node:net";
import { join } from "node:path";

import { Status } from "@berth/api/containerd/v1/types/task";
import { Code, codeOf } from "@berth/errors";
import { mkfifo } from "@berth/linux/files";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { TasksFixture } from "./container-fixture.ts";

const codeFrom = (work: Promise<unknown>): Promise<Code | undefined> => work.then(() => undefined, codeOf);
/** More than the threads of libuv's pool: one blocked call each would stop every file operation. */
const MORE_THAN_THREADS = 6;

describe("what containers and clients do wrong stays with them", { timeout: 60_000 }, () => {
  let fixture: TasksFixture;
  let bundle: string;
  beforeAll(async () => {
    fixture = await TasksFixture.open();
    bundle = await fixture.create("c", { args: ["sleep", "1000"] });
    await fixture.call("start", "c");
  });
  afterAll(async () => {
    await fixture.remove("c");
    await fixture[Symbol.asyncDispose]();
  });
  const outputOf = async (execId: string, script: string, own: Parameters<TasksFixture["exec"]>[4] = {}) => {
    const out = fixture.reader(bundle, `${execId}.out`);
    await fixture.exec("c", execId, ["sh", "-c", script], { stdout: out.path }, own);
    await fixture.call("start", "c", execId);
    await fixture.call("wait", "c", execId);
    await fixture.call("delete", "c", execId);
    return await out.text;
  };

  it("a process has three descriptors, an exec too", async () => {
    await fixture.exec("c", "fds", ["sleep", "1000"]);
    const exec = await fixture.call("start", "c", "fds");
    const init = await fixture.call("state", "c");
    for (const { pid } of [init, exec]) expect(readdirSync(`/proc/${pid}/fd`)).toEqual(["0", "1", "2"]);
    await fixture.kill("c", 9, "fds");
    await fixture.call("wait", "c", "fds");
    await fixture.call("delete", "c", "fds");
  });

  it("an exec has its own user, groups, directory and environment", async () => {
    const user = { uid: 1234, gid: 567, additionalGids: [8, 9] };
    const script = "pwd; echo $WORD; cat /proc/self/status";
    const text = await outputOf("own", script, { user, cwd: "/tmp", env: ["PATH=/bin", "WORD=said"] });
    expect(text).toMatch(/^\/tmp\nsaid\n/);
    expect(text).toMatch(/^Uid:\t1234\t1234\t/m);
    expect(text).toMatch(/^Gid:\t567\t567\t/m);
    expect(text).toMatch(/^Groups:\t8 9\s*$/m);
  });

  it("a file that is a FIFO is no file, and holds nothing up", async () => {
    const path = join(fixture.directory, "unread.fifo");
    mkfifo(path, 0o600);
    const ids = Array.from({ length: MORE_THAN_THREADS }, (_, index) => `fifo${index}`);
    for (const id of ids) {
      await fixture.exec("c", id, ["echo", "word"], { stdout: `file://${path}` });
      expect(await codeFrom(fixture.call("start", "c", id))).toBe(Code.InvalidArgument);
    }
    expect(await readFile("/proc/self/comm", "utf8")).not.toBe("");
    for (const id of ids) await fixture.call("delete", "c", id);
  });

  const nowhere = [
    ["stdout", "/no/such/fifo"],
    ["stdout", "file:///proc/nope/log"],
    ["stdout", "file:///tmp"],
    ["stderr", "/no/such/fifo"],
    ["stdin", "/no/such/fifo"],
  ] as const;
  it.each(nowhere)("an exec or a container with %s at %s does not run", async (name, target) => {
    for (const terminal of name === "stderr" ? [false] : [false, true]) {
      await fixture.exec("c", "lost", ["sleep", "999"], { [name]: target, terminal });
      expect(await codeFrom(fixture.call("start", "c", "lost"))).toBe(Code.Unknown);
      await fixture.call("delete", "c", "lost");
      const created = fixture.create("lost", { args: ["sleep", "999"], terminal }, { [name]: target });
      expect(await codeFrom(created)).toBe(Code.Unknown);
      rmSync(join(fixture.directory, "lost"), { recursive: true });
    }
    expect((await fixture.call("pids", "c")).processes).toHaveLength(1);
    expect(fixture.records.filter(({ id }) => id === "lost")).toEqual([]);
  });

  it("an output that is a file by its path is appended to, not made", async () => {
    const path = join(fixture.directory, "plain.log");
    writeFileSync(path, "before\n");
    await fixture.exec("c", "plain", ["sh", "-c", "echo out; echo err >&2"], { stdout: path, stderr: path });
    await fixture.call("start", "c", "plain");
    expect(await fixture.call("wait", "c", "plain")).toMatchObject({ exitStatus: 0 });
    await fixture.call("delete", "c", "plain");
    expect((await readFile(path, "utf8")).split("\n").sort()).toEqual(["", "before", "err", "out"]);
  });

  it("an output that is lost while its process runs is read and dropped", async () => {
    const { path } = fixture.input(bundle, "lost.out");
    await fixture.exec("c", "dropped", ["sh", "-c", "sleep 0.2; seq 1 100000"], { stdout: path });
    await fixture.call("start", "c", "dropped");
    rmSync(path);
    expect(await fixture.call("wait", "c", "dropped")).toMatchObject({ exitStatus: 0 });
    await fixture.call("delete", "c", "dropped");
    expect(fixture.warnings).toContain("copy of process output failed");
  });

  it("terminals that nobody reads, inside and outside, hold up neither files nor others", async () => {
    const ids = Array.from({ length: MORE_THAN_THREADS }, (_, index) => `tty${index}`);
    const sockets: Socket[] = [];
    for (const id of ids) {
      const input = fixture.input(bundle, `${id}.in`);
      const { path, socket } = fixture.slowReader(bundle, `${id}.out`);
      const stdio = { terminal: true, stdin: input.path, stdout: path };
      await fixture.exec("c", id, ["sh", "-c", "while true; do echo yyyyyyyyyyyyyyyyyyyyyyyy; done"], stdio);
      await fixture.call("start", "c", id);
      const writer = input.open();
      writer.on("error", () => {});
      writer.write(new Uint8Array(1024 * 1024).fill(0x61));
      sockets.push(writer, socket);
    }
    expect(await outputOf("beside", "echo fine")).toBe("fine\n");
    expect(await readFile("/proc/self/comm", "utf8")).not.toBe("");
    for (const id of ids) {
      await fixture.kill("c", 9, id);
      await fixture.call("wait", "c", id);
    }
    // read now, they end at once and not after the time that a delete waits
    for (const socket of sockets) socket.resume();
    await Promise.all(ids.map((id) => fixture.call("delete", "c", id)));
    for (const socket of sockets) socket.destroy();
  });

  it("outputs that nobody ever reads end with the process", async () => {
    for (const [index, script] of ["echo word", "head -c 1000000 /dev/zero"].entries()) {
      const id = `mute${index}`;
      const { path } = fixture.input(bundle, `${id}.out`);
      await fixture.exec("c", id, ["sh", "-c", script], { stdout: path });
      await fixture.call("start", "c", id);
      if (index === 1) await fixture.kill("c", 9, id);
      await fixture.call("wait", "c", id);
      await fixture.call("delete", "c", id);
    }
  });

  it("a signal that does not exist is refused, and is not taken for the end of the process", async () => {
    await fixture.exec("c", "s", ["sleep", "1000"]);
    await fixture.call("start", "c", "s");
    const code = await codeFrom(fixture.kill("c", 999, "s"));
    expect(code).not.toBe(undefined);
    expect(code).not.toBe(Code.NotFound);
    expect(await fixture.call("state", "c", "s")).toMatchObject({ status: Status.RUNNING });
    await fixture.kill("c", 9, "s");
    await fixture.call("wait", "c", "s");
    await fixture.call("delete", "c", "s");
    expect(fixture.forgotten).toContain("s");
  });

  it("a wait for what is deleted before it ran ends", async () => {
    await fixture.exec("c", "never", ["true"]);
    const waiting = codeFrom(fixture.call("wait", "c", "never"));
    await fixture.call("delete", "c", "never");
    expect(await waiting).toBe(Code.NotFound);
  });

  it("a runtime that hangs keeps one container and no other", async () => {
    const options = fixture.runtime("hanging-runc", `"$@"`, `case " $* " in *" pause "*) sleep 3;; esac`);
    await fixture.create("hangs", { args: ["sleep", "1000"] }, { options });
    await fixture.call("start", "hangs");
    const paused = fixture.call("pause", "hangs");
    await expect.poll(() => fixture.call("state", "hangs")).toMatchObject({ status: Status.PAUSING });
    expect(await outputOf("meanwhile", "echo fine")).toBe("fine\n");
    await paused;
    await fixture.call("resume", "hangs");
    await fixture.remove("hangs");
  });

  it("a container that is deleted while it is being made is gone when both are done", async () => {
    const options = fixture.runtime("slow-create", `"$@"`, `case " $* " in *" create "*) sleep 0.3;; esac`);
    const making = fixture.create("unwanted", { args: ["sleep", "1000"] }, { options });
    await expect.poll(() => codeFrom(fixture.call("state", "unwanted"))).toBe(Code.NotFound);
    await expect.poll(() => readdirSync(join(fixture.directory, "unwanted"))).toContain("creating.json");
    await fixture.call("delete", "unwanted");
    await making;
    expect(await codeFrom(fixture.call("state", "unwanted"))).toBe(Code.NotFound);
    expect(fixture.topics("unwanted").at(-1)).toBe("/tasks/delete");
  });

  it("every zombie is taken", () => {
    expect(readFileSync(`/proc/self/task/${process.pid}/children`, "utf8").trim().split(" ")).toHaveLength(1);
  });
});

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { once } from "node:events";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";

import { create, fromBinary } from "@bufbuild/protobuf";
import { ProcessDetailsSchema } from "@berth/api/containerd/runc/v1/options";
import {
  CloseIORequestSchema,
  ResizePtyRequestSchema,
  UpdateTaskRequestSchema,
} from "@berth/api/containerd/task/v3/task";
import { Status } from "@berth/api/containerd/v1/types/task";
import { MetricsSchema } from "@berth/api/io/containerd/cgroups/v1/metrics";
import { Code, codeOf } from "@berth/errors";
import { readMountInfo } from "@berth/linux/mount";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { context, openDescriptors, TasksFixture } from "./container-fixture.ts";

const codeFrom = (work: Promise<unknown>): Promise<Code | undefined> => work.then(() => undefined, codeOf);

describe("tasks over runc", { timeout: 30_000 }, () => {
  let fixture: TasksFixture;
  beforeAll(async () => {
    fixture = await TasksFixture.open();
  });
  afterAll(() => fixture[Symbol.asyncDispose]());

  it("tells a life in order, records the exit first, hands on every byte of both outputs", async () => {
    const bundle = fixture.bundle("life", { args: [] });
    const [out, err] = [fixture.reader(bundle, "out"), fixture.reader(bundle, "err")];
    const script = "seq 20000; echo last-out; echo last-err >&2; exit 7";
    await fixture.create("life", { args: ["sh", "-c", script] }, { stdout: out.path, stderr: err.path });
    expect(await fixture.call("state", "life")).toMatchObject({ status: Status.CREATED });
    const { pid } = await fixture.call("start", "life");
    expect(await fixture.call("wait", "life")).toMatchObject({ exitStatus: 7 });
    expect(await fixture.call("state", "life")).toMatchObject({ status: Status.STOPPED, exitStatus: 7, pid });
    expect(await fixture.call("delete", "life")).toMatchObject({ exitStatus: 7, pid });
    expect((await out.text).endsWith("\n20000\nlast-out\n")).toBe(true);
    expect(await err.text).toBe("last-err\n");
    expect(fixture.topics("life")).toEqual(["/tasks/create", "/tasks/start", "record", "/tasks/exit", "/tasks/delete"]);
    expect(fixture.tasks.size).toBe(0);
    expect(readMountInfo().filter(({ mountPoint }) => mountPoint.startsWith(bundle))).toEqual([]);
    expect(existsSync(join(fixture.directory, "runc", "test", "life"))).toBe(false);
  });

  it("tells the start before the exit of a process that ends at once", async () => {
    for (let round = 0; round < 5; round += 1) {
      await fixture.create(`fast${round}`, { args: ["true"] });
      await fixture.call("start", `fast${round}`);
      await fixture.call("wait", `fast${round}`);
      await fixture.call("delete", `fast${round}`);
      const topics = fixture.topics(`fast${round}`).filter((topic) => topic !== "record");
      expect(topics).toEqual(["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]);
    }
  });

  it("tells the start first even when the process has ended before the runtime says that it runs", async () => {
    const options = fixture.runtime(
      "slow-runc",
      `"$@"; code=$?; case " $* " in *" start "*) sleep 0.3;; esac; exit $code`,
    );
    await fixture.create("hasty", { args: ["true"] }, { options });
    await fixture.call("start", "hasty");
    await fixture.call("wait", "hasty");
    await fixture.call("delete", "hasty");
    const topics = fixture.topics("hasty");
    // the record does not wait: it is there as soon as the process has ended
    expect(topics).toEqual(["/tasks/create", "record", "/tasks/start", "/tasks/exit", "/tasks/delete"]);
  });

  it("fails a create with the runtime's reason and leaves nothing", async () => {
    const before = await openDescriptors();
    const bundle = fixture.bundle("broken", { args: [] });
    const { path, socket } = fixture.slowReader(bundle, "out");
    const failure = fixture.create("broken", { args: ["/no/such"] }, { stdout: path, stderr: path });
    await expect(failure).rejects.toThrow(/OCI runtime create failed: .*\/no\/such.*no such file/);
    expect(fixture.tasks.size).toBe(0);
    expect(readMountInfo().filter(({ mountPoint }) => mountPoint.startsWith(bundle))).toEqual([]);
    // what the runtime itself said is the error, not the output
    expect(socket.read()).toBeNull();
    socket.destroy();
    await expect.poll(openDescriptors).toBe(before);
  });

  it.each([
    ["start", Code.NotFound],
    ["state", Code.NotFound],
    ["delete", Code.NotFound],
    ["wait", Code.NotFound],
    ["stats", Code.NotFound],
    ["pause", Code.NotFound],
    ["pids", Code.NotFound],
    ["connect", undefined],
  ] as const)("%s of an unknown container: %s", async (method, code) => {
    expect(await codeFrom(fixture.call(method, "unknown"))).toBe(code);
  });

  describe("a running container", () => {
    let bundle: string;
    beforeAll(async () => {
      bundle = await fixture.create("long", { args: ["sleep", "1000"], memoryLimit: 64 * 1024 * 1024 });
      await fixture.call("start", "long");
    });
    afterAll(() => fixture.remove("long"));

    it("refuses what its state does not allow", async () => {
      expect(await codeFrom(fixture.create("long", { args: ["true"] }))).toBe(Code.AlreadyExists);
      expect(await codeFrom(fixture.call("start", "long"))).toBe(Code.Unknown);
      expect(await codeFrom(fixture.call("delete", "long"))).toBe(Code.Unknown);
      expect(await codeFrom(fixture.call("resume", "long"))).toBe(Code.Unknown);
      expect(await codeFrom(fixture.call("state", "long", "nobody"))).toBe(Code.NotFound);
      expect(await codeFrom(fixture.exec("long", "../up", ["true"]))).toBe(Code.InvalidArgument);
      expect(await codeFrom(fixture.create("x", { args: ["true"] }, { stdout: "ftp:///x" }))).toBe(
        Code.InvalidArgument,
      );
    });

    it("pauses, and its execs say so", async () => {
      await fixture.exec("long", "p", ["sleep", "1000"]);
      await fixture.call("start", "long", "p");
      await fixture.call("pause", "long");
      expect(await fixture.call("state", "long")).toMatchObject({ status: Status.PAUSED });
      expect(await fixture.call("state", "long", "p")).toMatchObject({ status: Status.PAUSED });
      expect(await codeFrom(fixture.call("pause", "long"))).toBe(Code.Unknown);
      expect(await codeFrom(fixture.exec("long", "late", ["true"]))).toBe(Code.Unknown);
      expect(await codeFrom(fixture.call("state", "long", "late"))).toBe(Code.NotFound);
      await fixture.call("resume", "long");
      expect(await fixture.call("state", "long")).toMatchObject({ status: Status.RUNNING });
      expect(await codeFrom(fixture.call("delete", "long", "p"))).toBe(Code.Unknown);
      const { pid } = await fixture.call("state", "long", "p");
      const { processes } = await fixture.call("pids", "long");
      const named = processes?.find((entry) => entry.pid === pid)?.info;
      expect(fromBinary(ProcessDetailsSchema, named?.value ?? new Uint8Array())).toMatchObject({ execId: "p" });
      await fixture.kill("long", 15, "p");
      expect(await fixture.call("wait", "long", "p")).toMatchObject({ exitStatus: 143 });
      expect(await codeFrom(fixture.kill("long", 15, "p"))).toBe(Code.NotFound);
      await fixture.call("delete", "long", "p");
      expect(await codeFrom(fixture.call("state", "long", "p"))).toBe(Code.NotFound);
    });

    it("gives an exec its input until it is closed", async () => {
      const [input, out] = [fixture.input(bundle, "e.in"), fixture.reader(bundle, "e.out")];
      await fixture.exec("long", "e", ["cat"], { stdin: input.path, stdout: out.path });
      expect(await codeFrom(fixture.exec("long", "e", ["cat"]))).toBe(Code.AlreadyExists);
      expect(await codeFrom(fixture.kill("long", 9, "e"))).toBe(Code.FailedPrecondition);
      await fixture.call("start", "long", "e");
      const first = input.open();
      first.end("one ");
      await once(first, "close");
      // long enough for an end of the input to be seen, if there were one
      await sleep(50);
      const second = input.open();
      second.write("two");
      await sleep(50);
      expect(await fixture.call("state", "long", "e")).toMatchObject({ status: Status.RUNNING });
      await fixture.service.closeIO(
        create(CloseIORequestSchema, { id: "long", execId: "e", stdin: true }),
        context("closeIO"),
      );
      second.end();
      expect(await fixture.call("wait", "long", "e")).toMatchObject({ exitStatus: 0 });
      await fixture.call("delete", "long", "e");
      expect(await out.text).toBe("one two");
    });

    it("gives an exec a terminal of the size asked for", async () => {
      const [input, out] = [fixture.input(bundle, "t.in"), fixture.reader(bundle, "t.out")];
      const stdio = { terminal: true, stdin: input.path, stdout: out.path };
      await fixture.exec("long", "t", ["sh", "-c", "read x; stty size; echo got $x"], stdio);
      await fixture.call("start", "long", "t");
      const size = create(ResizePtyRequestSchema, { id: "long", execId: "t", width: 133, height: 47 });
      await fixture.service.resizePty(size, context("resizePty"));
      const writer = input.open();
      writer.write("word\n");
      expect(await fixture.call("wait", "long", "t")).toMatchObject({ exitStatus: 0 });
      await fixture.call("delete", "long", "t");
      writer.destroy();
      expect(await out.text).toBe("word\r\n47 133\r\ngot word\r\n");
    });

    it("an exec has a terminal if the request says so", async () => {
      const out = fixture.reader(bundle, "tty.out");
      await fixture.exec("long", "tty", ["tty"], { terminal: true, stdout: out.path }, { terminal: false });
      await fixture.call("start", "long", "tty");
      expect(await fixture.call("wait", "long", "tty")).toMatchObject({ exitStatus: 0 });
      await fixture.call("delete", "long", "tty");
      expect(await out.text).toMatch(/^\/dev\//);
    });

    it("says why an exec does not start, and can delete it", async () => {
      await fixture.exec("long", "none", ["/no/such"]);
      await expect(fixture.call("start", "long", "none")).rejects.toThrow(/OCI runtime exec failed: .*\/no\/such/);
      await fixture.call("delete", "long", "none");
    });

    it("measures and updates its cgroup", async () => {
      const { stats } = await fixture.call("stats", "long");
      expect(stats?.typeUrl).toBe("io.containerd.cgroups.v1.Metrics");
      const metrics = fromBinary(MetricsSchema, stats?.value ?? new Uint8Array());
      expect(metrics.memory?.usage?.limit).toBe(64n * 1024n * 1024n);
      const value = new TextEncoder().encode(
        JSON.stringify({ memory: { limit: 96 * 1024 * 1024, swap: 96 * 1024 * 1024 } }),
      );
      const update = create(UpdateTaskRequestSchema, { id: "long", resources: { typeUrl: "resources", value } });
      await fixture.service.update(update, context("update"));
      const { stats: after } = await fixture.call("stats", "long");
      const updated = fromBinary(MetricsSchema, after?.value ?? new Uint8Array());
      expect(updated.memory?.usage?.limit).toBe(96n * 1024n * 1024n);
    });
  });

  it("kills with containerd's status, and nothing twice; refuses an exec afterwards", async () => {
    await fixture.create("victim", { args: ["sleep", "1000"] });
    await fixture.call("start", "victim");
    await fixture.exec("victim", "late", ["true"]);
    await fixture.exec("victim", "other", ["sleep", "1000"]);
    await fixture.call("start", "victim", "other");
    await fixture.kill("victim");
    expect(await fixture.call("wait", "victim")).toMatchObject({ exitStatus: 137 });
    const exits = fixture.events.filter(
      ({ topic, event }) => topic === "/tasks/exit" && event["containerId"] === "victim",
    );
    expect(exits.map(({ event }) => event["id"])).toEqual(["other", "victim"]);
    expect(await codeFrom(fixture.kill("victim"))).toBe(Code.NotFound);
    expect(await codeFrom(fixture.exec("victim", "more", ["true"]))).toBe(Code.FailedPrecondition);
    expect(await codeFrom(fixture.call("start", "victim", "late"))).toBe(Code.FailedPrecondition);
    await fixture.call("delete", "victim");
  });

  it("deletes a container that never ran", async () => {
    await fixture.create("unborn", { args: ["sleep", "1000"] });
    await fixture.call("delete", "unborn");
    expect(fixture.topics("unborn")).toEqual(["/tasks/create", "record", "/tasks/exit", "/tasks/delete"]);
  });

  it("ends what shares the host's pid namespace with init", async () => {
    const bundle = fixture.bundle("host", { args: [] });
    const out = fixture.reader(bundle, "out");
    const options = { args: ["sh", "-c", "sleep 1000 & echo $!; sleep 1"], hostPids: true };
    await fixture.create("host", options, { stdout: out.path });
    await fixture.call("start", "host");
    await fixture.exec("host", "beside", ["sleep", "1000"]);
    await fixture.call("start", "host", "beside");
    await fixture.call("wait", "host");
    const pid = Number(await out.text);
    await expect.poll(() => existsSync(`/proc/${pid}`)).toBe(false);
    const exits = fixture.events.filter(
      ({ topic, event }) => topic === "/tasks/exit" && event["containerId"] === "host",
    );
    expect(exits.map(({ event }) => event["id"])).toEqual(["beside", "host"]);
    await fixture.call("delete", "host");
  });

  it("tells the end of init after that of an exec that outlives it", async () => {
    const options = fixture.runtime("no-kill-runc", `"$@"`, `case " $* " in *" kill "*) exit 0;; esac`);
    await fixture.create("short", { args: ["sleep", "0.1"], hostPids: true }, { options });
    await fixture.call("start", "short");
    await fixture.exec("short", "longer", ["sleep", "0.6"]);
    await fixture.call("start", "short", "longer");
    await fixture.call("wait", "short");
    const exits = fixture.events.filter(
      ({ topic, event }) => topic === "/tasks/exit" && event["containerId"] === "short",
    );
    expect(exits.map(({ event }) => event["id"])).toEqual(["longer", "short"]);
    await fixture.call("delete", "short");
  });

  it("keeps a writer waiting for a reader that takes its time, and loses nothing", async () => {
    const bundle = fixture.bundle("slow", { args: [] });
    const { path, socket } = fixture.slowReader(bundle, "out");
    const size = 8 * 1024 * 1024;
    const before = process.memoryUsage().arrayBuffers;
    await fixture.create("slow", { args: ["sh", "-c", `head -c ${size} /dev/zero; echo END`] }, { stdout: path });
    await fixture.call("start", "slow");
    await sleep(500);
    expect(await fixture.call("state", "slow")).toMatchObject({ status: Status.RUNNING });
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 * 1024 * 1024);
    const all = await text(socket);
    expect(all.length).toBe(size + 4);
    expect(all.endsWith("END\n")).toBe(true);
    await fixture.call("wait", "slow");
    await fixture.call("delete", "slow");
  });

  it("keeps output for a reader that comes late", async () => {
    const bundle = fixture.bundle("late", { args: [] });
    const { path } = fixture.input(bundle, "out");
    await fixture.create("late", { args: ["echo", "patience"] }, { stdout: path });
    await fixture.call("start", "late");
    await fixture.call("wait", "late");
    expect(await text(fixture.openReader(path))).toBe("patience\n");
    await fixture.call("delete", "late");
  });

  it("appends both outputs to a file", async () => {
    const file = join(fixture.directory, "logs", "deep", "out.log");
    await fixture.create("file", { args: ["sh", "-c", "echo a; echo b >&2"] }, { stdout: `file://${file}` });
    await fixture.call("start", "file");
    await fixture.call("wait", "file");
    await fixture.call("delete", "file");
    expect(readFileSync(file, "utf8").split("\n").sort()).toEqual(["", "a", "b"]);
  });

  it.each(["binary", "binary-v2"])("gives the outputs to a logger (%s)", async (scheme) => {
    const program = join(fixture.directory, `${scheme}.sh`);
    const result = join(fixture.directory, `${scheme}.out`);
    const ready = scheme === "binary" ? "exec 5>&-" : "printf r >&5; exec 5>&-";
    const script = `#!/bin/sh\n${ready}\necho "$CONTAINER_NAMESPACE/$CONTAINER_ID $*" > ${result}\ncat <&3 >> ${result}\ncat <&4 >> ${result}\n`;
    writeFileSync(program, script, { mode: 0o755 });
    const stdout = `${scheme}://${program}?key=some%20value`;
    await fixture.create(scheme, { args: ["sh", "-c", "echo out; echo err >&2"] }, { stdout, stderr: stdout });
    await fixture.call("start", scheme);
    await fixture.call("wait", scheme);
    await fixture.call("delete", scheme);
    expect(readFileSync(result, "utf8")).toBe(`test/${scheme} key some value\nout\nerr\n`);
  });

  it("an init that ends while an exec is being started ends after it; the exec counts as created", async () => {
    const slow = fixture.runtime("slow-exec", `"$@"`, `case " $* " in *" exec "*) sleep 1;; esac`);
    await fixture.create("racing", { args: ["sleep", "1000"] }, { options: slow });
    const { pid = 0 } = await fixture.call("start", "racing");
    await fixture.exec("racing", "early", ["true"]);
    const starting = codeFrom(fixture.call("start", "racing", "early"));
    process.kill(pid, "SIGKILL");
    await expect.poll(() => fixture.records.some((record) => record.pid === pid)).toBe(true);
    expect(await fixture.call("state", "racing")).toMatchObject({ status: Status.RUNNING });
    await fixture.exec("racing", "late", ["true"]);
    expect(await starting).toBe(Code.Unknown);
    expect(await fixture.call("wait", "racing")).toMatchObject({ exitStatus: 137 });
    for (const execId of ["early", "late"])
      expect(await fixture.call("state", "racing", execId)).toMatchObject({ status: Status.CREATED });
    await fixture.call("delete", "racing");
  });

  it("refuses a logger that ends before it is ready", async () => {
    const program = join(fixture.directory, "lazy.sh");
    writeFileSync(program, "#!/bin/sh\nexit 1\n", { mode: 0o755 });
    const failure = fixture.create("lazy", { args: ["true"] }, { stdout: `binary-v2://${program}` });
    expect(await codeFrom(failure)).toBe(Code.FailedPrecondition);
    expect(fixture.tasks.size).toBe(0);
  });

  it("tells that memory ran out", async () => {
    const args = ["sh", "-c", "head -c 100000000 /dev/zero | tail -c 90000000 | wc -c; exit 0"];
    await fixture.create("oom", { args, memoryLimit: 12 * 1024 * 1024 });
    await fixture.call("start", "oom");
    await fixture.call("wait", "oom");
    expect(fixture.topics("oom")).toContain("/tasks/oom");
    await fixture.call("delete", "oom");
  });

  it("runs twenty at a time and leaves neither descriptors nor processes", async () => {
    const before = await openDescriptors();
    const ids = Array.from({ length: 20 }, (_, index) => `many${index}`);
    const outputs = await Promise.all(
      ids.map(async (id) => {
        const bundle = fixture.bundle(id, { args: [] });
        const out = fixture.reader(bundle, "out");
        await fixture.create(id, { args: ["echo", id] }, { stdout: out.path });
        await fixture.call("start", id);
        await fixture.call("wait", id);
        await fixture.call("delete", id);
        return await out.text;
      }),
    );
    expect(outputs).toEqual(ids.map((id) => `${id}\n`));
    await expect.poll(openDescriptors).toBe(before);
    expect(readFileSync(`/proc/self/task/${process.pid}/children`, "utf8")).toBe("");
  });
});

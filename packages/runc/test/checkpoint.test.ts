import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { setImmediate as turn, setTimeout as sleep } from "node:timers/promises";

import { create, toBinary } from "@bufbuild/protobuf";
import { CheckpointOptionsSchema } from "@berth/api/containerd/runc/v1/options";
import { CheckpointTaskRequestSchema } from "@berth/api/containerd/task/v3/task";
import { Status } from "@berth/api/containerd/v1/types/task";
import { Code, codeOf, messageOf } from "@berth/errors";
import { flock } from "@berth/linux/files";
import { mountAll, unmountRecursive } from "@berth/linux/mount";
import { criuPrograms, debianTool, newerTool } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { type BundleOptions, context, runcOptions, TasksFixture } from "./container-fixture.ts";

const COUNT = ["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"];

const codeFrom = (work: Promise<unknown>): Promise<Code | undefined> => work.then(() => undefined, codeOf);
const messageFrom = (work: Promise<unknown>): Promise<string> => work.then(() => "", messageOf);

describe.each([
  ["1.1", debianTool("runc")],
  ["1.3", newerTool("runc")],
])("checkpoint and restore by CRIU and runc %s", { timeout: 60_000 }, (_, binaryName) => {
  let fixture: TasksFixture;
  let withCriu: string;
  let made = 0;
  const before = process.env["PATH"];
  const options = runcOptions({ binaryName });

  beforeAll(async () => {
    fixture = await TasksFixture.open();
    const programs = directory("programs");
    criuPrograms(programs);
    withCriu = `${programs}:${process.env["PATH"]}`;
    process.env["PATH"] = withCriu;
  });
  afterAll(async () => {
    process.env["PATH"] = before;
    await fixture[Symbol.asyncDispose]();
  });

  const directory = (name: string): string => {
    const path = join(fixture.directory, name);
    mkdirSync(path);
    return path;
  };
  const checkpoint = async (id: string, images: string, fields = {}): Promise<void> => {
    const bytes = toBinary(CheckpointOptionsSchema, create(CheckpointOptionsSchema, fields));
    const any = { typeUrl: CheckpointOptionsSchema.typeName, value: bytes };
    const request = create(CheckpointTaskRequestSchema, { id, path: images, options: any });
    await fixture.service.checkpoint(request, context("checkpoint"));
  };
  /** A container whose standard output is collected. */
  const make = async (id: string, bundleOptions: BundleOptions, from = "", runtime = options) => {
    const bundle = fixture.bundle(id, bundleOptions);
    const { path, socket } = fixture.slowReader(bundle, `out-${made++}`);
    let text = "";
    socket
      .setEncoding("utf8")
      .on("data", (chunk: string) => (text += chunk))
      .resume();
    await fixture.create(id, bundleOptions, { options: runtime, stdout: path, checkpoint: from });
    return {
      bundle,
      numbers: (): number[] => text.split("\n").slice(0, -1).map(Number),
      text: (): string => text,
    };
  };
  const cgroupsOf = (id: string): string[] =>
    readdirSync("/sys/fs/cgroup")
      .flatMap((hierarchy) => readdirSync(join("/sys/fs/cgroup", hierarchy)))
      .filter((name) => name === `berth-test-${process.pid}-${id}`);

  it("a counter goes on, also in a container of another name; nothing is left", async () => {
    const from = await make("from", { args: COUNT });
    await fixture.call("start", "from");
    await expect.poll(() => from.numbers().length).toBeGreaterThan(3);
    const images = directory("images");
    await checkpoint("from", images);
    expect(fixture.topics("from")).toContain("/tasks/checkpointed");
    expect(await fixture.call("state", "from")).toMatchObject({ status: Status.RUNNING });
    const written = from.numbers().length;
    await expect.poll(() => from.numbers().length).toBeGreaterThan(written + 3);
    await checkpoint("from", directory("last"), { exit: true, workPath: directory("work") });
    expect(readdirSync(join(fixture.directory, "work"))).toContain("dump.log");
    expect((await fixture.call("wait", "from")).exitStatus).toBe(137);
    await fixture.call("delete", "from");
    expect(from.numbers()).toEqual(from.numbers().map((__, index) => index + 1));

    const to = await make("to", { args: COUNT }, images);
    expect(await fixture.call("state", "to")).toMatchObject({ status: Status.CREATED, pid: 0 });
    expect(await codeFrom(fixture.exec("to", "early", ["true"]))).toBe(Code.Unknown);
    const { pid } = await fixture.call("start", "to");
    expect(await fixture.call("state", "to")).toMatchObject({ status: Status.RUNNING, pid });
    await expect.poll(() => to.numbers().length).toBeGreaterThan(3);
    await fixture.exec("to", "later", ["true"]);
    await fixture.call("start", "to", "later");
    expect((await fixture.call("wait", "to", "later")).exitStatus).toBe(0);
    expect(cgroupsOf("to").length).toBeGreaterThan(0);
    expect(cgroupsOf("from")).toEqual([]);
    // And again, of what was restored.
    const further = directory("further");
    await checkpoint("to", further, { exit: true });
    await fixture.call("wait", "to");
    await fixture.call("delete", "to");
    const [first = 0] = to.numbers();
    expect(first).toBeGreaterThan(3);
    expect(first).toBeLessThanOrEqual(from.numbers().length);
    expect(to.numbers()).toEqual(to.numbers().map((__, index) => first + index));
    const topics = fixture.topics("to").filter((topic) => !topic.includes("exec") && topic !== "record");
    expect(topics.filter((topic) => topic !== "/tasks/checkpointed")).toEqual([
      "/tasks/create",
      "/tasks/start",
      "/tasks/exit",
      "/tasks/exit",
      "/tasks/delete",
    ]);
    const third = await make("third", { args: COUNT }, further);
    await fixture.call("start", "third");
    await expect.poll(() => third.numbers()[0]).toBeGreaterThanOrEqual(to.numbers().length + first);
    await fixture.remove("third");
    expect(["from", "to", "third"].flatMap(cgroupsOf)).toEqual([]);
    expect(readdirSync(join(fixture.directory, "runc", "test"))).toEqual([]);
  });

  it("a paused container stays so, and runs where it is restored", async () => {
    const from = await make("still", { args: COUNT });
    await fixture.call("start", "still");
    await expect.poll(() => from.numbers().length).toBeGreaterThan(3);
    await fixture.call("pause", "still");
    const images = directory("still-images");
    await checkpoint("still", images);
    expect(await fixture.call("state", "still")).toMatchObject({ status: Status.PAUSED });
    const written = from.numbers().length;
    const to = await make("moving", { args: COUNT }, images);
    await fixture.call("start", "moving");
    await expect.poll(() => to.numbers()[0]).toBe(written + 1);
    expect(from.numbers()).toHaveLength(written);
    await fixture.call("resume", "still");
    await expect.poll(() => from.numbers().length).toBeGreaterThan(written);
    for (const id of ["still", "moving"]) await fixture.remove(id);
  });

  it("a container runs on where its checkpoint fails", async () => {
    const from = await make("on", { args: COUNT });
    await fixture.call("start", "on");
    const small = directory("small");
    await mountAll([{ type: "tmpfs", source: "tmpfs", options: ["size=128k"] }], small);
    try {
      const failed = checkpoint("on", small, { exit: true });
      expect(await codeFrom(failed)).toBe(Code.Unknown);
      const message = await messageFrom(failed);
      expect(message).toMatch(/log file: \S+dump\.log; .*No space left on device/);
      expect(message).not.toContain("\n");
    } finally {
      await unmountRecursive(small);
    }
    const broken = directory("broken");
    writeFileSync(join(broken, "criu"), "#!/bin/sh\nkill -9 $$\n", { mode: 0o755 });
    process.env["PATH"] = `${broken}:${withCriu}`;
    try {
      const failed = checkpoint("on", directory("killed"), { exit: true });
      expect(await codeFrom(failed)).toBe(Code.Unknown);
    } finally {
      process.env["PATH"] = withCriu;
    }
    expect(await codeFrom(checkpoint("on", join(fixture.directory, "not", "there"), { exit: true }))).toBeUndefined();
    await fixture.call("wait", "on");
    await fixture.call("delete", "on");
    expect(from.numbers()).toEqual(from.numbers().map((__, index) => index + 1));
  });

  it("a container that cannot be restored leaves nothing", async () => {
    await make("whole", { args: COUNT });
    await fixture.call("start", "whole");
    const images = directory("cut");
    await checkpoint("whole", images, { exit: true });
    await fixture.call("wait", "whole");
    await fixture.call("delete", "whole");
    const pages = readdirSync(images).find((name) => name.startsWith("pages-")) ?? "";
    truncateSync(join(images, pages), 4096);
    // CRIU reads what is cut off again and again
    const criuWorkPath = directory("endless-work");
    await make("endless", { args: COUNT }, images, runcOptions({ binaryName, criuWorkPath }));
    const endless = fixture.call("start", "endless");
    endless.catch(() => {});
    // its view of all cgroups
    await expect.poll(() => readdirSync(criuWorkPath)).toContainEqual(expect.stringMatching(/^\.criu\./));
    expect(await codeFrom(fixture.kill("endless", constants.signals.SIGUSR1))).toBe(Code.NotFound);
    expect(readdirSync(join(fixture.directory, "endless"))).toContain("creating.json");
    await fixture.kill("endless").catch(() => {});
    expect(await codeFrom(endless)).toBe(Code.Unknown);
    await fixture.call("delete", "endless");
    expect(readFileSync("/proc/mounts", "utf8")).not.toContain(join(fixture.directory, "endless"));
    expect(readdirSync(criuWorkPath)).toEqual(["restore.log"]);
    truncateSync(join(images, "inventory.img"), 5);
    for (const from of [images, directory("nothing"), join(fixture.directory, "none")]) {
      await make("part", { args: COUNT }, from);
      const failed = fixture.call("start", "part");
      expect(await codeFrom(failed)).toBe(Code.Unknown);
      await fixture.call("delete", "part");
    }
    expect(["whole", "part", "endless"].flatMap(cgroupsOf)).toEqual([]);
    expect(readdirSync(join(fixture.directory, "runc", "test"))).toEqual([]);
  });

  it("restores that share a directory of CRIU's work in it one after the other", async () => {
    const [criuWorkPath, seen] = [directory("shared-work"), join(fixture.directory, "seen")];
    writeFileSync(seen, "");
    const runtime = (id: string) => {
      const during = `echo ${id} begins >> ${seen}; sleep 0.5; echo ${id} ends >> ${seen}; exit 1`;
      const path = join(fixture.directory, `runc-${id}`);
      writeFileSync(path, `#!/bin/sh\ncase " $* " in *" restore "*) ${during};; esac\nexec ${binaryName} "$@"\n`, {
        mode: 0o755,
      });
      return runcOptions({ binaryName: path, criuWorkPath });
    };
    const ids = ["one", "two"];
    for (const id of ids) await make(id, { args: COUNT }, "/images/x", runtime(id));
    const codes = await Promise.all(ids.map((id) => codeFrom(fixture.call("start", id))));
    expect(codes).toEqual([Code.Unknown, Code.Unknown]);
    const [first, second] = readFileSync(seen, "utf8").startsWith("one") ? ids : ids.toReversed();
    expect(readFileSync(seen, "utf8")).toBe(`${first} begins\n${first} ends\n${second} begins\n${second} ends\n`);
    for (const id of ids) await fixture.call("delete", id);
  });

  it("a restore that waits for a directory of CRIU's work is ended at once", async () => {
    const criuWorkPath = directory("held-work");
    using held = new DisposableStack();
    expect(flock(held.adopt(openSync(criuWorkPath, "r"), closeSync))).toBe(true);
    await make("waits", { args: COUNT }, "/images/x", runcOptions({ binaryName, criuWorkPath }));
    const started = codeFrom(fixture.call("start", "waits"));
    await turn();
    expect(await codeFrom(fixture.kill("waits", constants.signals.SIGUSR1))).toBe(Code.NotFound);
    expect(await codeFrom(fixture.kill("waits"))).toBeUndefined();
    expect(await started).toBe(Code.Unknown);
    held.dispose();
    expect(existsSync(join(criuWorkPath, "restore.log"))).toBe(false);
    await fixture.call("delete", "waits");
  });

  it("tells the reason of a restore, and not what others were refused meanwhile", async () => {
    const path = join(fixture.directory, "runc-reason");
    const log = `while [ "$1" != --log ]; do shift; done; printf '{"level":"error","msg":"own reason"}\\n' >> $2; sleep 0.5`;
    writeFileSync(path, `#!/bin/sh\ncase " $* " in *" restore "*) ${log}; exit 1;; esac\nexec ${binaryName} "$@"\n`, {
      mode: 0o755,
    });
    await make("reason", { args: COUNT }, "/images/x", runcOptions({ binaryName: path }));
    const failed = messageFrom(fixture.call("start", "reason"));
    await expect.poll(() => existsSync(join(fixture.directory, "reason", "creating.json"))).toBe(true);
    await sleep(200);
    expect(await codeFrom(fixture.call("pids", "reason"))).toBe(Code.NotFound);
    expect(await failed).toMatch(/own reason/);
    await fixture.call("delete", "reason");
  });

  it("say that CRIU is missing where it is", async () => {
    const hasCriu = (place: string): boolean => existsSync(join(place, "criu"));
    const places = withCriu.split(":").filter((place) => !hasCriu(place));
    process.env["PATH"] = places.join(":");
    try {
      await make("none", { args: COUNT });
      expect(await codeFrom(checkpoint("none", "/images/x"))).toBe(Code.Unknown);
      await fixture.call("start", "none");
      expect(await codeFrom(checkpoint("none", "/images/x"))).toBe(Code.FailedPrecondition);
      expect(await fixture.call("state", "none")).toMatchObject({ status: Status.RUNNING });
      await fixture.remove("none");
      await make("back", { args: COUNT }, "/images/x");
      expect(await codeFrom(fixture.call("start", "back"))).toBe(Code.FailedPrecondition);
      await fixture.call("delete", "back");
    } finally {
      process.env["PATH"] = withCriu;
    }
  });
});

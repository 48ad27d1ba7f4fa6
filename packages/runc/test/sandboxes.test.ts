import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";

import { create, type DescMessage, fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { createHandlerContext } from "@connectrpc/connect";
import { Sandbox } from "@berth/api/containerd/runtime/sandbox/v1/sandbox";
import { Status } from "@berth/api/containerd/v1/types/task";
import { MetricsSchema } from "@berth/api/io/containerd/cgroups/v1/metrics";
import { Code, codeOf } from "@berth/errors";
import { flock } from "@berth/linux/files";
import { readMountInfo } from "@berth/linux/mount";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";

import { runcOptions, TasksFixture } from "./container-fixture.ts";

type Method = keyof typeof Sandbox.method;
const codeFrom = (work: Promise<unknown>): Promise<Code | undefined> => work.then(() => undefined, codeOf);

describe("sandboxes over runc", { timeout: 60_000 }, () => {
  let fixture: TasksFixture;
  beforeAll(async () => {
    fixture = await TasksFixture.open();
  });
  afterAll(() => fixture[Symbol.asyncDispose]());

  const call = async (name: Method, init: Readonly<Record<string, unknown>>): Promise<Record<string, unknown>> => {
    const method = Sandbox.method[name];
    const context = createHandlerContext({
      service: Sandbox,
      method,
      requestMethod: "POST",
      protocolName: "ttrpc",
      url: "ttrpc:///",
    });
    const request = create(method.input as DescMessage, init as MessageInitShape<DescMessage>); // of the method named
    // the handlers cannot be indexed by a union of names
    const handler = fixture.tasks.sandbox[name] as (message: unknown, context: unknown) => unknown;
    return (await handler(request, context)) as Record<string, unknown>; // a message
  };
  /** This runs a script up to its line `echo ready`: a signal that comes before a trap is set is lost on the first process. */
  const run = async (id: string, script: string, sandboxId: string): Promise<void> => {
    const output = join(fixture.directory, `${id}.out`);
    writeFileSync(output, "");
    await fixture.create(id, { args: ["sh", "-c", script], sandboxId }, { stdout: output });
    await fixture.call("start", id);
    await expect.poll(() => readFileSync(output, "utf8"), { timeout: 30_000 }).toBe("ready\n");
  };

  it.each(["startSandbox", "stopSandbox", "shutdownSandbox", "waitSandbox", "sandboxStatus", "pingSandbox"] as const)(
    "%s of an unknown sandbox is not found",
    async (method) => expect(await codeFrom(call(method, { sandboxId: "nobody" }))).toBe(Code.NotFound),
  );

  it("lives from create to shutdown, and keeps the shim meanwhile", async () => {
    const bundlePath = join(fixture.directory, "s1");
    mkdirSync(join(bundlePath, "rootfs"), { recursive: true });
    const rootfs = [{ type: "bind", source: join(fixture.directory, "image"), options: ["rbind", "ro"] }];
    await call("createSandbox", { sandboxId: "s1", bundlePath, rootfs, netnsPath: "/run/netns/x" });
    expect(fixture.tasks.size).toBe(1);
    expect(existsSync(join(bundlePath, "rootfs", "bin", "busybox"))).toBe(true);
    expect(await codeFrom(call("createSandbox", { sandboxId: "s1", bundlePath }))).toBe(Code.AlreadyExists);
    expect(await codeFrom(call("createSandbox", { sandboxId: "../up", bundlePath }))).toBe(Code.InvalidArgument);
    expect(await call("startSandbox", { sandboxId: "s1" })).toMatchObject({ pid: process.pid });
    expect(await codeFrom(call("startSandbox", { sandboxId: "s1" }))).toBe(Code.FailedPrecondition);
    expect(await call("platform", { sandboxId: "s1" })).toMatchObject({ platform: { os: "linux" } });
    expect(await call("sandboxStatus", { sandboxId: "s1" })).toMatchObject({ state: "SANDBOX_READY", info: {} });
    await call("shutdownSandbox", { sandboxId: "s1" });
    expect(readMountInfo().some(({ mountPoint }) => mountPoint.startsWith(bundlePath))).toBe(false);
    expect(fixture.tasks.size).toBe(0);
    expect(await codeFrom(call("pingSandbox", { sandboxId: "s1" }))).toBe(Code.NotFound);
  });

  it("made twice at a time is made once, and keeps the shim while it is made", async () => {
    const bundlePath = join(fixture.directory, "twice");
    mkdirSync(join(bundlePath, "rootfs"), { recursive: true });
    const rootfs = [{ type: "bind", source: join(fixture.directory, "image"), options: ["rbind", "ro"] }];
    const both = [1, 2].map(() => codeFrom(call("createSandbox", { sandboxId: "twice", bundlePath, rootfs })));
    expect(fixture.tasks.size).toBe(1);
    expect((await Promise.all(both)).toSorted()).toEqual([Code.AlreadyExists, undefined]);
    await call("shutdownSandbox", { sandboxId: "twice" });
    expect(readMountInfo().some(({ mountPoint }) => mountPoint.startsWith(bundlePath))).toBe(false);
    expect(fixture.tasks.size).toBe(0);
  });

  it("measures its own containers together, and stops them: asked first, killed then, frozen or not", async () => {
    for (const sandboxId of ["s2", "other"]) {
      await call("createSandbox", { sandboxId, bundlePath: fixture.directory });
      await call("startSandbox", { sandboxId });
    }
    await run("polite", "trap 'exit 3' TERM; echo ready; while true; do sleep 0.05; done", "s2");
    await run("deaf", "trap '' TERM; echo ready; while true; do sleep 0.05; done", "s2");
    await run("frozen", "echo ready; while true; do sleep 0.05; done", "s2");
    await run("foreign", "echo ready; while true; do sleep 0.05; done", "other");
    await fixture.call("pause", "frozen");
    const { metrics } = await call("sandboxMetrics", { sandboxId: "s2" });
    const { id, data } = metrics as { id: string; data: { typeUrl: string; value: Uint8Array } }; // of this method
    expect([id, data.typeUrl]).toEqual(["s2", "io.containerd.cgroups.v1.Metrics"]);
    expect(Number(fromBinary(MetricsSchema, data.value).pids?.current)).toBeGreaterThanOrEqual(3);
    const { info } = await call("sandboxStatus", { sandboxId: "s2", verbose: true });
    expect(info).toMatchObject({ containers: JSON.stringify(["polite", "deaf", "frozen"]) });
    const waiting = call("waitSandbox", { sandboxId: "s2" });
    await call("stopSandbox", { sandboxId: "s2", timeoutSecs: 1 });
    expect(await waiting).toMatchObject({ exitStatus: 0 });
    expect(await fixture.call("wait", "polite")).toMatchObject({ exitStatus: 3 });
    expect(await fixture.call("wait", "deaf")).toMatchObject({ exitStatus: 137 });
    expect(await fixture.call("state", "frozen")).toMatchObject({ status: Status.STOPPED });
    expect(await fixture.call("state", "foreign")).toMatchObject({ status: Status.RUNNING });
    expect(await call("sandboxStatus", { sandboxId: "s2" })).toMatchObject({ state: "SANDBOX_NOTREADY", pid: 0 });
    await call("stopSandbox", { sandboxId: "s2" });
    for (const each of ["polite", "deaf", "frozen"]) await fixture.call("delete", each);
    await call("shutdownSandbox", { sandboxId: "s2" });
    await call("shutdownSandbox", { sandboxId: "other" });
    expect(await fixture.call("state", "foreign")).toMatchObject({ status: Status.STOPPED });
    await fixture.call("delete", "foreign");
  });

  it("a container that is being made is stopped too, and none comes into a sandbox that is stopped", async () => {
    await call("createSandbox", { sandboxId: "s3", bundlePath: fixture.directory });
    await call("startSandbox", { sandboxId: "s3" });
    const slow = fixture.runtime("slow-create", `"$@"`, `case " $* " in *" create "*) sleep 0.5;; esac`);
    const forever = { args: ["sleep", "1000"], sandboxId: "s3" };
    const coming = fixture.create("coming", forever, { options: slow });
    await expect.poll(() => fixture.tasks.isCounted("coming")).toBe(true);
    await call("stopSandbox", { sandboxId: "s3" });
    await coming;
    expect(await fixture.call("state", "coming")).toMatchObject({ status: Status.STOPPED });
    expect(await codeFrom(fixture.create("late", forever))).toBe(Code.FailedPrecondition);
    expect(await codeFrom(fixture.call("start", "coming"))).toBe(Code.FailedPrecondition);
    await fixture.call("delete", "coming");
    await call("shutdownSandbox", { sandboxId: "s3" });
    await fixture.create("late-again", forever);
    await fixture.remove("late-again");
  });

  it("a container that hangs while it is made keeps no other running", async () => {
    await call("createSandbox", { sandboxId: "s5", bundlePath: fixture.directory });
    await call("startSandbox", { sandboxId: "s5" });
    await run("runs", "echo ready; exec sleep 1000", "s5");
    const release = join(fixture.directory, "release");
    const wait = `case " $* " in *" create "*) while [ ! -e ${release} ]; do sleep 0.05; done;; esac`;
    const goOn = (): void => writeFileSync(release, "");
    onTestFinished(goOn);
    const hung = fixture.runtime("hung-create", `"$@"`, wait);
    const hanging = fixture.create("hangs", { args: ["sleep", "1000"], sandboxId: "s5" }, { options: hung });
    await expect.poll(() => fixture.tasks.isCounted("hangs")).toBe(true);
    const stopping = codeFrom(call("stopSandbox", { sandboxId: "s5" }));
    const ended = fixture.call("wait", "runs").then(() => "runs");
    expect(await Promise.race([ended, stopping, hanging])).toBe("runs");
    goOn();
    await hanging;
    expect(await stopping).toBeUndefined();
    expect(await fixture.call("state", "hangs")).toMatchObject({ status: Status.STOPPED });
    for (const each of ["runs", "hangs"]) await fixture.call("delete", each);
    await call("shutdownSandbox", { sandboxId: "s5" });
  });

  it("a restore that waits for a directory of CRIU's work ends with its sandbox", async () => {
    await call("createSandbox", { sandboxId: "s6", bundlePath: fixture.directory });
    await call("startSandbox", { sandboxId: "s6" });
    const criuWorkPath = join(fixture.directory, "held-work");
    mkdirSync(criuWorkPath);
    using held = new DisposableStack();
    expect(flock(held.adopt(openSync(criuWorkPath, "r"), closeSync))).toBe(true);
    const options = runcOptions({ criuWorkPath });
    await fixture.create("waits", { args: ["true"], sandboxId: "s6" }, { checkpoint: "/images/x", options });
    const started = codeFrom(fixture.call("start", "waits"));
    await turn();
    await call("stopSandbox", { sandboxId: "s6" });
    held.dispose();
    expect(await started).toBe(Code.Unknown);
    expect(readdirSync(criuWorkPath)).toEqual([]);
    await fixture.call("delete", "waits");
    await call("shutdownSandbox", { sandboxId: "s6" });
  });

  it("a time to stop in that is longer than any timer is waited for", async () => {
    await call("createSandbox", { sandboxId: "s4", bundlePath: fixture.directory });
    await call("startSandbox", { sandboxId: "s4" });
    await run("slow", "trap 'sleep 0.3; exit 3' TERM; echo ready; while true; do sleep 0.05; done", "s4");
    await call("stopSandbox", { sandboxId: "s4", timeoutSecs: 2 ** 32 - 1 });
    expect(await fixture.call("wait", "slow")).toMatchObject({ exitStatus: 3 });
    await fixture.call("delete", "slow");
    await call("shutdownSandbox", { sandboxId: "s4" });
  });
});

import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { Events } from "@berth/api/containerd/services/events/v1/events";
import { Controller, Store } from "@berth/api/containerd/services/sandbox/v1/sandbox";
import { Containers } from "@berth/api/containerd/services/containers/v1/containers";
import { Tasks } from "@berth/api/containerd/services/tasks/v1/tasks";
import { createUnixTransport, type Transport } from "@berth/client/transport";
import { codeName, codeOf } from "@berth/errors";
import type { PeerDaemon } from "@berth/testing";
import { BUSYBOX_IMAGE, busyboxImage, startBerthd, temporaryDirectory } from "@berth/testing";
import { createClient } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const RUNTIME = "io.example.sandbox.v1";
const NAMESPACE = "pods";
const sandboxer = "shim";

/** The service of controllers over the controller `shim`, with a shim that keeps sandboxes as mere records. */
describe("sandboxes", { timeout: 60_000 }, () => {
  const stack = new AsyncDisposableStack();
  let daemon: PeerDaemon;
  let transport: Transport & { close(): void };
  const controller = () => createClient(Controller, transport);

  beforeAll(async () => {
    const { path } = stack.use(await temporaryDirectory("sandbox"));
    const main = join(import.meta.dirname, "sandbox-shim-child.ts");
    const command = `exec '${process.execPath}' --conditions=@berth/source --disable-warning=ExperimentalWarning '${main}' "$@"`;
    await writeFile(join(path, "containerd-shim-sandbox-v1"), `#!/bin/sh\n${command}\n`, { mode: 0o755 });
    daemon = stack.use(await startBerthd({ path: [path], env: { SANDBOX_SHIM_SOCKETS: path } }));
    transport = connect();
  });
  afterAll(() => stack.disposeAsync());

  const connect = () => createUnixTransport({ path: daemon.address, namespace: NAMESPACE });
  const sandboxOf = (sandboxId: string) => ({ sandboxId, runtime: { name: RUNTIME }, sandboxer });
  const make = async (sandboxId: string, annotations: Record<string, string> = {}) => {
    const sandbox = sandboxOf(sandboxId);
    await createClient(Store, transport).create({ sandbox });
    await controller().create({ sandboxId, sandboxer, sandbox, annotations, netnsPath: "/proc/1/ns/net" });
  };
  const bundle = (id: string) => join(daemon.state, "io.containerd.sandbox.controller.v1.shim", NAMESPACE, id);
  const bundles = () =>
    readdir(join(daemon.state, "io.containerd.sandbox.controller.v1.shim", NAMESPACE)).catch(() => []);
  const codeThrown = (work: Promise<unknown>): Promise<string> =>
    work.then(
      () => "ok",
      (error: unknown) => codeName(codeOf(error)),
    );

  it("a sandbox goes through its life, with its events", async () => {
    const topics: string[] = [];
    const end = new AbortController();
    const watching = (async () => {
      const options = { signal: end.signal };
      for await (const { topic } of createClient(Events, transport).subscribe(
        { filters: ["topic~=/sandboxes/"] },
        options,
      ))
        topics.push(topic);
    })().catch(() => {});
    await make("s1", { a: "b" });
    expect(JSON.parse(await readFile(join(bundle("s1"), "created.json"), "utf8"))).toEqual({
      annotations: { a: "b" },
      netnsPath: "/proc/1/ns/net",
    });
    expect(await codeThrown(controller().create({ sandboxId: "s1", sandboxer, sandbox: sandboxOf("s1") }))).toBe(
      "already_exists",
    );
    expect((await controller().status({ sandboxId: "s1", sandboxer })).state).toBe("SANDBOX_NOTREADY");
    const started = await controller().start({ sandboxId: "s1", sandboxer });
    expect(started).toMatchObject({ sandboxId: "s1", version: 3, address: expect.stringMatching(/^ttrpc\+unix:\/\//) });
    expect(started.pid).toBeGreaterThan(0);
    const status = await controller().status({ sandboxId: "s1", sandboxer, verbose: true });
    expect(status).toMatchObject({ state: "SANDBOX_READY", pid: started.pid, info: { verbose: "yes" } });
    expect((await controller().platform({ sandboxId: "s1", sandboxer })).platform).toMatchObject({
      architecture: "riscv64",
    });
    expect((await controller().metrics({ sandboxId: "s1", sandboxer })).metrics).toMatchObject({
      id: "s1",
      data: { typeUrl: "a.Metric" },
    });
    await controller().update({ sandboxId: "s1", sandboxer, sandbox: sandboxOf("s1"), fields: ["labels"] });
    expect(await codeThrown(controller().update({ sandboxId: "s1", sandboxer }))).toBe("unknown");
    const waiting = controller().wait({ sandboxId: "s1", sandboxer });
    await controller().stop({ sandboxId: "s1", sandboxer, timeoutSecs: 1 });
    expect((await waiting).exitStatus).toBe(7);
    await controller().shutdown({ sandboxId: "s1", sandboxer });
    expect(await bundles()).toEqual([]);
    await expect.poll(() => topics).toEqual(["/sandboxes/create", "/sandboxes/start", "/sandboxes/exit"]);
    end.abort();
    await watching;
  });

  it("one that is not there can be stopped, shut down, waited for and asked, but not started", async () => {
    const sandboxId = "none";
    await controller().stop({ sandboxId, sandboxer });
    await controller().shutdown({ sandboxId, sandboxer });
    expect((await controller().wait({ sandboxId, sandboxer })).exitStatus).toBe(255);
    const status = await controller().status({ sandboxId, sandboxer });
    expect(status).toMatchObject({ sandboxId, pid: 0, state: "" });
    expect(Number(status.exitedAt?.seconds)).toBeGreaterThan(Date.now() / 1000 - 60);
    expect(await codeThrown(controller().start({ sandboxId, sandboxer }))).toBe("not_found");
    expect(await codeThrown(controller().platform({ sandboxId, sandboxer }))).toBe("not_found");
    expect(await codeThrown(controller().metrics({ sandboxId, sandboxer }))).toBe("not_found");
  });

  it.each([
    ["no controller", { sandboxer: "" }, "invalid_argument"],
    ["an unknown controller", { sandboxer: "other" }, "not_found"],
    ["no runtime", { sandboxer, sandbox: { sandboxId: "bad" } }, "invalid_argument"],
    [
      "an unknown runtime",
      { sandboxer, sandbox: { sandboxId: "bad", runtime: { name: "io.example.none.v1" } } },
      "not_found",
    ],
  ])("create with %s is refused, and leaves nothing", async (_, request, code) => {
    expect(await codeThrown(controller().create({ sandboxId: "bad", ...request }))).toBe(code);
    expect(await bundles()).toEqual([]);
  });

  it.each(["create", "start"])("a %s that fails leaves neither shim nor bundle", async (fail) => {
    const sandboxId = `fails-${fail}`;
    const made = make(sandboxId, { fail });
    if (fail === "create") expect(await codeThrown(made)).toBe("failed_precondition");
    else {
      await made;
      expect(await codeThrown(controller().start({ sandboxId, sandboxer }))).toBe("failed_precondition");
    }
    expect(await bundles()).toEqual([]);
    expect(await codeThrown(controller().start({ sandboxId, sandboxer }))).toBe("not_found");
  });

  it("a shim that dies is the end of its sandbox: who waits is told, and nothing is left", async () => {
    await make("dies");
    const { pid } = await controller().start({ sandboxId: "dies", sandboxer });
    const waiting = controller().wait({ sandboxId: "dies", sandboxer });
    process.kill(pid, "SIGKILL");
    expect((await waiting).exitStatus).toBe(137);
    expect(await bundles()).toEqual([]);
    expect((await controller().status({ sandboxId: "dies", sandboxer })).state).toBe("");
  });

  it("containers of a sandbox go to its shim, and their tasks stay there over a restart of the daemon", async () => {
    await make("pod");
    await controller().start({ sandboxId: "pod", sandboxer });
    const spec = {
      typeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Spec",
      value: new TextEncoder().encode("{}"),
    };
    const container = { id: "inside", runtime: { name: RUNTIME }, spec, sandbox: "pod" };
    await createClient(Containers, transport).create({ container });
    await createClient(Tasks, transport).create({ containerId: "inside" });
    const taskBundle = join(daemon.state, "io.containerd.runtime.v2.task", NAMESPACE, "inside");
    expect(await readFile(join(taskBundle, "sandbox"), "utf8")).toBe("pod");
    const tasks = async () => (await controller().status({ sandboxId: "pod", sandboxer })).info["tasks"];
    expect(await tasks()).toBe("inside");
    transport.close();
    await daemon.restart({ signal: "SIGKILL" });
    transport = connect();
    expect(await tasks()).toBe("inside");
    await createClient(Tasks, transport).delete({ containerId: "inside" });
    expect(await tasks()).toBe("");
    await controller().shutdown({ sandboxId: "pod", sandboxer });
    expect(await bundles()).toEqual([]);
  });

  it("berth's shim: a container runs in the sandbox's process, and ends with the sandbox", async () => {
    await daemon.ctr(["-n", NAMESPACE, "image", "import", "-"], { input: (await busyboxImage()).archive });
    const made = await daemon.ctr(["-n", NAMESPACE, "c", "create", BUSYBOX_IMAGE, "model", "sleep", "1000"]);
    expect(made.stderr).toBe("");
    const containers = createClient(Containers, transport);
    const { container } = await containers.get({ id: "model" });
    if (container?.runtime === undefined || container.spec === undefined) throw new Error("no record");
    const { image, runtime, spec, snapshotter, snapshotKey } = container;
    const record = { image, runtime, spec, snapshotter, snapshotKey };
    await containers.create({ container: { ...record, id: "real", sandbox: "own" } });
    const sandbox = { sandboxId: "own", runtime: { name: "io.containerd.runc.v2" }, sandboxer };
    await createClient(Store, transport).create({ sandbox });
    await controller().create({ sandboxId: "own", sandboxer, sandbox });
    const { pid: shim } = await controller().start({ sandboxId: "own", sandboxer });
    const tasks = createClient(Tasks, transport);
    const { pid } = await tasks.create({ containerId: "real" });
    await tasks.start({ containerId: "real" });
    expect(await readFile(`/proc/${pid}/status`, "utf8")).toMatch(new RegExp(`^PPid:\\s*${shim}$`, "m"));
    const { info } = await controller().status({ sandboxId: "own", sandboxer, verbose: true });
    expect(info["containers"]).toBe('["real"]');
    const waiting = [tasks.wait({ containerId: "real" }), controller().wait({ sandboxId: "own", sandboxer })];
    await controller().stop({ sandboxId: "own", sandboxer });
    const [task, end] = await Promise.all(waiting);
    expect([task?.exitStatus, end?.exitStatus]).toEqual([137, 0]);
    expect(await tasks.delete({ containerId: "real" })).toMatchObject({ exitStatus: 137 });
    await controller().shutdown({ sandboxId: "own", sandboxer });
    expect(await bundles()).toEqual([]);
    const status = () => readFile(`/proc/${shim}/status`, "utf8").catch(() => "State:\tZ");
    await expect.poll(status, { timeout: 10_000 }).toMatch(/^State:\tZ/m);
  });

  it("after a restart, sandboxes without a record and those of dead shims are removed", async () => {
    await make("forgotten");
    await make("dead");
    const { pid } = await controller().start({ sandboxId: "dead", sandboxer });
    const forgotten = await controller().start({ sandboxId: "forgotten", sandboxer });
    await createClient(Store, transport).delete({ sandboxId: "forgotten" });
    transport.close();
    await daemon.restart({ whileDown: async () => void process.kill(pid, "SIGKILL") });
    transport = connect();
    expect(await bundles()).toEqual([]);
    // Its new parent may take its time to reap it.
    const status = () => readFile(`/proc/${forgotten.pid}/status`, "utf8").catch(() => "State:\tZ");
    await expect.poll(status).toMatch(/^State:\tZ/m);
    expect((await controller().status({ sandboxId: "dead", sandboxer })).state).toBe("");
  });
});

import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, readlinkSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import { Pool } from "@berth/api/berth/shim/v1/shim";
import { Sandbox } from "@berth/api/containerd/runtime/sandbox/v1/sandbox";
import { BootstrapParamsSchema, BootstrapResultSchema } from "@berth/api/containerd/runtime/bootstrap/v1/bootstrap";
import { OptionsSchema } from "@berth/api/containerd/runc/v1/options";
import { DeleteResponseSchema } from "@berth/api/containerd/task/v2/task";
import { RuntimeInfoSchema } from "@berth/api/containerd/types/introspection";
import { cgroupHierarchies, cgroupMode, parseCgroupFile } from "@berth/linux/cgroups";
import { debianPath, debianTool, temporaryDirectory } from "@berth/testing";
import { createTtrpcTransport } from "@berth/ttrpc";
import { afterEach, describe, expect, it } from "vitest";

import { ended, isAlive, ShimFixture } from "./shim-fixture.ts";
import { cgroupsOfTests, runtimesOf } from "./shim-state.ts";

describe("containerd-shim-berth-v2", { timeout: 60_000 }, () => {
  let fixture: ShimFixture;
  const shims = new Set<number>();
  const open = async (env: Record<string, string> = {}): Promise<void> => {
    fixture = await ShimFixture.open(env);
  };
  /** The process behind an address; it is killed after the test, if it is still there. */
  const shimPid = async (address: string, id: string): Promise<number> => {
    const { shimPid: pid } = await fixture.client(address).connect({ id });
    shims.add(pid);
    return pid;
  };
  afterEach(async () => {
    for (const pid of shims) if (isAlive(pid)) process.kill(pid, "SIGKILL");
    shims.clear();
    await fixture[Symbol.asyncDispose]();
  });

  it("serves a container of its own session, without anything of its parent, and ends by itself", async () => {
    await open();
    const bundle = fixture.bundle("c1", ["sh", "-c", "exit 5"]);
    const address = await fixture.start("c1");
    const client = fixture.client(address);
    const pid = await shimPid(address, "c1");
    const session = Number(readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ")[3]);
    expect(session).toBe(pid);
    expect(readlinkSync(`/proc/${pid}/cwd`)).toBe("/");
    await fixture.launch(client, "c1");
    expect(await client.wait({ id: "c1" })).toMatchObject({ exitStatus: 5 });
    const record: unknown = JSON.parse(readFileSync(join(bundle, "exits", "init.json"), "utf8"));
    expect(record).toMatchObject({ id: "c1", execId: "", exitStatus: 5 });
    await client.delete({ id: "c1" });
    await client.shutdown({ id: "c1" });
    expect(await ended(pid)).toBe(true);
    expect(fixture.topics).toEqual(["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]);
    expect(readdirSync(join(fixture.directory, "s"))).toEqual([]);
  });

  it.each(["/", "../"])("is in the cgroup that the options name: below %j", async (before) => {
    await open();
    fixture.bundle("c1", ["true"]);
    const name = `berth-test-${process.pid}-shim`;
    const options = toBinary(OptionsSchema, create(OptionsSchema, { shimCgroup: `${before}${name}/inner` }));
    const input = toBinary(AnySchema, create(AnySchema, { typeUrl: OptionsSchema.typeName, value: options }));
    const { code, stdout, stderr } = await fixture.run("c1", "start", { input });
    expect([code, stderr]).toEqual([0, ""]);
    const pid = await shimPid(new TextDecoder().decode(stdout), "c1");
    const unified = cgroupMode() === "unified";
    const places = parseCgroupFile(readFileSync(`/proc/${pid}/cgroup`, "utf8"));
    if (!unified) places.delete("");
    expect(new Set(places.values())).toEqual(new Set([`/${name}/inner`]));
    process.kill(pid, "SIGKILL");
    expect(await ended(pid)).toBe(true);
    for (const { mountPoint, version } of cgroupHierarchies().filter((hierarchy) => unified || hierarchy.version === 1))
      for (const path of [`${name}/inner`, name])
        await expect.poll(() => isRemoved(join(mountPoint, path)), { message: `v${version} ${path}` }).toBe(true);
  });

  it("makes one shim of many starts at once, and the next one when it is full", async () => {
    await open({ BERTH_SHIM_MAX_CONTAINERS: "4" });
    const ids = ["a", "b", "c", "d", "e", "f"];
    for (const id of ids) fixture.bundle(id, ["sleep", "1000"]);
    const addresses = await Promise.all(ids.map((id) => fixture.start(id)));
    const counts = Map.groupBy(addresses, (address) => address);
    expect([...counts.values()].map((group) => group.length).sort()).toEqual([2, 4]);
    const pids = await Promise.all([...counts.keys()].map((address) => shimPid(address, "a")));
    expect(new Set(pids).size).toBe(2);
    // nothing was created: the reservations end with the shims
    for (const pid of pids) process.kill(pid, "SIGTERM");
    for (const pid of pids) expect(await ended(pid)).toBe(true);
    expect(readdirSync(join(fixture.directory, "s"))).toEqual([]);
  });

  it("keeps a place without a start process", async () => {
    await open({ BERTH_SHIM_MAX_CONTAINERS: "2" });
    fixture.bundle("a", ["sleep", "1000"]);
    const address = await fixture.start("a");
    await shimPid(address, "a");
    await using transport = createTtrpcTransport({ path: address });
    const pool = createClient(Pool, transport);
    expect(await pool.reserve({ id: "b", bundle: "/b" })).toMatchObject({ accepted: true });
    expect(await pool.reserve({ id: "b", bundle: "/b" })).toMatchObject({ accepted: true });
    expect(await pool.reserve({ id: "c", bundle: "/b" })).toMatchObject({ accepted: false });
  });

  it("answers bootstrap parameters in kind, in the directory they name", async () => {
    await open({ MAX_SHIM_VERSION: "2" });
    fixture.bundle("p", ["true"]);
    const socketDir = join(fixture.directory, "elsewhere");
    const params = create(BootstrapParamsSchema, { instanceId: "p", namespace: "test", socketDir });
    const { stdout } = await fixture.run("p", "start", { input: toBinary(BootstrapParamsSchema, params) });
    const result = fromBinary(BootstrapResultSchema, stdout);
    expect(result).toMatchObject({ version: 3, protocol: "ttrpc" });
    expect(result.address).toContain(socketDir);
    await shimPid(result.address, "p");
    const text = await fixture.run("p", "start");
    const answer: unknown = JSON.parse(new TextDecoder().decode(text.stdout));
    expect(answer).toMatchObject({ version: 2, protocol: "ttrpc" });
    await shimPid(String(Reflect.get(Object(answer), "address")), "p");
  });

  it("refuses parameters of another container", async () => {
    await open();
    fixture.bundle("p", ["true"]);
    const params = create(BootstrapParamsSchema, { instanceId: "q", namespace: "test", socketDir: "/x" });
    const result = await fixture.run("p", "start", { input: toBinary(BootstrapParamsSchema, params) });
    expect([result.code, result.stdout.length]).toEqual([1, 0]);
    expect(result.stderr).toContain("bootstrap API mismatch");
  });

  it("cleans up after a shim that was killed, and takes over from its stale socket", async () => {
    await open();
    for (const id of ["k", "seen"]) fixture.bundle(id, ["sh", "-c", id === "k" ? "sleep 1000" : "exit 3"]);
    const address = await fixture.start("k");
    const client = fixture.client(address);
    const pid = await shimPid(address, "k");
    const init = await fixture.launch(client, "k");
    expect(await fixture.start("seen")).toBe(address);
    await fixture.launch(client, "seen");
    await client.wait({ id: "seen" });
    process.kill(pid, "SIGKILL");
    expect(await ended(pid)).toBe(true);
    const bundle = (id: string): string => join(fixture.directory, "b", id);
    const deleteDead = async (id: string) => {
      const { stdout } = await fixture.run(id, "delete", { flags: ["-bundle", bundle(id)] });
      return fromBinary(DeleteResponseSchema, stdout);
    };
    expect((await deleteDead("k")).pid).toBe(init);
    expect(await ended(init)).toBe(true);
    // its end was seen before the shim died
    expect((await deleteDead("seen")).exitStatus).toBe(3);
    expect(existsSync(join(fixture.directory, "runc", "test", "k"))).toBe(false);
    expect(await fixture.start("k")).toBe(address);
    expect(await shimPid(address, "k")).not.toBe(pid);
  });

  it.each(["container", "sandbox", "pool"])(
    "by %s, hands out no shim that is dead but still has its listener",
    async (grouping) => {
      await open({ BERTH_SHIM_GROUPING: grouping });
      fixture.bundle("g", ["true"]);
      const address = await fixture.start("g");
      process.kill(await shimPid(address, "g"), "SIGKILL");
      // takes the call, as the kernel does for a process whose threads are not all gone, and never answers
      const path = address.replace("unix://", "");
      rmSync(path, { force: true });
      const dying = createServer((socket) => {
        socket.on("error", () => {});
        setTimeout(() => {
          dying.close();
          socket.destroy();
        }, 50);
      });
      await once(dying.listen({ path }), "listening");
      expect(await fixture.start("g")).toBe(address);
      expect(await shimPid(address, "g")).toBeGreaterThan(0);
    },
  );

  it.each([
    ["container", { BERTH_SHIM_GROUPING: "container" }, 2],
    ["sandbox", { BERTH_SHIM_GROUPING: "sandbox" }, 1],
  ])("groups by %s, and ends when told to", async (_, env, expected) => {
    await open({ ...env, BERTH_SHIM_LINGER_MS: "60000" });
    for (const id of ["x", "y"]) {
      const file = join(fixture.bundle(id, ["true"]), "config.json");
      const annotations = { "io.kubernetes.cri.sandbox-id": "sandbox" };
      const specification: object = JSON.parse(readFileSync(file, "utf8"));
      rmSync(file);
      writeFileSync(file, JSON.stringify({ ...specification, annotations }));
    }
    const [x, y] = [await fixture.start("x"), await fixture.start("y")];
    expect(new Set([x, y]).size).toBe(expected);
    const pid = await shimPid(x, "x");
    await shimPid(y, "y");
    const client = fixture.client(x);
    await fixture.launch(client, "x");
    await client.shutdown({ id: "x" });
    await client.wait({ id: "x" });
    await client.delete({ id: "x" });
    await client.shutdown({ id: "x" });
    expect(await ended(pid)).toBe(true);
  });

  it("serves a sandbox with its containers, and ends with it", async () => {
    await open({ BERTH_SHIM_GROUPING: "sandbox", BERTH_SHIM_LINGER_MS: "60000" });
    fixture.bundle("pod", []);
    const file = join(fixture.bundle("member", ["sleep", "1000"]), "config.json");
    const specification: object = JSON.parse(readFileSync(file, "utf8"));
    writeFileSync(file, JSON.stringify({ ...specification, annotations: { "io.containerd.runc.v2.group": "pod" } }));
    const address = await fixture.start("pod");
    expect(await fixture.start("member")).toBe(address);
    const client = fixture.client(address);
    const pid = await shimPid(address, "pod");
    await using transport = createTtrpcTransport({ path: address });
    const sandbox = createClient(Sandbox, transport);
    await sandbox.createSandbox({ sandboxId: "pod", bundlePath: join(fixture.directory, "b", "pod") });
    expect((await sandbox.startSandbox({ sandboxId: "pod" })).pid).toBe(pid);
    await fixture.launch(client, "member");
    await sandbox.stopSandbox({ sandboxId: "pod" });
    expect(await client.wait({ id: "member" })).toMatchObject({ exitStatus: 137 });
    await client.delete({ id: "member" });
    await client.shutdown({ id: "member" });
    expect(isAlive(pid)).toBe(true);
    await sandbox.shutdownSandbox({ sandboxId: "pod" });
    expect(await ended(pid)).toBe(true);
  });

  it("killed while it makes a container, leaves what its delete action removes, whenever that is", async () => {
    await using slow = await temporaryDirectory("slow-runc");
    const late = `case " $* " in *" create "*) sleep 1;; esac`;
    writeFileSync(join(slow.path, "runc"), `#!/bin/sh\n${late}\nexec ${debianTool("runc")} "$@"\n`, { mode: 0o755 });
    // the runtime outlives its shim, and would make the container after all has been removed
    await open({ PATH: `${slow.path}:${debianPath()}` });
    for (const delayMs of [0, 1000, 1020, 1040]) {
      const id = `cut${delayMs}`;
      const bundle = fixture.bundle(id, ["sleep", "1000"]);
      const address = await fixture.start(id);
      const pid = await shimPid(address, id);
      let isMade = false;
      const making = fixture
        .client(address)
        .create({ id, bundle })
        .then(
          () => (isMade = true),
          () => {},
        );
      await expect.poll(() => isMade || runtimesOf(bundle).length > 0, { interval: 1 }).toBe(true);
      await sleep(delayMs);
      process.kill(pid, "SIGKILL");
      await making;
      const { code } = await fixture.run(id, "delete", { flags: ["-bundle", bundle] });
      expect(code).toBe(0);
      expect(runtimesOf(bundle)).toEqual([]);
      await sleep(Math.max(0, 1200 - delayMs));
      expect(cgroupsOfTests()).toEqual([]);
      expect(existsSync(join(fixture.directory, "runc", "test", id))).toBe(false);
    }
  });

  it("describes itself", async () => {
    await open();
    fixture.bundle("i", []);
    const { stdout, code } = await fixture.run("i", "", { flags: ["-v"] });
    expect([code, new TextDecoder().decode(stdout)]).toEqual([0, expect.stringContaining("io.containerd.berth.v2")]);
    const info = await fixture.run("i", "", { flags: ["-info"] });
    expect(fromBinary(RuntimeInfoSchema, info.stdout)).toMatchObject({ name: "io.containerd.berth.v2" });
    expect((await fixture.run("i", "dance")).code).toBe(1);
    expect((await fixture.run("i", "start", { flags: ["-id", "../up"] })).code).toBe(1);
  });
});

function isRemoved(cgroup: string): boolean {
  try {
    rmdirSync(cgroup);
    return true;
  } catch {
    return false;
  }
}

import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

import type { PrivateNetwork } from "@berth/testing";
import { launcher, newerTool, privateNetwork, temporaryDirectory } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import type { Bench } from "./peers.ts";
import { BUSYBOX_IMAGE, startBench } from "./peers.ts";

const LIMIT = { timeoutMs: 60_000 };
const RANGE = "10.223.7";
const LIST = {
  cniVersion: "1.0.0",
  name: "net",
  plugins: [
    {
      type: "bridge",
      bridge: "ctr-test0",
      isGateway: true,
      ipMasq: true,
      ipam: { type: "host-local", ranges: [[{ subnet: `${RANGE}.0/24` }]], routes: [{ dst: "0.0.0.0/0" }] },
    },
    { type: "portmap", capabilities: { portMappings: true } },
  ],
};

describe.each(["berthd", "containerd"] as const)("a network by CNI on %s", { timeout: 120_000 }, (kind) => {
  let bench: Bench;
  let network: PrivateNetwork;
  let root = "";
  const owned = new AsyncDisposableStack();

  beforeAll(async () => {
    bench = owned.use(await startBench(kind));
    const directory = owned.use(await temporaryDirectory("ctr-cni"));
    root = directory.path;
    network = owned.use(await privateNetwork(root));
    await writeFile(join(network.configDirectory, "10-net.conflist"), JSON.stringify(LIST));
  });
  afterAll(() => owned.disposeAsync());

  const call = (program: string, args: readonly string[]) =>
    network.run(program, ["--address", bench.daemon.address, ...args], LIMIT);
  const ours = (...args: readonly string[]) => call(launcher("ctr"), args);
  const theirs = (...args: readonly string[]) => call(newerTool("ctr"), args);
  const run = (id: string, ...rest: readonly string[]): readonly string[] => [
    "run",
    "--fifo-dir",
    join(root, "fifo"),
    "--cni",
    ...rest.slice(0, -1),
    BUSYBOX_IMAGE,
    id,
    "sh",
    "-c",
    rest.at(-1) ?? "",
  ];
  /** What of a network is left on the host: addresses taken, results kept, rules. */
  async function left(): Promise<readonly string[]> {
    const listed = await network.run("sh", [
      "-c",
      `ls /var/lib/cni/results /var/lib/cni/networks/net 2>/dev/null; iptables -t nat -S`,
    ]);
    return listed.stdout.split("\n").filter((line) => /^10\.|^net-|CNI-[0-9a-f]/.test(line));
  }

  it("is there when the process starts, and gone with --rm", async () => {
    const script = `ip -o -4 addr show eth0; ip route; ping -c 1 -W 5 ${RANGE}.1 >/dev/null && echo reached`;
    const result = await ours(...run(`cni-${kind}-1`, "--rm", script));
    expect(result).toMatchObject({ code: 0, stderr: "" });
    expect(result.stdout).toContain(`${RANGE}.`);
    expect(result.stdout).toContain(`default via ${RANGE}.1`);
    expect(result.stdout).toContain("reached");
    expect(await left()).toEqual([]);
  });

  it("is marked as containerd's ctr marks it", async () => {
    const ids = [`cni-${kind}-2a`, `cni-${kind}-2b`] as const;
    expect(await ours(...run(ids[0], "-d", "sleep 1000"))).toMatchObject({ code: 0, stderr: "" });
    expect(await theirs(...run(ids[1], "-d", "sleep 1000"))).toMatchObject({ code: 0, stderr: "" });
    const [own, other] = await Promise.all(ids.map((id) => ours("containers", "info", id)));
    // The document is the one that the command promises.
    const extensions = [own, other].map(
      (info) => (JSON.parse(info?.stdout ?? "") as { Extensions: unknown }).Extensions,
    );
    expect(extensions[0]).toEqual(extensions[1]);
    expect((await left()).filter((line) => line.startsWith("10."))).toHaveLength(2);
    // Each takes away what the other has made.
    expect(await theirs("tasks", "kill", "-s", "KILL", ids[0])).toMatchObject({ code: 0, stderr: "" });
    expect((await left()).filter((line) => line.startsWith("10."))).toHaveLength(1);
    expect(await ours("tasks", "rm", "-f", ids[1])).toMatchObject({ code: 0 });
    expect((await left()).filter((line) => /^10\.|^net-/.test(line))).toEqual([]);
    expect(await ours("tasks", "rm", "-f", ids[0])).toMatchObject({ code: 0 });
    expect(await ours("containers", "rm", ...ids)).toMatchObject({ code: 0, stderr: "" });
  });

  it("comes again with each start, and goes with the task", async () => {
    const id = `cni-${kind}-3`;
    expect(await ours(...run(id, `ip -o -4 addr show eth0`))).toMatchObject({ code: 0, stderr: "" });
    expect((await left()).filter((line) => /^10\.|^net-/.test(line))).toEqual([]);
    const again = await ours("tasks", "start", "--fifo-dir", join(root, "fifo"), id);
    expect(again).toMatchObject({ code: 0, stderr: "" });
    expect(again.stdout).toContain(`${RANGE}.`);
    expect(await ours("containers", "rm", id)).toMatchObject({ code: 0, stderr: "" });
    expect((await left()).filter((line) => /^10\.|^net-/.test(line))).toEqual([]);
  });

  it("comes again where nothing took away what the last task had", async () => {
    const id = `cni-${kind}-5`;
    const nowhere = (...args: readonly string[]) =>
      network.run("env", ["NETCONFPATH=/nowhere", launcher("ctr"), "--address", bench.daemon.address, ...args], LIMIT);
    expect(await ours(...run(id, "-d", "sleep 1000"))).toMatchObject({ code: 0, stderr: "" });
    expect(await nowhere("tasks", "rm", "-f", id)).toMatchObject({ stderr: expect.stringContaining("stays") });
    expect((await left()).filter((line) => line.startsWith("10."))).toHaveLength(1);
    const start = ["tasks", "start", "--fifo-dir", join(root, "fifo")];
    expect(await nowhere(...start, id)).toMatchObject({ code: 1, stderr: expect.stringContaining("/nowhere") });
    expect(await ours(...start, "-d", id)).toMatchObject({ code: 0, stderr: "" });
    expect((await left()).filter((line) => line.startsWith("10."))).toHaveLength(1);
    await ours("tasks", "rm", "-f", id);
    expect(await ours("containers", "rm", id)).toMatchObject({ code: 0, stderr: "" });
    expect((await left()).filter((line) => /^10\.|^net-/.test(line))).toEqual([]);
  });

  it("is not taken from the host, whatever another program has attached", async () => {
    const id = `cni-${kind}-6`;
    // The shell is in the network that stands for the host's.
    const host = ["-c", 'exec "$@" --with-ns network:/proc/$$/ns/net "$IMAGE" "$ID" sleep 1000', "sh"];
    const theirRun = [newerTool("ctr"), "--address", bench.daemon.address, "run", "-d", "--cni"];
    const env = { IMAGE: BUSYBOX_IMAGE, ID: id };
    expect(await network.run("sh", [...host, ...theirRun], { ...LIMIT, env })).toMatchObject({ code: 0, stderr: "" });
    expect(await ours("tasks", "rm", "-f", id)).toMatchObject({ code: 0 });
    // What it made there has the name of the host's own.
    expect(await network.run("ip", ["link", "delete", "eth0"])).toMatchObject({ code: 0 });
    expect(await ours("containers", "rm", id)).toMatchObject({ code: 0, stderr: "" });
    expect((await left()).filter((line) => /^10\.|^net-/.test(line))).toEqual([]);
  });

  it("stays with a container whose daemon has ended, until its task is deleted", async () => {
    const id = `cni-${kind}-8`;
    const following = ours(...run(id, "while :; do sleep 0.1; done"));
    await expect
      .poll(async () => (await ours("tasks", "ls")).stdout, { timeout: 30_000 })
      .toMatch(/cni-\S+-8 +\d+ +RUNNING/);
    const whileDown = async (): Promise<void> => {
      expect(await following).toMatchObject({ code: 1 });
    };
    await bench.daemon.restart({ signal: "SIGKILL", whileDown });
    expect((await left()).filter((line) => line.startsWith("10."))).toHaveLength(1);
    const address = await ours("tasks", "exec", "--exec-id", "e", id, "sh", "-c", "ip -o -4 addr show eth0");
    expect(address).toMatchObject({ code: 0, stderr: "", stdout: expect.stringContaining(`${RANGE}.`) });
    expect(await ours("tasks", "rm", "-f", id)).toMatchObject({ code: 0 });
    expect(await ours("containers", "rm", id)).toMatchObject({ code: 0, stderr: "" });
    expect((await left()).filter((line) => /^10\.|^net-/.test(line))).toEqual([]);
  });

  it("is undone once", async () => {
    const [plugins, networks, calls] = ["stand-in", "stand-in.d", "calls"].map((name) => join(root, name));
    if (plugins === undefined || networks === undefined || calls === undefined) throw new Error("three were named");
    for (const directory of [plugins, networks]) await mkdir(directory);
    const script = `#!/bin/sh\necho $CNI_COMMAND >> ${calls}\nexit 1\n`;
    await writeFile(join(plugins, "failing"), script, { mode: 0o755 });
    const config = { cniVersion: "1.0.0", name: "failing", type: "failing" };
    await writeFile(join(networks, "10.conf"), JSON.stringify(config));
    const command = [launcher("ctr"), "--address", bench.daemon.address, ...run(`cni-${kind}-7`, "--rm", "true")];
    const failed = await network.run("env", [`NETCONFPATH=${networks}`, `CNI_PATH=${plugins}`, ...command], LIMIT);
    expect(failed.code).toBe(1);
    expect(await readFile(calls, "utf8")).toBe("ADD\nDEL\n");
    expect((await ours("containers", "ls", "-q")).stdout).toBe("");
  });

  it("fails before there is a container, or leaves none", async () => {
    const id = `cni-${kind}-4`;
    const host = await ours(...run(id, "--rm", "--net-host", "true"));
    expect(host).toMatchObject({ code: 1, stderr: expect.stringContaining("--net-host") });
    const own = await ours(...run(id, "--rm", "--with-ns", "network:/proc/1/ns/net", "true"));
    expect(own.code).toBe(1);
    const none = await network.run(
      "env",
      ["NETCONFPATH=/nowhere", launcher("ctr"), "--address", bench.daemon.address, ...run(id, "true")],
      LIMIT,
    );
    expect(none).toMatchObject({ code: 1, stderr: expect.stringContaining("/nowhere") });
    expect((await ours("containers", "ls", "-q")).stdout).toBe("");
    expect((await left()).filter((line) => /^10\.|^net-/.test(line))).toEqual([]);
    expect(await readdir(network.configDirectory)).toEqual(["10-net.conflist"]);
  });
});

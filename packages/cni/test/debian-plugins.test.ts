import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { Code, codeOf } from "@berth/errors";
import type { PrivateNetwork } from "@berth/testing";
import { privateNetwork, runProgram, temporaryDirectory } from "@berth/testing";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";

import { Cni, CniErrorCode, findPluginError, pluginVersions } from "../src/index.ts";

let root = "";
let network: PrivateNetwork;
beforeEach(async () => {
  const directory = await temporaryDirectory("cni-net");
  onTestFinished(() => directory[Symbol.asyncDispose]());
  network = await privateNetwork(directory.path);
  onTestFinished(() => network[Symbol.asyncDispose]());
  root = directory.path;
});

const BRIDGE = {
  type: "bridge",
  bridge: "cni-test0",
  isGateway: true,
  ipMasq: true,
  ipam: { type: "host-local", ranges: [[{ subnet: "10.222.0.0/24" }]], routes: [{ dst: "0.0.0.0/0" }] },
};

async function load(plugins: readonly object[], cniVersion = "1.0.0"): Promise<Cni> {
  const withData = plugins.map((plugin) =>
    "ipam" in plugin ? { ...plugin, ipam: { ...Object(plugin.ipam), dataDir: join(root, "leases") } } : plugin,
  );
  const list = JSON.stringify({ cniVersion, name: "test", plugins: withData });
  await writeFile(join(network.configDirectory, "10-test.conflist"), list);
  const { configDirectory, pluginDirectory } = network;
  const pluginDirectories = [pluginDirectory];
  return await Cni.load({ configDirectory, pluginDirectories, cacheDirectory: join(root, "cache"), loopback: true });
}

async function ip(netns: string, ...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await runProgram("nsenter", [`--net=${netns}`, "ip", ...args]);
  if (code !== 0) throw new Error(stderr);
  return stdout;
}

async function rules(): Promise<string> {
  return (await network.run("iptables", ["-t", "nat", "-S"])).stdout;
}

describe("Debian's plugins", () => {
  it("give a container an address, ports and a loopback, and take all of it back", { timeout: 60_000 }, async () => {
    const cni = await load([
      BRIDGE,
      { type: "portmap", capabilities: { portMappings: true } },
      { type: "firewall", backend: "iptables" },
    ]);
    const before = await rules();
    const netns = await network.namespace();
    const capabilities = { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }] };
    const container = { id: "test-c1", netns, capabilities };
    const state = await cni.setup(container);
    expect(state.interfaces.get("eth0")?.addresses).toEqual([{ ip: "10.222.0.2", gateway: "10.222.0.1" }]);
    expect(state.interfaces.get("eth0")?.sandbox).toBe(netns);
    expect(await ip(netns, "-o", "addr", "show", "eth0")).toContain("10.222.0.2/24");
    expect(await ip(netns, "-o", "link", "show", "lo")).toContain("UP");
    expect(await ip(netns, "route")).toContain("default via 10.222.0.1");
    expect(await rules()).toMatch(/dport 8080 .*10\.222\.0\.2:80/);
    await cni.remove(container);
    await cni.remove({ ...container, netns: "" });
    expect(await rules()).not.toContain("10.222.0.2");
    expect(before).not.toContain("10.222.0.2");
    expect(await ip(netns, "-o", "link")).not.toContain("eth0");
    expect(await readdir(join(root, "cache/results"))).toEqual([]);
    expect((await readdir(join(root, "leases/test"))).filter((name) => name.startsWith("10."))).toEqual([]);
  });

  it.each(["0.2.0", "0.3.1", "0.4.0"])("of version %s are understood", { timeout: 60_000 }, async (version) => {
    const cni = await load([{ ...BRIDGE, ipMasq: false }], version);
    const netns = await network.namespace();
    const state = await cni.setup({ id: "c1", netns });
    expect(state.interfaces.get("eth0")?.addresses).toEqual([{ ip: "10.222.0.2", gateway: "10.222.0.1" }]);
    expect(
      await pluginVersions({ pluginDirectories: [network.pluginDirectory], timeoutMs: 30_000 }, "bridge"),
    ).toContain(version);
    await cni.remove({ id: "c1", netns });
  });

  it("see that an address is gone", { timeout: 60_000 }, async () => {
    const cni = await load([BRIDGE, { type: "firewall", backend: "iptables" }]);
    const container = { id: "c1", netns: await network.namespace() };
    await cni.setup(container);
    await cni.check(container);
    await ip(container.netns, "addr", "flush", "dev", "eth0");
    expect(findPluginError(await cni.check(container).catch((error: unknown) => error))?.plugin).toBe("bridge");
  });

  it("attach many at once, each with an address of its own", { timeout: 60_000 }, async () => {
    const cni = await load([{ ...BRIDGE, ipMasq: false }]);
    const ids = ["c1", "c2", "c3", "c4"];
    const states = await Promise.all(ids.map(async (id) => cni.setup({ id, netns: await network.namespace() })));
    const addresses = states.map(({ interfaces }) => interfaces.get("eth0")?.addresses[0]?.ip);
    expect(new Set(addresses).size).toBe(ids.length);
    await cni.collectGarbage(new Set(["c1"]));
    expect(await readdir(join(root, "cache/results"))).toEqual(["cni-loopback-c1-lo", "test-c1-eth0"]);
  });

  it("tell what is wrong, and leave nothing", { timeout: 60_000 }, async () => {
    const cni = await load([{ ...BRIDGE, ipam: { type: "host-local", ranges: [[{ subnet: "10.222.0.0/32" }]] } }]);
    const error = await cni.setup({ id: "c1", netns: await network.namespace() }).catch((each: unknown) => each);
    expect(findPluginError(error)?.failure.message).toContain("10.222.0.0");
    const other = await load([BRIDGE], "9.9.9");
    const refused = await other.setup({ id: "c1", netns: await network.namespace() }).catch((each: unknown) => each);
    expect(codeOf(refused)).toBe(Code.FailedPrecondition);
    expect(findPluginError(refused)?.failure.code).toBe(CniErrorCode.incompatibleVersion);
    expect(await readdir(join(root, "cache/results")).catch(() => [])).toEqual([]);
  });
});

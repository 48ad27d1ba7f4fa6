import { execFileSync } from "node:child_process";
import { access, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { Code, codeOf } from "@berth/errors";
import { temporaryDirectory } from "@berth/testing";
import { beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";

import type { CniOptions } from "../src/index.ts";
import { Cni, CniErrorCode, findPluginError, pluginVersions } from "../src/index.ts";

/** A plugin that writes down each call, and does what its configuration says for the command: `"ADD": "printf …; exit 1"`. */
const STAND_IN = `#!/bin/sh
input=$(cat)
name=$(date +%s%N)-$$
printf '%s' "$input" > "$RECORDS/$name.input"
printf '%s|%s|%s|%s|%s|%s' "$CNI_COMMAND" "$CNI_CONTAINERID" "$CNI_NETNS" "$CNI_IFNAME" "$CNI_ARGS" "$0" > "$RECORDS/$name.call"
action=$(printf '%s' "$input" | sed -n "s/.*\\"$CNI_COMMAND\\":\\"\\([^\\"]*\\)\\".*/\\1/p")
eval "$action"
`;
const NETNS = "/proc/self/ns/net";
const RESULT = String.raw`printf {\042cniVersion\042:\0421.1.0\042,\042ips\042:[{\042address\042:\04210.1.0.2/24\042}]}`;

interface Call {
  readonly command: string;
  readonly id: string;
  readonly netns: string;
  readonly ifName: string;
  readonly args: string;
  readonly plugin: string;
  readonly input: Readonly<Record<string, unknown>>;
}

let root = "";
beforeEach(async () => {
  const directory = await temporaryDirectory("cni");
  onTestFinished(() => directory[Symbol.asyncDispose]());
  root = directory.path;
  for (const name of ["bin", "net.d", "records"]) await mkdir(join(root, name));
  vi.stubEnv("RECORDS", join(root, "records"));
  onTestFinished(() => void vi.unstubAllEnvs());
  for (const name of ["one", "two", "three"]) await writeFile(join(root, "bin", name), STAND_IN, { mode: 0o755 });
});

async function calls(): Promise<readonly Call[]> {
  const names = (await readdir(join(root, "records"))).filter((name) => name.endsWith(".call")).toSorted();
  return await Promise.all(
    names.map(async (name) => {
      const [command = "", id = "", netns = "", ifName = "", args = "", path = ""] = (
        await readFile(join(root, "records", name), "utf8")
      ).split("|");
      const text = await readFile(join(root, "records", name.replace(".call", ".input")), "utf8");
      return { command, id, netns, ifName, args, plugin: path.split("/").at(-1) ?? "", input: JSON.parse(text) };
    }),
  );
}

async function commands(): Promise<readonly string[]> {
  return (await calls()).map(({ command, plugin }) => `${command} ${plugin}`);
}

async function network(plugins: readonly object[], fields: object = {}, file = "10-a.conflist"): Promise<void> {
  const list = { cniVersion: "1.1.0", name: file.split(/[-.]/)[1], plugins, ...fields };
  await writeFile(join(root, "net.d", file), JSON.stringify(list));
}

async function load(options: CniOptions = {}): Promise<Cni> {
  return await Cni.load({
    configDirectory: join(root, "net.d"),
    pluginDirectories: [join(root, "none"), join(root, "bin")],
    cacheDirectory: join(root, "cache"),
    ...options,
  });
}

const failing = (code: number, message: string): string =>
  String.raw`printf {\042code\042:${code},\042msg\042:\042${message.replaceAll(" ", String.raw`\040`)}\042}; exit 1`;

async function isThere(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}

async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
}

describe("a network of several plugins", () => {
  it("is attached in order, each told what the last has done, and detached in the opposite order", async () => {
    await network([
      { type: "one", ADD: RESULT },
      { type: "two", ADD: RESULT, capabilities: { portMappings: true } },
    ]);
    const cni = await load();
    const args = { K8S_POD_NAME: "p", IgnoreUnknown: "1" };
    const container = { id: "c1", netns: NETNS, args, capabilities: { portMappings: [1], dns: {} } };
    const state = await cni.setup(container);
    expect(state.interfaces.get("eth0")?.addresses).toEqual([{ ip: "10.1.0.2" }]);
    await cni.check(container);
    await cni.remove({ ...container, netns: "" });
    expect(await commands()).toEqual(["ADD one", "ADD two", "CHECK one", "CHECK two", "DEL two", "DEL one"]);
    const [first, second, check, , del] = await calls();
    expect(first).toMatchObject({ id: "c1", netns: NETNS, ifName: "eth0", args: "K8S_POD_NAME=p;IgnoreUnknown=1" });
    expect(first?.input).toEqual({ name: "a", cniVersion: "1.1.0", type: "one", ADD: RESULT });
    const prevResult = { cniVersion: "1.1.0", ips: [{ address: "10.1.0.2/24" }] };
    expect(second?.input).toMatchObject({ prevResult, runtimeConfig: { portMappings: [1] } });
    expect(second?.input["runtimeConfig"]).toEqual({ portMappings: [1] });
    expect(check?.input).toMatchObject({ prevResult });
    expect(del).toMatchObject({ netns: "", input: { prevResult } });
    expect(await readdir(join(root, "cache/results"))).toEqual([]);
  });

  it("is detached when one fails, and the failure told as the plugin told it", async () => {
    await network([
      { type: "one", ADD: RESULT },
      { type: "two", ADD: failing(CniErrorCode.tryAgainLater, "later") },
    ]);
    const error = await failureOf((await load()).setup({ id: "c1", netns: NETNS }));
    expect(codeOf(error)).toBe(Code.Unavailable);
    expect(findPluginError(error)).toMatchObject({
      plugin: "two",
      failure: { code: CniErrorCode.tryAgainLater, message: "later", details: "" },
    });
    expect(await commands()).toEqual(["ADD one", "ADD two", "DEL two", "DEL one"]);
  });

  it.each([
    ["exit 3", 0, Code.Unknown],
    ["echo broken >&2; exit 1", 0, Code.Unknown],
    ["kill -KILL $$", 0, Code.Unknown],
    [failing(CniErrorCode.unknownContainer, "c"), 3, Code.NotFound],
    [failing(CniErrorCode.invalidConfig, "c"), 7, Code.InvalidArgument],
    [failing(123, "own"), 123, Code.Unknown],
  ])("fails by %j with code %j", async (action, code, expected) => {
    await network([{ type: "one", ADD: action }]);
    const error = await failureOf((await load()).setup({ id: "c1", netns: NETNS }));
    expect(codeOf(error)).toBe(expected);
    expect(findPluginError(error)?.failure.code).toBe(code);
  });

  it("fails when the plugin is not there, or its answer is none", async () => {
    await network([{ type: "nowhere" }]);
    expect(codeOf(await failureOf((await load()).setup({ id: "c1", netns: NETNS })))).toBe(Code.NotFound);
    await network([{ type: "one", ADD: "echo text" }]);
    expect(codeOf(await failureOf((await load()).setup({ id: "c1", netns: NETNS })))).toBe(Code.Unknown);
    await network([{ type: "../bin/one" }]);
    expect(codeOf(await failureOf((await load()).setup({ id: "c1", netns: NETNS })))).toBe(Code.InvalidArgument);
  });

  it("ends a plugin that hangs, with what it has started", async () => {
    const [started, ended] = [join(root, "started"), join(root, "ended")];
    // The lock is free again when nobody who has inherited it is left.
    const hang = `exec 9>${ended}; flock 9; sleep 600 & : > ${started}; sleep 600`;
    await network([{ type: "one", ADD: hang }]);
    // A busy machine may need longer to begin.
    for (const timeoutMs of [500, 5_000, 20_000]) {
      const error = await failureOf((await load({ timeoutMs })).setup({ id: "c1", netns: NETNS }));
      expect(codeOf(error)).toBe(Code.DeadlineExceeded);
      if (await isThere(started)) break;
    }
    expect(await isThere(started)).toBe(true);
    execFileSync("flock", ["--timeout", "20", ended, "true"]);
  });

  it("ends the undoing too when a plugin hangs", async () => {
    await network([{ type: "one", ADD: "exit 1", DEL: "sleep 600" }]);
    const error = await failureOf((await load({ undoTimeoutMs: 100 })).setup({ id: "c1", netns: NETNS }));
    expect(findPluginError(error)?.failure.message).toContain("exit code 1");
  });

  it("ends when the caller goes, and undoes what was begun", async () => {
    await network([{ type: "one", ADD: "sleep 600" }]);
    const end = new AbortController();
    const setup = failureOf((await load()).setup({ id: "c1", netns: NETNS }, { signal: end.signal }));
    await expect.poll(commands, { timeout: 20_000 }).toEqual(["ADD one"]);
    end.abort();
    expect(codeOf(await setup)).toBe(Code.Canceled);
    expect(await commands()).toEqual(["ADD one", "DEL one"]);
  });

  it("ends a plugin that writes without end", async () => {
    await network([{ type: "one", ADD: "cat /dev/zero" }]);
    const error = await failureOf((await load()).setup({ id: "c1", netns: NETNS }));
    expect(codeOf(error)).toBe(Code.ResourceExhausted);
  });

  it("takes what is gone for removed, and tells other failures", async () => {
    await network([{ type: "one", DEL: failing(0, "Link not found") }]);
    await (await load()).remove({ id: "c1", netns: NETNS });
    await network([{ type: "one", DEL: failing(0, "no such file or directory") }]);
    await (await load()).remove({ id: "c1", netns: "" });
    expect(await failureOf((await load()).remove({ id: "c1", netns: NETNS }))).toBeDefined();
  });

  it("refuses arguments that would read as others", async () => {
    await network([{ type: "one" }]);
    const error = await failureOf((await load()).setup({ id: "c1", netns: NETNS, args: { a: "1;K8S_POD_NAME=x" } }));
    expect(codeOf(error)).toBe(Code.InvalidArgument);
  });
});

describe("several networks", () => {
  it("are loaded by the names of their files, as many as are wanted", async () => {
    await network([{ type: "two" }], {}, "20-b.conflist");
    await writeFile(join(root, "net.d/10-a.conf"), JSON.stringify({ name: "a", cniVersion: "1.0.0", type: "one" }));
    await writeFile(join(root, "net.d/30-c.json"), JSON.stringify({ name: "c", type: "three" }));
    await writeFile(join(root, "net.d/40-d.conflist"), "{");
    await writeFile(join(root, "net.d/README"), "no network");
    const names = (cni: Cni): unknown => cni.networks.map(({ config, ifName }) => `${config.name} ${ifName}`);
    expect(names(await load())).toEqual(["a eth0"]);
    expect(names(await load({ maxNetworks: 3, loopback: true, interfacePrefix: "net" }))).toEqual([
      "cni-loopback lo",
      "a net0",
      "b net1",
      "c net2",
    ]);
    expect(codeOf(await failureOf(load({ maxNetworks: 0 })))).toBe(Code.InvalidArgument);
    expect(codeOf(await failureOf(load({ configDirectory: join(root, "none") })))).toBe(Code.FailedPrecondition);
  });

  it("take plugins from a directory that has their name", async () => {
    await network([{ type: "one" }], {});
    await mkdir(join(root, "net.d/a"));
    await writeFile(join(root, "net.d/a/10.conf"), JSON.stringify({ type: "two" }));
    expect((await load()).networks[0]?.config.plugins.map(({ type }) => type)).toEqual(["one", "two"]);
    await network([{ type: "one" }], { loadOnlyInlinedPlugins: true });
    expect((await load()).networks[0]?.config.plugins.map(({ type }) => type)).toEqual(["one"]);
  });

  it.each([false, true])("are all detached when one fails (serially: %j)", async (serially) => {
    await network([{ type: "one", ADD: RESULT }], {}, "10-a.conflist");
    await network([{ type: "two", ADD: failing(11, "later") }], {}, "20-b.conflist");
    const cni = await load({ maxNetworks: 0, serially });
    expect(codeOf(await failureOf(cni.setup({ id: "c1", netns: NETNS })))).toBe(Code.Unavailable);
    expect((await commands()).slice(2)).toEqual(["DEL two", "DEL one"]);
  });
});

describe("STATUS, GC and VERSION", () => {
  it("are asked of version 1.1 alone", async () => {
    await network([{ type: "one", STATUS: failing(CniErrorCode.pluginNotAvailable, "no") }]);
    expect(codeOf(await failureOf((await load()).status()))).toBe(Code.Unavailable);
    await network([{ type: "one", STATUS: failing(50, "no") }], { cniVersion: "1.0.0" });
    await (await load()).status();
    await (await load()).collectGarbage(new Set());
    expect(await commands()).toEqual(["STATUS one"]);
  });

  it("collect what no container has", async () => {
    await network([{ type: "one", ADD: RESULT }]);
    const cni = await load();
    const named = "/run/netns/c3";
    for (const id of ["c1", "c2"]) await cni.setup({ id, netns: NETNS });
    await cni.setup({ id: "c3", netns: named });
    await cni.collectGarbage(new Set(["c2"]));
    const [, , , first, second, collected] = await calls();
    // The process of that number can be another's by now.
    expect(first).toMatchObject({ command: "DEL", id: "c1", netns: "" });
    expect(second).toMatchObject({ command: "DEL", id: "c3", netns: named });
    expect(collected).toMatchObject({ command: "GC", id: "" });
    const attachments = [{ containerID: "c2", ifname: "eth0" }];
    expect(collected?.input).toMatchObject({
      "cni.dev/valid-attachments": attachments,
      "cni.dev/attachments": attachments,
    });
    expect(await readdir(join(root, "cache/results"))).toEqual(["a-c2-eth0"]);
  });

  it("tell the versions of a plugin", async () => {
    const runner = { pluginDirectories: [join(root, "bin")], timeoutMs: 30_000 };
    const write = (text: string): Promise<void> => writeFile(join(root, "bin/one"), `#!/bin/sh\n${text}\n`);
    await write(`echo '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}'`);
    expect(await pluginVersions(runner, "one")).toEqual(["0.4.0", "1.0.0"]);
    await write(`echo '{"code":4,"msg":"unknown CNI_COMMAND: VERSION"}'; exit 1`);
    expect(await pluginVersions(runner, "one")).toEqual(["0.1.0"]);
    await write("echo text");
    expect(await failureOf(pluginVersions(runner, "one"))).toBeDefined();
  });
});

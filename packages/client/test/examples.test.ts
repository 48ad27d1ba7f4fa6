import { once } from "node:events";
import { readFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { spawn } from "node:child_process";

import type { PeerDaemon, PeerRegistry, ProgramResult, TemporaryDirectory } from "@berth/testing";
import {
  BUSYBOX_IMAGE,
  busyboxImage,
  runProgram,
  startBerthd,
  startContainerd,
  startRegistry,
  temporaryDirectory,
} from "@berth/testing";
import { RegistryClient } from "@berth/remotes";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";

import { importImage } from "../src/import-image.ts";
import type { Client } from "../src/index.ts";
import { createClient } from "../src/index.ts";
import { pushImage } from "../src/push-image.ts";
import { removeLeftovers } from "./remove-leftovers.ts";

const EXAMPLES = join(import.meta.dirname, "../examples");
/** A program that needs a native part dies under this. */
const WITHOUT_NATIVE_PARTS = 'data:text/javascript,process.dlopen=()=>{throw new Error("native part")}';

function commandLine(name: string, args: readonly string[]): readonly string[] {
  return ["--conditions=@berth/source", "--import", WITHOUT_NATIVE_PARTS, join(EXAMPLES, `${name}.ts`), ...args];
}

it("native parts are kept out of the examples", async () => {
  const load = `require(${JSON.stringify(join(import.meta.dirname, "../../linux/node_modules/koffi"))})`;
  const { code, stderr } = await runProgram(process.execPath, ["--import", WITHOUT_NATIVE_PARTS, "-e", load]);
  expect({ code, native: stderr.includes("native part") }).toEqual({ code: 1, native: true });
});

it("examples are short", async () => {
  const names = await readdir(EXAMPLES);
  expect(names).toHaveLength(10);
  for (const name of names) {
    expect([name, readFileSync(join(EXAMPLES, name), "utf8").split("\n").length <= 60]).toEqual([name, true]);
  }
});

describe.each([
  ["containerd", startContainerd],
  ["berthd", startBerthd],
])("examples on %s", (_, startDaemon) => {
  let daemon: PeerDaemon;
  let client: Client;
  let registry: PeerRegistry;
  let directory: TemporaryDirectory;

  beforeAll(async () => {
    directory = await temporaryDirectory("examples");
    [daemon, registry] = await Promise.all([startDaemon(), startRegistry()]);
    client = createClient({ address: daemon.address });
    await importImage(client, chunked((await busyboxImage()).archive), { unpack: { snapshotter: "overlayfs" } });
    const { target } = await client.images.get(BUSYBOX_IMAGE);
    await using http = new RegistryClient({ plainHttp: true });
    await pushImage(client, http, `${registry.host}/busybox:1`, { target });
  });

  afterEach(() => removeLeftovers(client));

  afterAll(async () => {
    await client[Symbol.asyncDispose]();
    await daemon[Symbol.asyncDispose]();
    await registry[Symbol.asyncDispose]();
    await directory[Symbol.asyncDispose]();
  });

  const environment = (): NodeJS.ProcessEnv => ({ ...process.env, CONTAINERD_ADDRESS: daemon.address });
  const example = (name: string, ...args: readonly string[]): Promise<ProgramResult> =>
    runProgram(process.execPath, commandLine(name, args), { env: environment() });
  /** Its output; it must end well and leave no container, task or lease. */
  const output = async (name: string, ...args: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await example(name, ...args);
    expect({ name, code, stderr }).toEqual({ name, code: 0, stderr: "" });
    expect(await Array.fromAsync(client.containers.list(), ({ id }) => id)).toEqual([]);
    expect(await Array.fromAsync(client.tasks.list(), ({ id }) => id)).toEqual([]);
    expect(await Array.fromAsync(client.leases.list(), ({ id }) => id)).toEqual([]);
    return stdout;
  };

  it("pull-and-run prints what the container wrote and ends as it did", async () => {
    const script = "echo out; echo err >&2; exit 3";
    const image = `${registry.host}/busybox:1`;
    const { code, stdout, stderr } = await example("pull-and-run", image, "sh", "-c", script);
    expect({ code, stderr }).toEqual({ code: 3, stderr: "" });
    expect(stdout).toContain(`${image} is sha256:`);
    expect(stdout.split("\n")).toEqual(expect.arrayContaining(["stdout: out", "stderr: err"]));
    expect(await Array.fromAsync(client.containers.list())).toEqual([]);
  });

  it("exec feeds a process and reads both of its streams", async () => {
    const lines = (await output("exec", BUSYBOX_IMAGE)).split("\n");
    expect(lines.filter((line) => line.startsWith("stdout"))).toEqual(["stdout: apple", "stdout: pear"]);
    expect(lines).toContain("stderr: send me lines");
    expect(lines.slice(-3)).toEqual(["sort ended with 0", "the container ended with 137", ""]);
  });

  it("logs follows a file to the end of the task", async () => {
    // Shims append to a file that is there.
    const text = await output("logs", BUSYBOX_IMAGE, join(directory.path, `log-${Date.now()}`));
    expect(text).toBe("line 1\nline 2\nline 3\noops\nended with 0\n");
  });

  it("events prints the events that its filter lets through", async () => {
    const args = commandLine("events", ["1", 'topic=="/images/create"']);
    const watching = spawn(process.execPath, args, { env: environment(), stdio: ["ignore", "pipe", "inherit"] });
    const { target } = await client.images.get(BUSYBOX_IMAGE);
    // The protocol does not tell when a subscription has begun.
    const tag = async (): Promise<void> => {
      const name = `example.org/tag:${Date.now()}`;
      await client.images.create({ name, target, labels: new Map() });
      await client.images.delete(name);
    };
    const again = setInterval(() => void tag().catch(() => {}), 500);
    try {
      const ended = once(watching, "exit");
      const [line] = await once(watching.stdout, "data");
      expect(String(line)).toMatch(/^\S+Z image example.org\/tag:\d+\n$/);
      expect(await ended).toEqual([0, null]);
    } finally {
      clearInterval(again);
      watching.kill("SIGKILL");
    }
  });

  it("build-image runs what it built", async () => {
    const name = "example.org/built:1";
    expect(await output("build-image", BUSYBOX_IMAGE, name)).toMatch(/^example.org\/built:1 is sha256:\w+\nbuilt\n$/);
    await client.images.delete(name, { sync: true });
  });

  it("copy-image brings an image into another repository", async () => {
    const to = `${registry.host}/copy:2`;
    const text = await output("copy-image", `${registry.host}/busybox:1`, to);
    const { target } = await client.images.get(BUSYBOX_IMAGE);
    expect(text).toContain(`${to} is ${target.digest}\n`);
    await using http = new RegistryClient({ plainHttp: true });
    expect((await http.resolve(to)).descriptor.digest).toBe(target.digest);
  });

  it("watch-exits starts the container again", async () => {
    expect(await output("watch-exits", BUSYBOX_IMAGE, "2")).toMatch(/^(pid \d+ ended with 7\n){2}$/);
  });

  it("resource-limits shows the limit and the changed limit", async () => {
    const text = await output("resource-limits", BUSYBOX_IMAGE);
    expect(text.match(/of \d+/g)).toEqual(["of 67108864", "of 20", "of 33554432", "of 20"]);
    expect(text).toMatch(/^cpu \d[\d.]* ms$/m);
  });

  it("leases keeps a blob and lets it go", async () => {
    const text = await output("leases");
    expect(text).toContain("{ purpose: 'example' }");
    expect(text).toMatch(/held: content sha256:\w+\n(?:.*\n)*nobody refers to me\ncollected\n$/);
  });

  it("import-export brings the same image back", async () => {
    const { target } = await client.images.get(BUSYBOX_IMAGE);
    const text = await output("import-export", BUSYBOX_IMAGE, join(directory.path, "image.tar"));
    expect(text).toContain(`${BUSYBOX_IMAGE} ${target.digest}\n  sha256:`);
  });
});

async function* chunked(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
}

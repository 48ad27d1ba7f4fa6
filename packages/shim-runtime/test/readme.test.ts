import {
  chmodSync,
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { createClient } from "@connectrpc/connect";
import { Version } from "@berth/api/containerd/services/version/v1/version";
import { Task } from "@berth/api/containerd/task/v3/task";
import { mkfifo } from "@berth/linux/files";
import { findExitRecord } from "@berth/shim-runtime";
import { BUSYBOX_IMAGE, busyboxImage, launcher, runProgram, startBerthd, temporaryDirectory } from "@berth/testing";
import { createTtrpcTransport } from "@berth/ttrpc";
import { describe, expect, it } from "vitest";

const PACKAGE = join(import.meta.dirname, "..");
const PARTS = ["api", "errors", "linux", "plugin-core"].map((name) => `@berth/${name}`);
const OTHERS = ["@bufbuild/protobuf", "@connectrpc/connect"];

function readmeShim(): string {
  const [, code = ""] = /```ts\n(.*?)```/su.exec(readFileSync(join(PACKAGE, "README.md"), "utf8")) ?? [];
  expect(code.split("\n").length).toBeLessThan(100);
  return code;
}

/** This makes a folder as an author has it, with a shim and what it imports, and returns the program. */
function installShim(folder: string, code: string): string {
  for (const scope of ["@berth", "@bufbuild", "@connectrpc"])
    mkdirSync(join(folder, "node_modules", scope), { recursive: true });
  symlinkSync(PACKAGE, join(folder, "node_modules", "@berth/shim-runtime"));
  for (const name of [...PARTS, ...OTHERS])
    symlinkSync(join(PACKAGE, "node_modules", name), join(folder, "node_modules", name));
  writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }));
  writeFileSync(join(folder, "shim.ts"), code);
  const program = join(folder, "containerd-shim-hello-v2");
  const node = `"${process.execPath}" --conditions=@berth/source --disable-warning=ExperimentalWarning`;
  writeFileSync(program, `#!/bin/sh\nexec ${node} "${join(folder, "shim.ts")}" "$@"\n`);
  chmodSync(program, 0o755);
  return program;
}

/** Says in the answer to `connect` whether a child of nobody's is taken, and whose child an orphan became; and logs. */
const PARTS_SHIM = `
import { execFile } from "node:child_process";
import { spawn } from "@berth/linux/process";
import { existsSync, readFileSync } from "node:fs";
import { promisify } from "node:util";
import { runShim } from "@berth/shim-runtime/run";
const off = process.env["PARTS"] === "off";
const todo = () => ({});
const createTasks = async ({ log }) => ({
  size: 0,
  [Symbol.asyncDispose]: async () => {},
  service: {
    connect: async () => {
      log.error("logged by the shim");
      const child = spawn({ path: "true", args: [], env: {} });
      let version = "Z";
      for (let tries = 0; tries < (off ? 10 : 100) && version === "Z"; tries += 1) {
        await new Promise((resolve) => setTimeout(resolve, 30));
        version = existsSync("/proc/" + child) ? "Z" : "gone";
      }
      const { stdout } = off ? await promisify(execFile)("sh", ["-c", "sleep 5 >&- 2>&- & echo $!"]) : { stdout: "" };
      const parent = off ? Number(readFileSync("/proc/" + stdout.trim() + "/stat", "utf8").split(") ")[1].split(" ")[1]) : 0;
      return { shimPid: process.pid, taskPid: parent, version };
    },
    state: todo,
  },
});
const parts = off ? { subreaper: false, reaper: false, logger: false } : {};
process.exitCode = await runShim({ runtime: "io.containerd.parts.v2", createTasks }, parts);
`;

describe("the shim of the README", { timeout: 60_000 }, () => {
  it("runs a process, serves what its plugin serves, and ends when told to", async () => {
    await using stack = new AsyncDisposableStack();
    const { path } = stack.use(await temporaryDirectory("readme"));
    const program = installShim(path, readmeShim());
    const bundle = join(path, "bundle");
    mkdirSync(bundle);
    const env = { BERTH_SHIM_SOCKET_DIR: join(path, "s"), BERTH_SHIM_GROUPING: "container" };
    const flags = ["-namespace", "test", "-address", "/d.sock", "-id", "h1", "start"];
    const { stdout } = await runProgram(program, flags, { cwd: bundle, env });
    await using transport = createTtrpcTransport({ path: stdout });
    const client = createClient(Task, transport);
    await client.create({ id: "h1", bundle });
    const { pid } = await client.start({ id: "h1" });
    expect(await client.wait({ id: "h1" })).toMatchObject({ exitStatus: 0 });
    await expect.poll(() => findExitRecord(bundle)).toMatchObject({ id: "h1", pid, exitStatus: 0 });
    const stateDir = join(bundle, "io.containerd.ttrpc.v1.version");
    expect(await createClient(Version, transport).version({})).toMatchObject({ version: "test", revision: stateDir });
    await client.delete({ id: "h1" });
    await client.shutdown({ id: "h1" });
    await transport.closed;
  });

  it("runs by its name under berthd", async () => {
    await using stack = new AsyncDisposableStack();
    const { path } = stack.use(await temporaryDirectory("installed"));
    installShim(path, readmeShim());
    const daemon = stack.use(await startBerthd({ path: [path] }));
    await daemon.ctr(["image", "import", "-"], { input: (await busyboxImage()).archive });
    for (const id of ["one", "two"]) {
      const args = ["run", "--rm", "--runtime", "io.containerd.hello.v2", BUSYBOX_IMAGE, id];
      expect(await daemon.ctr(args, { timeoutMs: 30_000 })).toMatchObject({ code: 0, stdout: `hello ${id}\n` });
    }
    // the shim never opens the standard error
    const args = ["-a", daemon.address, "run", "--rm", "--fifo-dir", join(path, "fifo")];
    const own = [...args, "--runtime", "io.containerd.hello.v2", BUSYBOX_IMAGE, "three"];
    const result = await runProgram(launcher("ctr"), own, { timeoutMs: 30_000 });
    expect(result).toMatchObject({ code: 0, stdout: "hello three\n" });
    expect((await daemon.ctr(["task", "ls", "-q"])).stdout).toBe("");
  });

  it.each([
    ["on", "gone", true],
    ["off", "Z", false],
  ])("parts that are %s", async (parts, child, isLogged) => {
    await using stack = new AsyncDisposableStack();
    const { path } = stack.use(await temporaryDirectory("parts"));
    const program = installShim(path, PARTS_SHIM);
    const bundle = join(path, "bundle");
    mkdirSync(bundle);
    mkfifo(join(bundle, "log"), 0o600);
    const log = openSync(join(bundle, "log"), constants.O_RDONLY | constants.O_NONBLOCK);
    stack.defer(() => closeSync(log));
    const env = { BERTH_SHIM_SOCKET_DIR: join(path, "s"), BERTH_SHIM_GROUPING: "container", PARTS: parts };
    const flags = ["-namespace", "test", "-address", "/d.sock", "-id", "p1", "-bundle", bundle, "start"];
    const { stdout } = await runProgram(program, flags, { cwd: bundle, env });
    await using transport = createTtrpcTransport({ path: stdout });
    const client = createClient(Task, transport);
    const { shimPid, taskPid, version } = await client.connect({ id: "p1" });
    stack.defer(() => void process.kill(shimPid, "SIGTERM"));
    expect(version).toBe(child);
    expect(taskPid).not.toBe(shimPid);
    const buffer = Buffer.alloc(65_536);
    const text = readLog(log, buffer);
    expect(text.includes("logged by the shim")).toBe(isLogged);
  });
});

/** What is in a FIFO now. */
function readLog(log: number, buffer: Buffer): string {
  try {
    return buffer.toString("utf8", 0, readSync(log, buffer));
  } catch {
    return "";
  }
}

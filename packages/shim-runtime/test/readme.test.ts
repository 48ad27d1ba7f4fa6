import { chmodSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { createClient } from "@connectrpc/connect";
import { Version } from "@berth/api/containerd/services/version/v1/version";
import { Task } from "@berth/api/containerd/task/v3/task";
import { findExitRecord } from "@berth/shim-runtime";
import { BUSYBOX_IMAGE, busyboxImage, runProgram, startBerthd, temporaryDirectory } from "@berth/testing";
import { createTtrpcTransport } from "@berth/ttrpc";
import { describe, expect, it } from "vitest";

const PACKAGE = join(import.meta.dirname, "..");
const PARTS = ["api", "errors", "linux", "plugin-core"].map((name) => `@berth/${name}`);
const OTHERS = ["@bufbuild/protobuf", "@connectrpc/connect"];

/** This makes a folder as an author has it, with the shim of the README and what it imports, and returns the program. */
function installShim(folder: string): string {
  const [, code = ""] = /```ts\n(.*?)```/su.exec(readFileSync(join(PACKAGE, "README.md"), "utf8")) ?? [];
  expect(code.split("\n").length).toBeLessThan(100);
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

describe("the shim of the README", { timeout: 60_000 }, () => {
  it("runs a process, serves what its plugin serves, and ends when told to", async () => {
    await using stack = new AsyncDisposableStack();
    const { path } = stack.use(await temporaryDirectory("readme"));
    const program = installShim(path);
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
    installShim(path);
    const daemon = stack.use(await startBerthd({ path: [path] }));
    await daemon.ctr(["image", "import", "-"], { input: (await busyboxImage()).archive });
    for (const id of ["one", "two"]) {
      const args = ["run", "--rm", "--runtime", "io.containerd.hello.v2", BUSYBOX_IMAGE, id];
      expect(await daemon.ctr(args, { timeoutMs: 30_000 })).toMatchObject({ code: 0, stdout: `hello ${id}\n` });
    }
    expect((await daemon.ctr(["task", "ls", "-q"])).stdout).toBe("");
  });
});

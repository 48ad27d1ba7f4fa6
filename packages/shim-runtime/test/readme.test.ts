import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { createClient } from "@connectrpc/connect";
import { Task } from "@berth/api/containerd/task/v3/task";
import { findExitRecord } from "@berth/shim-runtime";
import { runProgram, temporaryDirectory } from "@berth/testing";
import { createTtrpcTransport } from "@berth/ttrpc";
import { expect, it } from "vitest";

it("the shim of the README runs a process and ends when told to", { timeout: 30_000 }, async () => {
  const readme = readFileSync(join(import.meta.dirname, "..", "README.md"), "utf8");
  const [, code = ""] = /```ts\n(.*?)```/su.exec(readme) ?? [];
  // beside the package's own files, where its imports resolve
  const file = join(import.meta.dirname, ".readme-example.ts");
  await using stack = new AsyncDisposableStack();
  const { path } = stack.use(await temporaryDirectory("readme"));
  const bundle = join(path, "bundle");
  mkdirSync(bundle);
  writeFileSync(file, code);
  stack.defer(() => rmSync(file));
  const env = { BERTH_SHIM_SOCKET_DIR: join(path, "s"), BERTH_SHIM_GROUPING: "container" };
  const flags = ["-namespace", "test", "-address", "/d.sock", "-id", "h1", "start"];
  const args = ["--conditions=@berth/source", file, ...flags];
  const { stdout } = await runProgram(process.execPath, args, { cwd: bundle, env });
  await using transport = createTtrpcTransport({ path: stdout });
  const client = createClient(Task, transport);
  await client.create({ id: "h1", bundle });
  const { pid } = await client.start({ id: "h1" });
  expect(await client.wait({ id: "h1" })).toMatchObject({ exitStatus: 0 });
  await expect.poll(() => findExitRecord(bundle)).toMatchObject({ id: "h1", pid, exitStatus: 0 });
  await client.delete({ id: "h1" });
  await client.shutdown({ id: "h1" });
  await transport.closed;
});

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Task } from "@berth/api/containerd/task/v2/task";
import { Code, createClient } from "@connectrpc/connect";
import { codeOf } from "@berth/errors";
import { expect, it } from "vitest";

import { createTtrpcServer, createTtrpcTransport } from "../src/index.ts";

/** Fetched by `npm test`, or by `node tooling/prerequisites.mjs`; the test fails where it is missing. */
const DEBIAN_ROOT = process.env["BERTH_DEBIAN_ROOT"] ?? join(import.meta.dirname, "../../../.cache/debian/root");
const SHIM = join(DEBIAN_ROOT, "usr/bin/containerd-shim-runc-v2");

it("transport: containerd's own shim answers, refuses and shuts down", async () => {
  const directory = await mkdtemp(join(tmpdir(), "berth-ttrpc-"));
  const bundle = join(directory, "t1");
  await mkdir(bundle);
  await writeFile(join(bundle, "config.json"), '{"ociVersion":"1.0.2","process":{"args":["true"],"cwd":"/"}}');
  execFileSync("mkfifo", [join(bundle, "log")]);
  // The shim opens its log for writing, and refuses to run without the daemon it publishes to.
  const log = spawn("cat", [join(bundle, "log")], { stdio: "ignore" });
  await using daemon = createTtrpcServer();
  const address = join(directory, "d");
  await daemon.listen(`${address}.ttrpc`);
  const env = { ...process.env, TTRPC_ADDRESS: `${address}.ttrpc`, GRPC_ADDRESS: address };
  const start = spawn(SHIM, ["-namespace", "berth-test", "-id", "t1", "-address", address, "start"], {
    cwd: bundle,
    env,
    stdio: ["ignore", "pipe", "ignore"],
  });
  const [socket] = (await once(start.stdout, "data")) as [Buffer];
  await using transport = createTtrpcTransport({
    path: socket.toString().trim(),
    metadata: { "containerd-namespace-ttrpc": "berth-test" },
  });
  const task = createClient(Task, transport);
  expect((await task.connect({ id: "t1" })).shimPid).toBeGreaterThan(0);
  expect(codeOf(await task.state({ id: "t1" }).catch((e: unknown) => e))).toBe(Code.NotFound);
  await task.shutdown({ id: "t1", now: true });
  await transport.closed;
  log.kill();
  await rm(directory, { recursive: true });
});

import { writeFile } from "node:fs/promises";
import { createServer, type ServerHttp2Session } from "node:http2";
import { createServer as createNetServer, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { silentLogger } from "@berth/core/log";
import { parseNamespace } from "@berth/core/namespaces";
import { codeName, codeOf } from "@berth/errors";
import { temporaryDirectory } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { ShimConnections } from "../src/shim-connection.ts";
import type { ShimTask } from "../src/shim-task.ts";
import { eventually, type Harness, shimsOf, startHarness } from "./harness.ts";

let harness: Harness;
const stack = new AsyncDisposableStack();

beforeAll(async () => {
  const { path } = stack.use(await temporaryDirectory("grpc-shim"));
  const script = join(path, "containerd-shim-grpc-v1");
  const program = join(import.meta.dirname, "grpc-shim-program.ts");
  await writeFile(script, `#!/bin/sh\nexec '${process.execPath}' --conditions=@berth/source '${program}' "$@"\n`, {
    mode: 0o755,
  });
  harness = await startHarness({ defaultShim: script });
});

afterAll(async () => {
  await harness[Symbol.asyncDispose]();
  for (const pid of shimsOf(harness.directory)) process.kill(pid, "SIGKILL");
  await stack.disposeAsync();
});

async function codeThrown(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "ok",
    (error: unknown) => codeName(codeOf(error)),
  );
}

async function startTask(id: string): Promise<{ task: ShimTask; shimPid: number; pid: number }> {
  const task = await harness.runtime.create(harness.namespace, id, harness.options([]));
  const pid = await task.start();
  // the runtime makes no others
  const { connection } = task as ShimTask;
  const { shimPid } = await connection.call((tasks, rpc) => tasks.connect({ id }, rpc), { timeoutMs: 5000 });
  return { task: task as ShimTask, shimPid, pid };
}

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

describe("a shim that speaks gRPC", () => {
  it("has a task from its start to its end", async () => {
    const { task, pid, shimPid } = await startTask("g1");
    expect(task.connection.endpoint).toMatchObject({ version: 3, protocol: "grpc" });
    expect(await task.state()).toMatchObject({ status: "running", pid });
    const waiting = task.wait();
    await task.kill({ signalNumber: 9 });
    expect((await waiting).exitStatus).toBe(137);
    expect(await harness.runtime.delete(harness.namespace, "g1")).toMatchObject({ exitStatus: 137, pid });
    expect(harness.runtime.list(harness.namespace)).toEqual([]);
    await eventually(() => !isAlive(shimPid));
  });

  it("is found dead when it is killed: who waits learns it, its end is told, and the task is gone", async () => {
    const { task, pid, shimPid } = await startTask("g2");
    harness.events.sent.length = 0;
    const waiting = task.wait();
    process.kill(shimPid, "SIGKILL");
    expect((await waiting).exitStatus).toBe(137);
    await eventually(() => harness.events.topics().includes("/tasks/delete"));
    expect(harness.events.exits()).toMatchObject([{ containerId: "g2", exitStatus: 137, pid }]);
    expect(harness.runtime.list(harness.namespace)).toEqual([]);
    await eventually(() => !isAlive(pid));
  });

  it("is found dead by a delete", async () => {
    const { shimPid } = await startTask("g3");
    process.kill(shimPid, "SIGKILL");
    expect((await harness.runtime.delete(harness.namespace, "g3")).exitStatus).toBe(137);
    expect(await codeThrown(harness.runtime.delete(harness.namespace, "g3"))).toBe("not_found");
  });

  it("is taken over after a restart, and its death is seen there too", async () => {
    const { shimPid } = await startTask("g4");
    await harness.restart();
    const task = harness.runtime.get(harness.namespace, "g4");
    expect(await task.state()).toMatchObject({ status: "running" });
    const waiting = task.wait();
    process.kill(shimPid, "SIGKILL");
    expect((await waiting).exitStatus).toBe(137);
    await eventually(() => harness.runtime.list(harness.namespace).length === 0);
  });

  it("that died while no daemon was there is not listed", async () => {
    const { shimPid, pid } = await startTask("g5");
    await harness.stop();
    process.kill(shimPid, "SIGKILL");
    await eventually(() => !isAlive(shimPid));
    await harness.restart();
    expect(harness.runtime.list(harness.namespace)).toEqual([]);
    await eventually(() => !isAlive(pid));
  });

  it("lives on when only its connection ends", async () => {
    const path = join(harness.directory, "h.sock");
    const server = createServer();
    const sessions: ServerHttp2Session[] = [];
    server.on("session", (session) => sessions.push(session));
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const connections = new ShimConnections(silentLogger);
    const endpoint = { version: 3, address: `unix://${path}`, protocol: "grpc" } as const;
    const namespace = parseNamespace("n");
    const connection = await connections.connect(endpoint, namespace, 1000);
    let ends = 0;
    connection.onClosed(() => ends++);
    await eventually(() => sessions.length === 1);
    sessions[0]?.goaway();
    sessions[0]?.close();
    await eventually(() => sessions.length === 2);
    expect([ends, connection.isClosed]).toEqual([0, false]);
    server.close();
    sessions[1]?.destroy();
    await connection.closed;
    expect([ends, connection.isClosed]).toEqual([1, true]);
    expect(await codeThrown(connections.connect(endpoint, namespace, 500))).toBe("unavailable");
  });

  it.each([
    ["at once", false],
    ["after it has spoken", true],
  ])("that ends each connection %s leaves none behind, and is not dialled without a pause", async (_, speaks) => {
    const path = join(harness.directory, `ends-${speaks}.sock`);
    const live = new Set<Socket>();
    let dials = 0;
    const server = createNetServer((socket) => {
      dials++;
      live.add(socket);
      socket.on("error", () => {}).on("close", () => live.delete(socket));
      // an empty SETTINGS frame
      if (speaks) socket.write(Uint8Array.of(0, 0, 0, 4, 0, 0, 0, 0, 0), () => setTimeout(() => socket.destroy(), 5));
      else socket.destroy();
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    await using connections = new ShimConnections(silentLogger);
    const endpoint = { version: 3, address: `unix://${path}`, protocol: "grpc" } as const;
    const connecting = codeThrown(connections.connect(endpoint, parseNamespace("n"), 1000));
    expect(await connecting).toBe(speaks ? "ok" : "unavailable");
    await sleep(500);
    expect(dials).toBeLessThan(speaks ? 12 : 2);
    await connections[Symbol.asyncDispose]();
    await eventually(() => live.size === 0);
    server.close();
  });
});

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Code, codeOf } from "@berth/errors";
import { withEnv, withProcessArgs } from "@berth/oci/spec";
import { BUSYBOX_IMAGE, busyboxImage, startBerthd, startContainerd } from "@berth/testing";
import type { PeerDaemon } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { importImage } from "../src/import-image.ts";
import type { Client } from "../src/index.ts";
import { createClient } from "../src/index.ts";
import type { AttachedIo } from "../src/run.ts";
import { createContainer, nullIo, removeContainer, run, startExec, startTask } from "../src/run.ts";
import { untilSubscribed } from "./until-subscribed.ts";

const RUNTIME = { name: "io.containerd.runc.v2" };

describe.each([
  ["containerd", () => startContainerd()],
  ["containerd 2", () => startContainerd({ release: "2" })],
  ["berthd", startBerthd],
])("run over %s", (_, startDaemon) => {
  let daemon: PeerDaemon;
  let client: Client;
  let directory: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "berth-client-run-"));
    daemon = await startDaemon();
    client = createClient({ address: daemon.address, namespace: "run" });
    const { archive } = await busyboxImage();
    await importImage(client, chunked(archive), { unpack: { snapshotter: "overlayfs" } });
  });

  afterAll(async () => {
    await client[Symbol.asyncDispose]();
    await daemon[Symbol.asyncDispose]();
    await rm(directory, { recursive: true, force: true });
  });

  const fileIo = (name: string): AttachedIo => {
    const url = `file://${join(directory, name)}`;
    // Debian's shim dies of a file for one of the two alone.
    return { paths: { stdin: "", stdout: url, stderr: url, terminal: false }, async [Symbol.asyncDispose]() {} };
  };
  const options = (id: string, ...args: string[]) => ({
    id,
    image: BUSYBOX_IMAGE,
    snapshotter: "overlayfs",
    runtime: RUNTIME,
    spec: () => [withProcessArgs(...args), withEnv(["GREETING=hello"])],
  });

  it("run returns the exit status, writes the output and leaves nothing", async () => {
    const status = await run(client, {
      ...options("one", "/bin/sh", "-c", "echo $GREETING; exit 7"),
      io: async () => fileIo("one"),
      remove: true,
    });
    expect(status).toBe(7);
    expect(await readFile(join(directory, "one"), "utf8")).toBe("hello\n");
    expect(await Array.fromAsync(client.containers.list())).toEqual([]);
    expect(await Array.fromAsync(client.tasks.list())).toEqual([]);
    const left = await Array.fromAsync(client.snapshotter("overlayfs").list());
    expect(left.every(({ kind }) => kind === "committed")).toBe(true);
    expect(await Array.fromAsync(client.leases.list())).toEqual([]);
  });

  it("run removes the container when its program cannot be started", async () => {
    const attempt = run(client, { ...options("two", "/no/such/program"), io: async () => nullIo });
    await expect(attempt).rejects.toThrow();
    expect(await Array.fromAsync(client.containers.list())).toEqual([]);
    expect(await Array.fromAsync(client.tasks.list())).toEqual([]);
  });

  it("run kills the process when aborted", async () => {
    const abort = new AbortController();
    const attempt = run(client, {
      ...options("three", "/bin/sleep", "100"),
      io: async () => nullIo,
      remove: true,
      signal: abort.signal,
      onStarted: () => abort.abort(),
    });
    expect(codeOf(await attempt.catch((error: unknown) => error))).toBe(Code.Canceled);
    expect(await Array.fromAsync(client.tasks.list())).toEqual([]);
    expect(await Array.fromAsync(client.containers.list())).toEqual([]);
  });

  it("startExec runs beside init; disposing the task kills it", async () => {
    const container = await createContainer(client, options("four", "/bin/sleep", "100"));
    {
      await using task = await startTask(client, container, { io: nullIo });
      expect((await task.task.state()).status).toBe("running");
      const process = {
        user: { uid: 0, gid: 0 },
        cwd: "/",
        env: ["PATH=/bin"],
        args: ["sh", "-c", "echo inside; exit 3"],
      };
      const exec = await startExec(client, "four", { execId: "e1", process, io: fileIo("four") });
      expect(await exec.finish()).toBe(3);
      expect(await readFile(join(directory, "four"), "utf8")).toBe("inside\n");
      expect((await task.task.pids()).map(({ pid }) => pid)).toContain(task.pid);
      await task.task.pause();
      expect((await task.task.state()).status).toBe("paused");
      await task.task.resume();
      expect((await task.task.stats()).typeUrl).toMatch(/cgroups/);
    }
    expect(await Array.fromAsync(client.tasks.list())).toEqual([]);
    await removeContainer(client, "four");
    expect(codeOf(await client.containers.get("four").catch((error: unknown) => error))).toBe(Code.NotFound);
  });

  it("subscribe yields the events of a run", async () => {
    const topics: string[] = [];
    const abort = new AbortController();
    const begun = Promise.withResolvers<void>();
    const reading = (async () => {
      for await (const { topic, namespace } of client.events.subscribe({ signal: abort.signal })) {
        begun.resolve();
        if (namespace === "run") topics.push(topic);
        // After that of the task, which containerd 2 may lose when the shim ends.
        if (topic === "/containers/delete") break;
      }
    })();
    await untilSubscribed(client, begun.promise);
    await run(client, { ...options("five", "/bin/true"), io: async () => nullIo, remove: true });
    await reading;
    expect(topics).toEqual(
      expect.arrayContaining(["/containers/create", "/tasks/create", "/tasks/start", "/tasks/exit"]),
    );
  });
});

async function* chunked(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
}

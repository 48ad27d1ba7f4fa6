import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

import { Code, codeOf } from "@berth/errors";
import type { PeerDaemon, TemporaryDirectory } from "@berth/testing";
import { BUSYBOX_IMAGE, busyboxImage, startBerthd, startContainerd, temporaryDirectory } from "@berth/testing";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";

import { commitContainer } from "../src/commit-container.ts";
import { importImage } from "../src/import-image.ts";
import type { Client } from "../src/index.ts";
import { createClient } from "../src/index.ts";
import { createContainer, logIo, nullIo, readLog, removeContainer, spawn, spawnExec, startTask } from "../src/run.ts";
import { removeLeftovers } from "./remove-leftovers.ts";

describe.each([
  ["containerd", () => startContainerd()],
  ["containerd 2", () => startContainerd({ release: "2" })],
  ["berthd", startBerthd],
])("spawn over %s", (_, startDaemon) => {
  let daemon: PeerDaemon;
  let client: Client;
  let pipes: TemporaryDirectory;
  let logs: TemporaryDirectory;

  beforeAll(async () => {
    daemon = await startDaemon();
    pipes = await temporaryDirectory("spawn");
    logs = await temporaryDirectory("spawn-logs");
    client = createClient({ address: daemon.address });
    await importImage(client, oneChunk((await busyboxImage()).archive), { unpack: { snapshotter: "overlayfs" } });
  });

  afterEach(() => removeLeftovers(client));

  afterAll(async () => {
    await client[Symbol.asyncDispose]();
    await daemon[Symbol.asyncDispose]();
    await pipes[Symbol.asyncDispose]();
    await logs[Symbol.asyncDispose]();
  });

  const options = (id: string, script: string) => ({
    id,
    image: BUSYBOX_IMAGE,
    args: ["sh", "-c", script],
    directory: pipes.path,
  });
  const nothingLeft = async (): Promise<void> => {
    expect(await Array.fromAsync(client.containers.list(), ({ id }) => id)).toEqual([]);
    expect(await Array.fromAsync(client.tasks.list(), ({ id }) => id)).toEqual([]);
    expect(await readdir(pipes.path)).toEqual([]);
  };
  const failure = async (work: Promise<unknown>): Promise<Code> =>
    codeOf(
      await work.then(
        () => undefined,
        (error: unknown) => error,
      ),
    );

  it("every byte of a long output comes, also to a slow reader", async () => {
    {
      await using process = await spawn(client, options("long", "head -c 3000000 /dev/zero; echo end >&2"));
      let length = 0;
      for await (const chunk of process.stdout) {
        length += chunk.length;
        if (length < 300_000) await new Promise((resolve) => setTimeout(resolve, 20));
      }
      expect(length).toBe(3_000_000);
      expect(await process.finish()).toBe(0);
    }
    await nothingLeft();
  });

  it("output that nobody reads, or not to its end, does not stop the process", async () => {
    await using unread = await spawn(client, options("unread", "head -c 3000000 /dev/zero"));
    expect(await unread.finish()).toBe(0);
    await using left = await spawn(
      client,
      options("left", "while head -c 100000 /dev/zero; do :; done & sleep 1; exit 4"),
    );
    for await (const chunk of left.stdout) {
      expect(chunk.length).toBeGreaterThan(0);
      break;
    }
    await left.exited;
  });

  it("disposing kills the process and removes what was made for it", async () => {
    {
      await using process = await spawn(client, options("killed", "echo up; sleep 1000"));
      for await (const { text } of process.lines()) {
        expect(text).toBe("up");
        break;
      }
    }
    await nothingLeft();
  });

  it("finish can be given up, and the process then runs on", async () => {
    {
      await using process = await spawn(client, options("patient", "sleep 1000"));
      await expect(process.finish({ signal: AbortSignal.timeout(200) })).rejects.toThrow();
      expect((await client.tasks.get("patient")).status).toBe("running");
    }
    await nothingLeft();
  });

  it("the name of a user in an image is looked up there, and nowhere outside of it", async () => {
    const users = "echo app:x:4321:5432::/:/bin/sh >/etc/passwd; echo app:x:5432: >/etc/group";
    const outside = "rm -rf /etc; ln -s /proc/1/root/etc /etc";
    for (const [name, script] of Object.entries({ users, outside })) {
      await using builder = await spawn(client, options(name, `mkdir -p /etc; ${script}`));
      expect(await builder.finish()).toBe(0);
      const user = name === "users" ? "app" : "daemon";
      await commitContainer(client, name, `example.org/${name}:1`, { changes: [`USER ${user}`] });
    }
    {
      const named = { ...options("named", "id -u; id -g"), image: "example.org/users:1" };
      await using process = await spawn(client, named);
      expect(await process.text()).toBe("4321\n5432\n");
      await process.finish();
    }
    const led = spawn(client, { ...options("led", "id"), image: "example.org/outside:1" });
    expect(await failure(led)).toBe(Code.NotFound);
    await nothingLeft();
  });

  it("keep leaves the container", async () => {
    {
      await using process = await spawn(client, { ...options("kept", "exit 5"), keep: true });
      expect(await process.finish()).toBe(5);
    }
    expect(await Array.fromAsync(client.containers.list(), ({ id }) => id)).toEqual(["kept"]);
    await removeContainer(client, "kept");
    await nothingLeft();
  });

  it("a program that is not there, and an aborted start, leave nothing", async () => {
    const missing = spawn(client, { id: "missing", image: BUSYBOX_IMAGE, args: ["/no/such"], directory: pipes.path });
    expect(await failure(missing)).not.toBe(Code.Canceled);
    await nothingLeft();
    const aborted = spawn(client, { ...options("aborted", "true"), signal: AbortSignal.abort() });
    await expect(aborted).rejects.toThrow();
    await nothingLeft();
  });

  it("a terminal is one stream, and takes a size", async () => {
    await using process = await spawn(client, {
      ...options("tty", "stty size; read line; stty size; echo got $line"),
      terminal: true,
      stdin: true,
    });
    await process.resize({ width: 90, height: 20 });
    await process.write("word\n");
    const text = (await process.text()).replaceAll("\r", "");
    expect(text).toContain("20 90\n");
    expect(text).toContain("got word\n");
    expect(await process.finish()).toBe(0);
  });

  it("an exec is killed by name; input is refused where there is none", async () => {
    await using container = await spawn(client, options("host", "sleep 1000"));
    await using exec = await spawnExec(client, "host", {
      execId: "e",
      args: ["sh", "-c", "pwd; env; sleep 1000"],
      cwd: "/tmp",
      env: ["A=b"],
      directory: pipes.path,
    });
    const seen: string[] = [];
    for await (const { text } of exec.lines()) {
      seen.push(text);
      if (seen.includes("A=b") && seen.length > 2) await exec.kill("SIGKILL").catch(() => {});
    }
    expect(seen[0]).toBe("/tmp");
    expect(await exec.finish()).toBe(137);
    expect(await failure(container.write("x"))).toBe(Code.Unavailable);
    expect(await failure(spawnExec(client, "nobody", { execId: "e", args: ["true"] }))).toBe(Code.NotFound);
  });

  it("readLog reads what is there, follows to the end, and tells where there is no file", async () => {
    const file = join(logs.path, "log");
    const log = await createContainer(
      client,
      options("log", "echo one; sleep 0.5; echo two >&2; sleep 0.5; printf three; sleep 1000"),
    );
    {
      await using task = await startTask(client, log, { io: logIo(file) });
      const lines = readLog(client, "log", { follow: true });
      expect((await lines.next()).value).toBe("one");
      expect((await lines.next()).value).toBe("two");
      // The shim copies each stream by itself, and goes on with that after the task has ended.
      await expect.poll(() => readFile(file, "utf8"), { timeout: 20_000 }).toContain("three");
      await task.task.kill({ signalNumber: 9, all: true });
      expect(await Array.fromAsync(lines)).toEqual(["three"]);
      expect(await Array.fromAsync(readLog(client, "log"))).toEqual(["one", "two", "three"]);
    }
    {
      await using _task = await startTask(client, log, { io: nullIo });
      expect(await failure(Array.fromAsync(readLog(client, "log")))).toBe(Code.FailedPrecondition);
    }
    expect(await failure(Array.fromAsync(readLog(client, "log")))).toBe(Code.NotFound);
    await removeContainer(client, "log");
  });

  it("readLog ends when aborted", async () => {
    const file = join(logs.path, "endless");
    const container = await createContainer(client, options("endless", "echo one; sleep 1000"));
    {
      await using _task = await startTask(client, container, { io: logIo(file) });
      const abort = new AbortController();
      const lines = readLog(client, "endless", { follow: true, signal: abort.signal });
      expect((await lines.next()).value).toBe("one");
      abort.abort();
      await expect(lines.next()).rejects.toThrow();
    }
    await removeContainer(client, "endless");
  });
});

async function* oneChunk(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}

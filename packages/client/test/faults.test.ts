import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { resolveImage } from "@berth/images";
import { Code, codeOf, unavailable } from "@berth/errors";
import { hostPlatform, only } from "@berth/oci";
import type { PeerDaemon, TemporaryDirectory } from "@berth/testing";
import { BUSYBOX_IMAGE, busyboxImage, startBerthd, startContainerd, temporaryDirectory } from "@berth/testing";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";

import { commitContainer } from "../src/commit-container.ts";
import { convertImage } from "../src/convert-image.ts";
import { importImage } from "../src/import-image.ts";
import { type Client, createClient } from "../src/index.ts";
import {
  createContainer,
  logIo,
  nullIo,
  readLog,
  removeContainer,
  run,
  spawn,
  startExec,
  startTask,
} from "../src/run.ts";
import { removeLeftovers } from "./remove-leftovers.ts";
import { withFaults } from "./with-faults.ts";

const SIGKILL = 9;
const MORE_THAN_A_PIPE_HOLDS = new Uint8Array(1 << 20);

describe.each([
  ["containerd", startContainerd],
  ["berthd", startBerthd],
])("what goes wrong meanwhile, over %s", (_, startDaemon) => {
  let daemon: PeerDaemon;
  let client: Client;
  let directory: TemporaryDirectory;

  beforeAll(async () => {
    daemon = await startDaemon();
    directory = await temporaryDirectory("faults");
    client = createClient({ address: daemon.address });
    await importBusybox(client);
  });

  afterEach(() => removeLeftovers(client));

  afterAll(async () => {
    await client[Symbol.asyncDispose]();
    await daemon[Symbol.asyncDispose]();
    await directory[Symbol.asyncDispose]();
  });

  const options = (id: string, ...args: string[]) => ({ id, image: BUSYBOX_IMAGE, args, directory: directory.path });
  const running = async (id: string) => {
    const container = await createContainer(client, options(id, "sleep", "1000"));
    return await startTask(client, container, { io: nullIo });
  };

  it("input that a process has ended without reading is refused, and its end comes", async () => {
    await using process = await spawn(client, { ...options("deaf", "true"), stdin: true });
    expect(await failure(process.write(MORE_THAN_A_PIPE_HOLDS))).toBe(Code.Unavailable);
    await process.closeStdin().catch(() => {});
    expect(await process.finish()).toBe(0);
  });

  it("the end of input, too, comes when the process ends before it has read all", async () => {
    await using process = await spawn(client, { ...options("deaf", "sleep", "0.5"), stdin: true });
    const write = failure(process.write(MORE_THAN_A_PIPE_HOLDS));
    await process.closeStdin().catch(() => {});
    expect(await write).toBe(Code.Unavailable);
    expect(await process.finish()).toBe(0);
  });

  it("a parent with mapped owners that is collected meanwhile is made again", async () => {
    const ids = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
    const keys: string[] = [];
    let shifts = 0;
    const idMapping = { uids: ids, gids: ids, shift: async () => void (shifts += 1) };
    const snapshots = client.snapshotter("overlayfs");
    const before = new Set((await Array.fromAsync(snapshots.list())).map(({ name }) => name));
    await createContainer(client, { ...options("mapped"), idMapping });
    for await (const { name, kind } of snapshots.list()) if (kind === "committed" && !before.has(name)) keys.push(name);
    await removeContainer(client, "mapped");
    const collect = async (): Promise<void> => {
      for (const key of keys) await snapshots.remove(key);
    };
    const faulty = withFaults(client, { "Snapshots/Prepare": { before: collect } });
    await createContainer(faulty, { ...options("mapped"), idMapping });
    expect({ parents: keys.length, shifts }).toEqual({ parents: 1, shifts: 2 });
    expect((await snapshots.stat("mapped")).parent).toBe(keys[0]);
    await removeContainer(client, "mapped");
  });

  it("a task that dies while frozen does not cost the finished image", async () => {
    {
      await using task = await running("dying");
      const die = async (): Promise<void> => {
        await task.task.kill({ signalNumber: SIGKILL, all: true });
        await task.task.resume().catch(() => {});
        await task.exited;
      };
      const faulty = withFaults(client, { "Tasks/Pause": { after: die } });
      expect((await commitContainer(faulty, "dying", "example.org/dying:1")).name).toBe("example.org/dying:1");
    }
    await removeContainer(client, "dying");
  });

  it("of a task that cannot be frozen, that is told, and it runs on", async () => {
    {
      await using task = await running("restless");
      const before = async (): Promise<void> => {
        throw unavailable("the daemon restarts");
      };
      const unasked = withFaults(client, { "Tasks/Pause": { before } });
      expect(await failure(commitContainer(unasked, "restless", "example.org/restless:1"))).toBe(Code.Unavailable);
      const unheard = withFaults(client, { "Tasks/Pause": { after: before } });
      expect(await failure(commitContainer(unheard, "restless", "example.org/restless:1"))).toBe(Code.Unavailable);
      expect((await task.task.state()).status).toBe("running");
    }
    await removeContainer(client, "restless");
  });

  it("a task that cannot be asked to go on is told of", async () => {
    {
      await using task = await running("stuck");
      const before = async (): Promise<void> => {
        throw unavailable("the daemon restarts");
      };
      const faulty = withFaults(client, { "Tasks/Resume": { before } });
      expect(await failure(commitContainer(faulty, "stuck", "example.org/stuck:1"))).toBe(Code.Unavailable);
      expect((await task.task.state()).status).toBe("paused");
      await task.task.resume();
    }
    await removeContainer(client, "stuck");
  });

  it("an image that is removed while it is converted is converted to the end", async () => {
    const own = client.scoped({ namespace: "converting" });
    await importBusybox(own);
    const faulty = withFaults(own, { Content: { before: () => removeImages(own) } });
    const { target } = await convertImage(faulty, BUSYBOX_IMAGE, "example.org/zstd:1", { compression: "zstd" });
    const { manifest } = await resolveImage(own.content, target, only(hostPlatform()));
    for (const { digest, size } of [manifest.config, ...manifest.layers])
      expect((await own.content.info(digest)).size).toBe(size);
    await removeImages(own);
  });

  it("the image of a container that is removed while that is committed is a whole base", async () => {
    const own = client.scoped({ namespace: "committing" });
    await importBusybox(own);
    await createContainer(own, options("based", "true"));
    const faulty = withFaults(own, { Content: { before: () => removeImages(own) } });
    const { target } = await commitContainer(faulty, "based", "example.org/based:1");
    const { manifest } = await resolveImage(own.content, target, only(hostPlatform()));
    expect(manifest.layers).toHaveLength(2);
    for (const { digest, size } of manifest.layers) expect((await own.content.info(digest)).size).toBe(size);
    await removeContainer(own, "based");
    await removeImages(own);
  });

  it("readLog tells that it could not learn of the task's end, and does not take that for the end", async () => {
    const log = await createContainer(client, options("log", "sh", "-c", "echo one; sleep 1000"));
    {
      await using _task = await startTask(client, log, { io: logIo(join(directory.path, "log")) });
      const before = async (): Promise<void> => {
        throw unavailable("the daemon restarts");
      };
      await expect.poll(() => readFile(join(directory.path, "log"), "utf8"), { timeout: 10_000 }).toContain("one");
      const lines = readLog(withFaults(client, { "Tasks/Wait": { before } }), "log", { follow: true });
      expect((await lines.next()).value).toBe("one");
      expect(await failure(lines.next())).toBe(Code.Unavailable);
    }
    await removeContainer(client, "log");
  });

  it("a task that was made as its maker gave up goes before its container", async () => {
    const abort = new AbortController();
    const { signal } = abort;
    const after = async (): Promise<void> => {
      abort.abort();
      signal.throwIfAborted();
    };
    const faulty = withFaults(client, { "Tasks/Create": { after } });
    expect(await failure(run(faulty, { ...options("unheard", "sleep", "1000"), signal }))).toBe(Code.Canceled);
    expect(await Array.fromAsync(client.tasks.list(), ({ id }) => id)).toEqual([]);
    expect(await Array.fromAsync(client.containers.list(), ({ id }) => id)).toEqual([]);
  });

  it("a container goes whose maker gave up while it was made; that of somebody else stays", async () => {
    const abandoned = async (fault: "before" | "after"): Promise<Code> => {
      const abort = new AbortController();
      const giveUp = async (): Promise<void> => abort.abort();
      const faulty = withFaults(client, { "Containers/Create": { [fault]: giveUp } });
      return await failure(createContainer(faulty, { ...options("given-up"), signal: abort.signal }));
    };
    for (const fault of ["before", "after"] as const) {
      expect(await abandoned(fault)).toBe(Code.Canceled);
      expect(await Array.fromAsync(client.containers.list(), ({ id }) => id)).toEqual([]);
      expect(await failure(client.snapshotter("overlayfs").stat("given-up"))).toBe(Code.NotFound);
    }
    await createContainer(client, options("given-up"));
    await client.snapshotter("overlayfs").remove("given-up");
    expect(await abandoned("before")).toBe(Code.Canceled);
    expect(await Array.fromAsync(client.containers.list(), ({ id }) => id)).toEqual(["given-up"]);
    await removeContainer(client, "given-up");
  });

  it.each(["Exec", "Start"])(
    "an exec goes whose maker gave up while %s was answered; its task stays",
    async (method) => {
      const id = `half-${method.toLowerCase()}`;
      {
        await using task = await running(id);
        const abort = new AbortController();
        const { signal } = abort;
        const after = async (): Promise<void> => {
          abort.abort();
          signal.throwIfAborted();
        };
        const faulty = withFaults(client, { [`Tasks/${method}`]: { after } });
        const process = { args: ["sleep", "1000"], env: ["PATH=/bin"], cwd: "/", user: { uid: 0, gid: 0 } };
        const starting = startExec(faulty, id, { execId: "e", process, io: nullIo, signal });
        expect(await failure(starting)).toBe(Code.Canceled);
        expect(await failure(task.task.state({ execId: "e" }))).toBe(Code.NotFound);
        expect(await task.task.pids()).toHaveLength(1);
        expect((await task.task.state()).status).toBe("running");
      }
      await removeContainer(client, id);
    },
  );

  it("the exec of somebody else stays when a second one is given up", async () => {
    {
      await using task = await running("shared");
      const process = { args: ["sleep", "1000"], env: ["PATH=/bin"], cwd: "/", user: { uid: 0, gid: 0 } };
      await using exec = await startExec(client, "shared", { execId: "e", process, io: nullIo });
      const abort = new AbortController();
      const { signal } = abort;
      const before = async (): Promise<void> => {
        abort.abort();
        signal.throwIfAborted();
      };
      const faulty = withFaults(client, { "Tasks/Exec": { before } });
      expect(await failure(startExec(faulty, "shared", { execId: "e", process, io: nullIo, signal }))).toBe(
        Code.Canceled,
      );
      expect((await exec.task.state({ execId: "e" })).status).toBe("running");
      expect(await task.task.pids()).toHaveLength(2);
    }
    await removeContainer(client, "shared");
  });

  it("the task of somebody else stays when a second creation is given up", async () => {
    {
      await using task = await running("taken");
      const container = await client.containers.get("taken");
      const abort = new AbortController();
      const { signal } = abort;
      const before = async (): Promise<void> => {
        abort.abort();
        signal.throwIfAborted();
      };
      const faulty = withFaults(client, { "Tasks/Create": { before } });
      expect(await failure(startTask(faulty, container, { io: nullIo, signal }))).toBe(Code.Canceled);
      expect((await task.task.state()).status).toBe("running");
    }
    await removeContainer(client, "taken");
  });
});

async function importBusybox(client: Client): Promise<void> {
  const { archive } = await busyboxImage();
  await importImage(client, oneChunk(archive), { unpack: { snapshotter: "overlayfs" } });
}

/** What only they held is collected when it resolves. */
async function removeImages(client: Client): Promise<void> {
  for await (const { name } of client.images.list()) await client.images.delete(name, { sync: true });
}

async function failure(work: Promise<unknown>): Promise<Code> {
  return codeOf(
    await work.then(
      () => undefined,
      (error: unknown) => error,
    ),
  );
}

async function* oneChunk(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}

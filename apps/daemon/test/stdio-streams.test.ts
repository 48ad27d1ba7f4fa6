import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { Containers } from "@berth/api/containerd/services/containers/v1/containers";
import { Controller, Store } from "@berth/api/containerd/services/sandbox/v1/sandbox";
import { Tasks } from "@berth/api/containerd/services/tasks/v1/tasks";
import { createUnixTransport, type Transport } from "@berth/client/transport";
import { codeName, codeOf } from "@berth/errors";
import type { PeerDaemon } from "@berth/testing";
import { BUSYBOX_IMAGE, busyboxImage, startBerthd } from "@berth/testing";
import { receiveBytes, sendBytes } from "@berth/transfer";
import { createTtrpcTransport, type TtrpcTransport } from "@berth/ttrpc";
import { createClient } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { type OpenStream, openStream } from "./transfer-client.ts";

const NAMESPACE = "streams";
const POD = "pod";
const sandboxer = "shim";

/** Standard streams over the Streaming service of a sandbox's shim, as containerd's CRI opens them with `io_type = "streaming"`. */
describe("standard streams as streams", { timeout: 60_000 }, () => {
  const stack = new AsyncDisposableStack();
  let daemon: PeerDaemon;
  let transport: Transport & { close(): void };
  let address: string;

  const tasks = () => createClient(Tasks, transport);
  /** A connection of its own for each stream, as containerd has. */
  const connect = (): TtrpcTransport => createTtrpcTransport({ path: address.slice("ttrpc+unix://".length) });
  const open = async (id: string): Promise<OpenStream & { leave(): void }> => {
    const connection = connect();
    const stream = await openStream(connection, id);
    return { ...stream, leave: () => connection.close() };
  };
  const uri = (id: string): string => `${address}?streaming_id=${id}`;
  const text = async (stream: OpenStream): Promise<string> =>
    Buffer.concat(await Array.fromAsync(receiveBytes(stream, {}))).toString();
  const say = async (stream: OpenStream, ...words: readonly (string | Uint8Array)[]): Promise<void> => {
    async function* chunks() {
      for (const word of words) yield typeof word === "string" ? new TextEncoder().encode(word) : word;
    }
    await sendBytes(stream, chunks(), {});
  };
  const container = async (id: string, args: readonly string[]): Promise<void> => {
    // what follows a command's `-c` would be taken for a flag of ctr
    const made = await daemon.ctr(["-n", NAMESPACE, "c", "create", BUSYBOX_IMAGE, `of-${id}`, "COMMAND"]);
    expect(made.stderr).toBe("");
    const records = createClient(Containers, transport);
    const { container: record } = await records.get({ id: `of-${id}` });
    if (record?.runtime === undefined || record.spec === undefined) throw new Error("no record");
    const { image, runtime, snapshotter, snapshotKey } = record;
    const json = new TextDecoder().decode(record.spec.value).replace('"COMMAND"', JSON.stringify(args).slice(1, -1));
    const spec = { ...record.spec, value: new TextEncoder().encode(json) };
    await records.create({ container: { id, image, runtime, spec, snapshotter, snapshotKey, sandbox: POD } });
  };
  const remove = async (containerId: string): Promise<number> => {
    const { exitStatus } = await tasks().wait({ containerId });
    await tasks().delete({ containerId });
    return exitStatus;
  };

  beforeAll(async () => {
    daemon = stack.use(await startBerthd());
    transport = createUnixTransport({ path: daemon.address, namespace: NAMESPACE });
    await daemon.ctr(["-n", NAMESPACE, "image", "import", "-"], { input: (await busyboxImage()).archive });
    const sandbox = { sandboxId: POD, runtime: { name: "io.containerd.runc.v2" }, sandboxer };
    await createClient(Store, transport).create({ sandbox });
    const controller = createClient(Controller, transport);
    await controller.create({ sandboxId: POD, sandboxer, sandbox });
    ({ address } = await controller.start({ sandboxId: POD, sandboxer }));
  });
  afterAll(async () => {
    await createClient(Controller, transport).shutdown({ sandboxId: POD, sandboxer });
    transport.close();
    await stack.disposeAsync();
  });

  it("carry every byte, both ways, opened before the task is made", async () => {
    await container("c1", ["sh", "-c", "md5sum; echo said >&2; seq 200000"]);
    const [input, output, error] = [await open("c1-stdin"), await open("c1-stdout"), await open("c1-stderr")];
    const io = { stdin: uri("c1-stdin"), stdout: uri("c1-stdout"), stderr: uri("c1-stderr") };
    await tasks().create({ containerId: "c1", ...io });
    const said = [text(output), text(error)];
    await tasks().start({ containerId: "c1" });
    const bytes = new Uint8Array(500_000).map((_, index) => (index * 7) % 251);
    await say(input, bytes);
    // containerd ends its stream and closes the connection in one breath
    input.close();
    const [out = "", err] = await Promise.all(said);
    expect(out.split("\n", 1)[0]).toBe(`${createHash("md5").update(bytes).digest("hex")}  -`);
    expect(out.endsWith("\n199999\n200000\n")).toBe(true);
    expect(err).toBe("said\n");
    expect(await remove("c1")).toBe(0);
    for (const stream of [input, output, error]) stream.leave();
  });

  it("keep what a client sent before the process was there to read it", async () => {
    await container("c2", ["sh", "-c", "wc -c"]);
    const [input, output] = [await open("c2-stdin"), await open("c2-stdout")];
    await tasks().create({ containerId: "c2", stdin: uri("c2-stdin"), stdout: uri("c2-stdout") });
    // not started: nothing is read yet
    await say(input, "x".repeat(40_000));
    input.close();
    // it is over when all has arrived
    while ((await input.receive()) !== undefined) continue;
    input.leave();
    const said = text(output);
    await tasks().start({ containerId: "c2" });
    expect(await said).toBe("40000\n");
    expect(await remove("c2")).toBe(0);
    output.leave();
  });

  it("wait for their clients, and for those that are lost to come again", async () => {
    const script = "echo one; read word; echo $word; read word; echo $word; cat; echo end";
    await container("c3", ["sh", "-c", script]);
    await tasks().create({ containerId: "c3", stdin: uri("c3-stdin"), stdout: uri("c3-stdout") });
    await tasks().start({ containerId: "c3" });
    const first = { input: await open("c3-stdin"), output: await open("c3-stdout") };
    const read = receiveBytes(first.output, {});
    const heard = async (): Promise<string> => new TextDecoder().decode((await read.next()).value ?? undefined);
    expect(await heard()).toBe("one\n");
    await say(first.input, "two\n");
    expect(await heard()).toBe("two\n");
    for (const stream of Object.values(first)) stream.leave();
    await read.return?.().catch(() => {});
    const again = async (id: string): Promise<OpenStream & { leave(): void }> => {
      for (;;) {
        // that the first client has gone may not have been noticed yet
        const stream = await open(id).catch(() => undefined);
        if (stream !== undefined) return stream;
      }
    };
    const second = { input: await again("c3-stdin"), output: await again("c3-stdout") };
    let rest = "";
    const hearing = (async () => {
      for await (const bytes of receiveBytes(second.output, {})) rest += new TextDecoder().decode(bytes);
    })();
    await say(second.input, "three\n", "four\n");
    await expect.poll(() => rest).toBe("three\nfour\n");
    second.input.leave();
    // nobody is to come any more: the input ends
    await tasks().closeIO({ containerId: "c3", stdin: true });
    await hearing;
    expect(rest).toBe("three\nfour\nend\n");
    expect(await remove("c3")).toBe(0);
    second.output.leave();
  });

  it("serve execs and terminals; nothing stays of them", async () => {
    await container("c4", ["sleep", "1000"]);
    await tasks().create({ containerId: "c4" });
    await tasks().start({ containerId: "c4" });
    const descriptors = async (): Promise<number> => {
      const { readdir } = await import("node:fs/promises");
      const { pid } = await createClient(Controller, transport).status({ sandboxId: POD, sandboxer });
      return (await readdir(`/proc/${pid}/fd`)).length;
    };
    const before = await descriptors();
    for (const terminal of [false, true, false, true]) {
      const execId = `e${terminal ? "t" : "p"}${Math.trunc(performance.now() * 1000)}`;
      const [input, output] = [await open(`${execId}-stdin`), await open(`${execId}-stdout`)];
      const process = { args: ["sh", "-c", "read word; echo got $word"], env: ["PATH=/bin"], cwd: "/", terminal };
      const spec = {
        typeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Process",
        value: new TextEncoder().encode(JSON.stringify({ ...process, user: { uid: 0, gid: 0 } })),
      };
      const io = { stdin: uri(`${execId}-stdin`), stdout: uri(`${execId}-stdout`), terminal };
      await tasks().exec({ containerId: "c4", execId, spec, ...io });
      await tasks().start({ containerId: "c4", execId });
      const said = text(output);
      await say(input, "word\n");
      expect((await said).replaceAll("\r", "")).toBe(terminal ? "word\ngot word\n" : "got word\n");
      expect((await tasks().wait({ containerId: "c4", execId })).exitStatus).toBe(0);
      await tasks().deleteProcess({ containerId: "c4", execId });
      for (const stream of [input, output]) stream.leave();
    }
    await expect.poll(descriptors).toBe(before);
    await tasks().kill({ containerId: "c4", signal: 9 });
    expect(await remove("c4")).toBe(137);
  });

  it.each([
    ["no id", "?x=y"],
    ["another transport", "vsock"],
  ])("are refused with %s, and nothing is left", async (_, kind) => {
    await container(`bad-${kind.length}`, ["true"]);
    const containerId = `bad-${kind.length}`;
    const stdout = kind === "vsock" ? "ttrpc+vsock://3:4?streaming_id=x" : `${address}${kind}`;
    const code = await tasks()
      .create({ containerId, stdout })
      .then(
        () => "ok",
        (error: unknown) => codeName(codeOf(error)),
      );
    expect(code).toBe("invalid_argument");
    const bundle = join(daemon.state, "io.containerd.runtime.v2.task", NAMESPACE, containerId, "config.json");
    await expect(readFile(bundle)).rejects.toThrow("ENOENT");
  });
});

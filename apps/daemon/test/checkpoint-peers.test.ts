import { join } from "node:path";

import { BUSYBOX_IMAGE, type PeerDaemon, temporaryDirectory } from "@berth/testing";
import { expect, it } from "vitest";

import { SideBySide } from "./side-by-side.ts";

/** Has a name in memory alone: what still has it was restored, not started again. */
const COUNT = [
  "read name < /proc/sys/kernel/random/uuid; i=0",
  "while true; do i=$((i+1)); echo $name $i > /new; busybox mv /new /count; sleep 0.05; done",
].join("; ");

const LONG = { timeout: 20_000 };

/** CRIU reads and writes what is in memory; who asks for it, and who keeps the files, is to make no difference. */
it("a container that was checkpointed under one daemon goes on under the other", { timeout: 120_000 }, async () => {
  await using stack = new AsyncDisposableStack();
  const { path } = stack.use(await temporaryDirectory("checkpoint-peers"));
  const pair = stack.use(await SideBySide.start());
  pair.define({ IMAGE: BUSYBOX_IMAGE, DIR: path });
  const done = async (daemon: PeerDaemon, line: string): Promise<string> => {
    const { code, stdout, stderr } = await pair.run(daemon, line);
    expect({ line, code, stderr }).toMatchObject({ line, code: 0 });
    return stdout;
  };
  const read = async (daemon: PeerDaemon, id: string): Promise<{ readonly name: string; readonly count: number }> => {
    const [name = "", count] = (await done(daemon, `tasks exec --exec-id read-${id} ${id} cat /count`)).split(" ");
    return { name, count: Number(count) };
  };

  const names = new Map<PeerDaemon, string>();
  for (const daemon of [pair.berthd, pair.containerd]) {
    // In the host's network: CRIU would lock the container's own by iptables, which not every kernel has.
    await done(daemon, `run -d --net-host --null-io IMAGE ID sh -c '${COUNT}'`);
    await expect
      .poll(async () => (await pair.run(daemon, "tasks exec --exec-id first ID cat /count")).code, LONG)
      .toBe(0);
    names.set(daemon, (await read(daemon, "ID")).name);
    await done(daemon, "containers checkpoint --image --rw --task ID example.org/checkpoint:1");
    await done(daemon, "tasks rm -f ID");
    await done(daemon, "containers rm ID");
    // Go's export cannot write the list that Docker reads for an image that is none.
    await done(daemon, `images export --skip-manifest-json DIR/of-ID example.org/checkpoint:1`);
    await done(daemon, "images rm example.org/checkpoint:1");
  }
  for (const [from, to] of [
    [pair.berthd, pair.containerd],
    [pair.containerd, pair.berthd],
  ] as const) {
    const archive = join(path, `of-${pair.idOf(from)}`);
    await done(to, `images import --local --no-unpack ${archive}`);
    await done(to, `containers restore --rw --live ID3 example.org/checkpoint:1`);
    const { name, count } = await read(to, "ID3");
    expect(name).toBe(names.get(from));
    await expect.poll(async () => (await read(to, "ID3")).count, LONG).toBeGreaterThan(count);
    await done(to, "tasks rm -f ID3");
    await done(to, "containers rm ID3");
  }
});

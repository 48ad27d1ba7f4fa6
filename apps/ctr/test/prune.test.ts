import { spawn } from "node:child_process";
import { once } from "node:events";
import { createReadStream, writeSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";

import type { Client } from "@berth/client";
import { Client as ClientClass, createClient } from "@berth/client";
import { parseNamespace } from "@berth/core/namespaces";
import { openPty } from "@berth/linux/terminal";
import { buildImage, startRegistry } from "@berth/testing";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";

import { pruneImages } from "../src/usage/prune-images.ts";
import type { Bench } from "./peers.ts";
import { BUSYBOX_IMAGE, startBench } from "./peers.ts";

const OTHER = "example.org/other:1";
/** Keys of a terminal: Ctrl-D and Ctrl-C. */
const [END_OF_INPUT, INTERRUPT] = ["\u0004", "\u0003"];

describe.each(["berthd", "containerd"] as const)("prune on %s", (kind) => {
  let bench: Bench;
  let client: Client;
  let otherDigest: string;

  const say = (...args: readonly string[]): Promise<string> => bench.say(...args);
  const images = async (): Promise<readonly string[]> => (await say("images", "ls", "-q")).split("\n").filter(Boolean);
  const hasOtherContent = async (): Promise<boolean> => (await say("content", "ls", "-q")).includes(otherDigest);

  beforeAll(async () => {
    bench = await startBench(kind);
    client = createClient({ address: bench.daemon.address });
    const content = new TextEncoder().encode("other".repeat(1000));
    const entry = { path: "file", type: "file", mode: 0o644, size: content.length, content } as const;
    const other = await buildImage({ name: OTHER, layers: [[entry]] });
    otherDigest = other.manifest.digest;
    await writeFile(join(bench.directory.path, "other.tar"), other.archive);
  });

  afterAll(async () => {
    await client[Symbol.asyncDispose]();
    await bench[Symbol.asyncDispose]();
  });

  beforeEach(async () => {
    await say("images", "import", bench.archive);
    await say("images", "import", join(bench.directory.path, "other.tar"));
  });

  afterEach(async () => {
    for await (const { id } of client.tasks.list()) await bench.ctr(["tasks", "rm", "-f", id]);
    for await (const { id } of client.containers.list()) await bench.ctr(["containers", "rm", id]);
  });

  it("takes only what has no name; --dry-run takes nothing", async () => {
    const { target } = await client.images.get(OTHER);
    await client.images.create({ name: `import-1@${target.digest}`, target, labels: new Map() });
    expect(await say("images", "prune", "-f")).toMatch(/^freed /);
    await client.images.delete(OTHER);
    expect(await say("images", "prune", "--dry-run")).toMatch(
      new RegExp(`^import-1@${target.digest}\nwould free [1-9]`),
    );
    expect(await hasOtherContent()).toBe(true);
    expect(await say("images", "prune", "-f")).toMatch(new RegExp(`^import-1@${target.digest}\nfreed [1-9]`));
    expect(await images()).toEqual([BUSYBOX_IMAGE]);
    expect(await hasOtherContent()).toBe(false);
  });

  it("--all leaves what a container runs of, under whatever name, and collects the rest", async () => {
    await say("images", "tag", BUSYBOX_IMAGE, "example.org/same:1");
    await say("run", "-d", "--null-io", BUSYBOX_IMAGE, "one", "sleep", "1000");
    expect(await say("images", "prune", "--all", "--filter", "name~=nothing")).toBe("freed 0.0 B\n");
    expect(await say("images", "prune", "-f", "--all", "--filter", "name~=other")).toMatch(
      /^example.org\/other:1\nfreed [1-9]/,
    );
    expect(await images()).toEqual([BUSYBOX_IMAGE, "example.org/same:1"].toSorted());
    expect(await hasOtherContent()).toBe(false);
    expect(await say("tasks", "ls")).toMatch(/^one +\d+ +RUNNING/m);
    expect((await bench.ctr(["tasks", "exec", "--exec-id", "e", "one", "echo", "alive"])).stdout).toBe("alive\n");
    await say("images", "rm", "example.org/same:1");
  });

  it("--all leaves what a pull holds by its lease", async () => {
    {
      await using lease = await client.lease();
      await lease.hold({ type: "content", id: otherDigest });
      expect(await say("images", "prune", "-f", "--all")).toMatch(new RegExp(`^${BUSYBOX_IMAGE}\nfreed `));
      expect(await images()).toEqual([OTHER]);
    }
    expect(await say("images", "prune", "-f", "--all")).toMatch(/^example.org\/other:1\n/);
    expect(await say("content", "ls", "-q")).toBe("");
    expect(await say("snapshots", "ls")).toBe("KEY PARENT KIND \n");
  });

  it("never harms a pull that is under way", async () => {
    await using registry = await startRegistry();
    const name = `${registry.host}/busybox:1`;
    await say("images", "push", "--local", "--plain-http", name, BUSYBOX_IMAGE);
    await say("images", "rm", "--sync", BUSYBOX_IMAGE);
    for (let round = 0; round < 2; round += 1) {
      const pull = { isOver: false };
      const pulling = bench.ctr(["images", "pull", "--plain-http", name]).finally(() => {
        pull.isOver = true;
      });
      while (!pull.isOver) await say("images", "prune", "-f", "--all");
      const { code, stderr } = await pulling;
      // A prune that began when the daemon was done may have taken the image before the command looks at it.
      if (code !== 0) expect(stderr).toContain("not found");
      const check = await say("images", "check", `name==${name}`);
      if (check.includes(name)) expect(check).toMatch(/ complete .* true/);
      await say("images", "pull", "--plain-http", name);
      expect(await say("images", "check", `name==${name}`)).toMatch(/ complete .* true/);
    }
    await say("images", "rm", "--sync", name);
  }, 60_000);

  it.each([
    ["", false],
    [", also when stopped then", true],
  ])("puts an image back of which a container was made while it was removed, complete%s", async (_, stops) => {
    const stop = new AbortController();
    const { transport } = client;
    const meddling = new ClientClass(
      {
        ...transport,
        stream: transport.stream.bind(transport),
        unary: async (method, ...rest) => {
          const answer = await transport.unary(method, ...rest);
          if (method.parent.name === "Images" && method.name === "Delete") {
            const spec = {
              typeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Spec",
              value: new Uint8Array([123, 125]),
            };
            const record = { id: "late", image: OTHER, runtime: { name: "io.containerd.runc.v2" }, spec };
            const rest_ = { snapshotter: "", snapshotKey: "", sandboxId: "", labels: new Map(), extensions: new Map() };
            await client.containers.create({ ...record, ...rest_ });
            if (stops) stop.abort();
          }
          return answer;
        },
      },
      parseNamespace("default"),
    );
    expect(await pruneImages(meddling, [await client.images.get(OTHER)], { signal: stop.signal })).toEqual([]);
    expect(await images()).toContain(OTHER);
    expect(await say("images", "check", `name==${OTHER}`)).toMatch(/complete \(2\/2\).* true/);
    expect(await Array.fromAsync(client.leases.list())).toEqual([]);
  });

  it("system prune removes what has ended, and nothing that runs, is young or is looked after", async () => {
    await say("run", "-d", "--null-io", BUSYBOX_IMAGE, "running", "sleep", "1000");
    await say("run", "--null-io", BUSYBOX_IMAGE, "without-task", "true");
    await say("run", "-d", "--null-io", BUSYBOX_IMAGE, "ended", "true");
    await say("run", "-d", "--null-io", "--label", "io.cri-containerd.kind=container", BUSYBOX_IMAGE, "pod", "true");
    for (const id of ["ended", "pod"]) await client.tasks.task(id).wait();
    expect(await say("system", "prune", "--all", "--dry-run")).toMatch(
      /^container ended\nimage example.org\/other:1\nwould free /,
    );
    expect(await say("system", "prune", "-f", "--filter", "labels.no==such")).toMatch(/^freed /);
    expect(await say("system", "prune", "-f", "--filter", "label=no-such")).toMatch(/^freed /);
    expect(await say("system", "prune", "-f", "--all")).toMatch(/^container ended\nimage example.org\/other:1\nfreed /);
    expect(await say("containers", "ls", "-q")).toBe("pod\nrunning\nwithout-task\n");
    expect(await say("tasks", "ls")).toMatch(/^running +\d+ +RUNNING/m);
    expect(await images()).toEqual([BUSYBOX_IMAGE]);
    const keys = await Array.fromAsync(
      client.snapshotter("overlayfs").list({ filters: ["kind==active"] }),
      ({ name }) => name,
    );
    expect(keys.toSorted()).toEqual(["pod", "running", "without-task"]);
  });

  it("system df counts what is used and what is not, before and after", async () => {
    const rows = async () =>
      // The members that this test asserts.
      new Map(
        (JSON.parse(await say("system", "df", "--format", "json")) as { type: string }[]).map((row) => [row.type, row]),
      );
    const idle = await rows();
    expect(idle.get("Images")).toMatchObject({ total: 2, active: 0 });
    expect(idle.get("Containers")).toEqual({ type: "Containers", total: 0, active: 0, size: "0", reclaimable: "0" });
    expect(idle.get("Content")).toMatchObject({ active: 0 });
    await say(
      "run",
      "-d",
      "--null-io",
      BUSYBOX_IMAGE,
      "one",
      "sh",
      "-c",
      "head -c 100000 /dev/urandom >/file; sync; sleep 1000",
    );
    await expect
      .poll(async () => Number((await rows()).get("Containers")?.["size" as "type"]), { timeout: 10_000 })
      .toBeGreaterThan(100_000);
    const busy = await rows();
    expect(busy.get("Images")).toMatchObject({ total: 2, active: 1 });
    expect(busy.get("Containers")).toMatchObject({ total: 1, active: 1, reclaimable: "0" });
    expect(busy.get("Content")).toMatchObject({ active: 3 });
    expect(busy.get("Snapshots (overlayfs)")).toMatchObject({ total: 3, active: 2 });
    expect(await say("system", "df")).toMatch(/^TYPE +TOTAL +ACTIVE +SIZE +RECLAIMABLE +\nImages +2 +1 +/);
  });

  it.each(["images", "system"])("%s prune removes nothing unasked", async (group) => {
    expect(await bench.fail(group, "prune", "--all")).toContain("--force");
    expect(await images()).toHaveLength(2);
    expect(await hasOtherContent()).toBe(true);
  });

  it.each(["images", "system"])("%s prune that would remove nothing asks nobody", async (group) => {
    expect(await say(group, "prune")).toMatch(/^freed /);
    expect(await images()).toHaveLength(2);
  });

  it("asks on a terminal, wherever its output goes", async () => {
    const [program, ...args] = bench.command(["images", "prune", "--all"]);
    const ask = async (answer: string): Promise<number> => {
      using pty = openPty();
      const child = spawn(program, args, { stdio: [pty.slave, "ignore", pty.slave] });
      const reader = createReadStream("", { fd: pty.master, autoClose: false });
      let screen = "";
      reader.on("error", () => {});
      reader.on("data", (chunk) => {
        const seen = screen.includes("[y/N]");
        screen += chunk.toString();
        if (!seen && screen.includes("[y/N]")) writeSync(pty.master, answer);
      });
      const [code] = await once(child, "close");
      reader.destroy();
      return Number(code);
    };
    for (const answer of ["n\n", "\n", END_OF_INPUT, INTERRUPT]) {
      expect({ answer, failed: (await ask(answer)) !== 0 }).toEqual({ answer, failed: true });
      expect(await images()).toHaveLength(2);
    }
    expect(await ask("y\n")).toBe(0);
    expect(await images()).toEqual([]);
  });
});

import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";

import type { BuiltImage, PeerDaemon, ProgramOptions, ProgramResult } from "@berth/testing";
import { busyboxImage, debianTool, runProgram, sha256, startBerthd } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

/** Debian's Go `ctr`, unmodified, against berthd. */
describe("Go ctr", () => {
  const stack = new AsyncDisposableStack();
  let daemon: PeerDaemon;
  let image: BuiltImage;

  const run = (args: readonly string[], options?: ProgramOptions): Promise<ProgramResult> => daemon.ctr(args, options);
  /** Runs a command that must succeed and returns what it printed. */
  const ctr = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await run(args);
    expect(stderr.replace(/^WARNING: .*\n/gm, "")).toBe("");
    expect(code).toBe(0);
    return stdout;
  };
  /** Columns of each line after the header. */
  const rows = (table: string): string[][] =>
    table
      .trim()
      .split("\n")
      .slice(1)
      .map((line) => line.trim().split(/\s+/));

  beforeAll(async () => {
    daemon = stack.use(await startBerthd());
    image = await busyboxImage();
    const { code, stderr } = await run(["image", "import", "-"], { input: image.archive });
    expect(stderr).toBe("");
    expect(code).toBe(0);
  });
  afterAll(() => stack.disposeAsync());

  it("version: tells the server's version and identity", async () => {
    expect(await ctr("version")).toMatch(
      /Server:\n {2}Version: {2}2\.\d+\.\d+\+berth\.[\d.]+\n(.*\n)* {2}UUID: [0-9a-f-]{36}/,
    );
  });

  it("plugins ls: shows what loaded, and btrfs skipped with its reason", async () => {
    const plugins = rows(await ctr("plugins", "ls"));
    expect(plugins.find(([, id]) => id === "overlayfs")).toEqual([
      "io.containerd.snapshotter.v1",
      "overlayfs",
      expect.any(String),
      "ok",
    ]);
    expect(plugins.find(([, id]) => id === "btrfs")?.at(-1)).toBe("skip");
    expect(plugins.filter((row) => row.at(-1) === "error")).toEqual([]);
    const detailed = await ctr("plugins", "ls", "--detailed", "id==btrfs");
    expect(detailed).toMatch(/Code:\s+Unknown/);
    expect(detailed).toMatch(/Message:\s+.*skip plugin/);
  });

  it("namespaces: create, ls, label, rm", async () => {
    await ctr("namespaces", "create", "team", "owner=a");
    expect(rows(await ctr("namespaces", "ls"))).toContainEqual(["team", "owner=a"]);
    await ctr("namespaces", "label", "team", "owner=b");
    expect(rows(await ctr("namespaces", "ls"))).toContainEqual(["team", "owner=b"]);
    await ctr("namespaces", "rm", "team");
    expect(rows(await ctr("namespaces", "ls")).map(([name]) => name)).not.toContain("team");
  });

  it("namespaces rm: refuses one that holds something, and names what", async () => {
    const { code, stderr } = await run(["namespaces", "rm", "default"]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/images.*blobs|blobs.*images|must be empty/);
  });

  it("image ls and check: shows the image complete and unpacked", async () => {
    expect(rows(await ctr("image", "ls"))).toContainEqual(
      expect.arrayContaining([image.name, image.manifest.mediaType, image.manifest.digest]),
    );
    const [row] = rows(await ctr("image", "check"));
    expect(row).toEqual(expect.arrayContaining([image.name, "complete", "(2/2)", "true"]));
  });

  it("image rm: removes a name and leaves the others", async () => {
    await ctr("image", "tag", image.name, "example.org/other:1");
    await ctr("image", "rm", "--sync", "example.org/other:1");
    expect(rows(await ctr("image", "ls")).map(([name]) => name)).toEqual([image.name]);
    expect((await run(["image", "rm", "example.org/other:1"])).stderr).toContain("not found");
  });

  it("content: ls, get, ingest", async () => {
    const listed = (await ctr("content", "ls", "-q")).trim().split("\n");
    expect(listed.sort()).toEqual([...image.blobs.keys()].sort());
    expect(sha256(Buffer.from(await ctr("content", "get", image.config.digest)))).toBe(image.config.digest);
    const blob = Buffer.from("some bytes of a test");
    const digest = sha256(blob);
    const wrong = await run(["content", "ingest", "--expected-digest", sha256(Buffer.from("x")), "ref-1"], {
      input: blob,
    });
    expect(wrong.stderr).toContain("failed precondition");
    // Nothing refers to it, so that the collector may come between the two commands.
    let pinned = 1;
    for (let tries = 0; tries < 10 && pinned !== 0; tries += 1) {
      expect((await run(["content", "ingest", "--expected-digest", digest, "ref-2"], { input: blob })).code).toBe(0);
      pinned = (await run(["content", "label", digest, "containerd.io/gc.root=test"])).code;
    }
    expect(await ctr("content", "get", digest)).toBe(blob.toString());
    await ctr("content", "rm", digest);
    expect((await run(["content", "get", digest])).stderr).toContain("not found");
  });

  it("snapshots: ls, info, tree, mounts", async () => {
    const chainId = image.diffIds[0] ?? "";
    expect(rows(await ctr("snapshots", "ls"))).toContainEqual([chainId, "Committed"]);
    expect(JSON.parse(await ctr("snapshots", "info", chainId))).toMatchObject({ Kind: "Committed", Name: chainId });
    await ctr("snapshots", "prepare", "work", chainId);
    expect(await ctr("snapshots", "tree")).toContain("work");
    expect(await ctr("snapshots", "mounts", "/mnt/target", "work")).toMatch(
      /^mount -t overlay overlay \/mnt\/target -o .*upperdir=/,
    );
    await ctr("snapshots", "rm", "work");
    expect((await run(["snapshots", "info", "work"])).stderr).toContain("not found");
  });

  it("run --rm: gives output and exit code, and leaves nothing", async () => {
    expect(await ctr("run", "--rm", image.name, "c1", "echo", "hello")).toBe("hello\n");
    expect((await run(["run", "--rm", image.name, "c1", "sh", "-c", "echo no >&2; exit 7"])).code).toBe(7);
    expect(await ctr("container", "ls", "-q")).toBe("");
    expect(await ctr("task", "ls", "-q")).toBe("");
    expect(rows(await ctr("snapshots", "ls")).map(([key]) => key)).not.toContain("c1");
  });

  it("run: passes a large output on whole", { timeout: 60_000 }, async () => {
    const { stdout } = await run(["run", "--rm", image.name, "big", "sh", "-c", "seq 1 200000"]);
    expect(stdout.split("\n")).toHaveLength(200_001);
    expect(stdout.endsWith("200000\n")).toBe(true);
  });

  it("run: feeds standard input through to its end", async () => {
    // Go's ctr forgets to close a standard input that ends before the task exists, with any daemon: one that ends later is needed.
    const input = "x".repeat(2_000_000);
    const { stdout, code } = await run(["run", "--rm", image.name, "in", "wc", "-c"], { input });
    expect({ stdout: stdout.trim(), code }).toEqual({ stdout: "2000000", code: 0 });
  });

  it("run -t: gives the process a terminal", async () => {
    const command = `${debianTool("ctr")} -a ${daemon.address} run --rm -t ${image.name} tty1 sh -c 'tty; stty size'`;
    const { stdout, code } = await runProgram("script", ["-qec", command, "/dev/null"]);
    expect(code).toBe(0);
    expect(stdout).toContain("/dev/pts/0");
  });

  it("run -d, task ls, exec, ps, kill, rm, container ls, info, rm", async () => {
    await ctr("run", "-d", image.name, "d1", "sleep", "1000");
    const [task] = rows(await ctr("task", "ls"));
    expect(task).toEqual(["d1", expect.stringMatching(/^\d+$/), "RUNNING"]);
    expect(await ctr("task", "exec", "--exec-id", "e1", "d1", "echo", "from exec")).toBe("from exec\n");
    expect((await run(["task", "exec", "--exec-id", "e2", "d1", "sh", "-c", "exit 3"])).code).toBe(3);
    expect(rows(await ctr("task", "ps", "d1")).map(([pid]) => pid)).toEqual([task?.[1]]);
    expect(rows(await ctr("container", "ls"))).toContainEqual(["d1", image.name, "io.containerd.runc.v2"]);
    expect(JSON.parse(await ctr("container", "info", "d1"))).toMatchObject({
      ID: "d1",
      Image: image.name,
      Snapshotter: "overlayfs",
    });
    expect((await run(["container", "rm", "d1"])).code).toBe(1);
    await ctr("task", "pause", "d1");
    expect(rows(await ctr("task", "ls"))[0]?.at(-1)).toBe("PAUSED");
    await ctr("task", "resume", "d1");
    expect(await ctr("task", "metrics", "d1")).toContain("d1");
    await ctr("task", "kill", "-s", "SIGKILL", "d1");
    await expect.poll(async () => rows(await ctr("task", "ls"))[0]?.at(-1)).toBe("STOPPED");
    expect((await run(["task", "rm", "d1"])).stderr).toContain("exit with non-zero exit code 137");
    await ctr("container", "rm", "d1");
    expect(await ctr("container", "ls", "-q")).toBe("");
  });

  it("events: shows a run in containerd's order", async () => {
    const events = spawn(debianTool("ctr"), ["-a", daemon.address, "events"]);
    let output = "";
    events.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
    try {
      await sleep(300);
      await ctr("run", "--rm", image.name, "ev", "true");
      await expect.poll(() => output).toContain("/containers/delete");
    } finally {
      events.kill("SIGTERM");
      await once(events, "close");
    }
    const topics = output
      .trim()
      .split("\n")
      .filter((line) => line.includes('"ev"'))
      .map((line) => /(\/[a-z/-]+) \{/.exec(line)?.[1]);
    expect(topics.filter((topic) => topic?.startsWith("/tasks/"))).toEqual([
      "/tasks/create",
      "/tasks/start",
      "/tasks/exit",
      "/tasks/delete",
    ]);
    expect(topics.slice(0, 2)).toEqual(["/snapshot/prepare", "/containers/create"]);
    expect(topics).toContain("/snapshot/remove");
  });

  it("keeps containers over a restart of the daemon, and an exit while it was down", { timeout: 60_000 }, async () => {
    await ctr("run", "-d", image.name, "stays", "sleep", "1000");
    await ctr("run", "-d", image.name, "ends", "sh", "-c", "sleep 0.7; exit 5");
    await daemon.restart({ signal: "SIGKILL", whileDown: () => sleep(1500) });
    const states = Object.fromEntries(rows(await ctr("task", "ls")).map(([id, , status]) => [id, status]));
    expect(states).toEqual({ stays: "RUNNING", ends: "STOPPED" });
    expect((await run(["task", "rm", "ends"])).stderr).toContain("exit with non-zero exit code 5");
    expect(await ctr("task", "exec", "--exec-id", "after", "stays", "echo", "still here")).toBe("still here\n");
    await ctr("task", "kill", "-s", "SIGKILL", "stays");
    await expect.poll(async () => rows(await ctr("task", "ls"))[0]?.at(-1)).toBe("STOPPED");
    await run(["task", "rm", "stays"]);
    await ctr("container", "rm", "stays", "ends");
  });

  it("leases: create, ls, rm", async () => {
    const id = (await ctr("leases", "create", "--id", "l1", "purpose=test")).trim();
    expect(id).toBe("l1");
    expect(await ctr("leases", "ls")).toMatch(/l1.*purpose=test/);
    await ctr("leases", "rm", "l1");
    expect(await ctr("leases", "ls", "-q")).toBe("");
  });

  it.each([
    ["a bad namespace", ["-n", "no/good", "image", "ls"], "must match"],
    ["a missing container", ["task", "start", "nothing"], "not found"],
    ["a bad digest", ["content", "get", "sha256:zz"], "invalid"],
    ["a missing image", ["run", "--rm", "example.org/none:1", "x"], "not found"],
    ["an unknown runtime", ["run", "--rm", "--runtime", "io.example.none.v1", "IMAGE", "x"], "not"],
    ["an unknown snapshotter", ["snapshots", "--snapshotter", "none", "ls"], "not loaded"],
  ])("answers %s with containerd's kind of error", async (_, args, text) => {
    const { code, stderr } = await run(args.map((arg) => (arg === "IMAGE" ? image.name : arg)));
    expect(code).toBe(1);
    expect(stderr).toContain(text);
  });
});

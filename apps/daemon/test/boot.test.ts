import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { mountAll, readMountInfo } from "@berth/linux/mount";
import { launcher, runProgram, startBerthd, temporaryDirectory } from "@berth/testing";
import { describe, expect, it } from "vitest";

/** Arguments of a daemon on private directories. */
const privately = (directory: string): string[] => [
  "--root",
  join(directory, "root"),
  "--state",
  join(directory, "state"),
];

describe("berthd boot", () => {
  it.each([0, 40, 80, 120, 160, 240])("stops cleanly when told so after %d ms, wherever it is", async (delayMs) => {
    await using directory = await temporaryDirectory("boot");
    const child = spawn(launcher("berthd"), privately(directory.path), { stdio: ["ignore", "ignore", "pipe"] });
    let log = "";
    child.stderr.on("data", (chunk: Buffer) => (log += chunk.toString()));
    // Before its handlers are there, the signal ends the process as it ends any other.
    await expect.poll(() => log, { timeout: 20_000 }).toContain("starting berth");
    await sleep(delayMs);
    child.kill("SIGTERM");
    const [code] = await once(child, "close");
    expect(log).not.toContain("Error");
    expect(code).toBe(0);
    expect(existsSync(join(directory.path, "state", "berth.sock"))).toBe(false);
  });

  it("tells systemd when it is ready and when it stops", async () => {
    await using directory = await temporaryDirectory("notify");
    const socket = join(directory.path, "notify");
    const output = join(directory.path, "output");
    const script = `use Socket; socket(S, PF_UNIX, SOCK_DGRAM, 0) or die; bind(S, sockaddr_un("${socket}")) or die;
      for (1..2) { recv(S, $m, 100, 0); open(F, ">>", "${output}"); print F "$m\\n"; close F; }`;
    const receiver = spawn("perl", ["-e", script], { stdio: "ignore" });
    const ended = once(receiver, "close");
    await expect.poll(() => existsSync(socket)).toBe(true);
    const received = (): Promise<string> => readFile(output, "utf8").catch(() => "");
    {
      await using _daemon = await startBerthd({ env: { NOTIFY_SOCKET: socket } });
      await expect.poll(received).toBe("READY=1\n");
    }
    await ended;
    expect(await received()).toBe("READY=1\nSTOPPING=1\n");
  });

  it("clears what a crash left mounted", async () => {
    await using directory = await temporaryDirectory("tmpmounts");
    const left = join(directory.path, "root", "tmpmounts", "berth-mount-1");
    await mkdir(left, { recursive: true });
    await mountAll([{ type: "tmpfs", source: "tmpfs", target: "", options: [] }], left);
    await using _daemon = await startBerthd({ directory: directory.path });
    expect(readMountInfo().some(({ mountPoint }) => mountPoint === left)).toBe(false);
    expect(existsSync(left)).toBe(false);
  });

  it("leaves out disabled plugins, and shows a plugin with a wrong table as failed, with the place", async () => {
    const disabledPlugins = ["io.containerd.snapshotter.v1.native"];
    const config = `[plugins."io.containerd.gc.v1.scheduler"]
  pause_threshold = "much"
  colour = "red"
`;
    await using daemon = await startBerthd({ disabledPlugins, config });
    const { stdout } = await daemon.ctr(["plugins", "ls"]);
    expect(stdout).not.toMatch(/\bnative\b/);
    expect(stdout).toMatch(/scheduler +- +error/);
    const detailed = await daemon.ctr(["plugins", "ls", "--detailed", "id==scheduler"]);
    expect(detailed.stdout).toContain('plugins."io.containerd.gc.v1.scheduler".pause_threshold');
    expect(detailed.stdout).toContain("InvalidArgument");
  });

  it.each(["root", "state", "temp"])("does not start with %s where nothing can be made", async (key) => {
    await using directory = await temporaryDirectory("nowhere");
    const paths = {
      root: join(directory.path, "root"),
      state: join(directory.path, "state"),
      [key]: "/proc/nothing/x",
    };
    const file = join(directory.path, "config.toml");
    await writeFile(
      file,
      Object.entries(paths)
        .map(([name, path]) => `${name} = ${JSON.stringify(path)}\n`)
        .join(""),
    );
    const result = await runProgram(launcher("berthd"), ["-c", file]);
    expect(result.code).toBe(1);
    expect(result.stderr).toContain("berthd: make directory /proc/nothing/x: ");
  });

  it("shows a snapshotter as failed whose directory cannot be made", async () => {
    const names = ["overlayfs", "native", "blockfile", "btrfs", "erofs"];
    const tables = names.map(
      (name) => `[plugins."io.containerd.snapshotter.v1.${name}"]\nroot_path = "/proc/nothing/x"\n`,
    );
    await using daemon = await startBerthd({ config: tables.join("") });
    const { stdout } = await daemon.ctr(["plugins", "ls", "--detailed", "type==io.containerd.snapshotter.v1"]);
    expect(stdout.match(/Code: +NotFound/g)?.length).toBeGreaterThan(3);
    expect(stdout).toMatch(/no such file or directory.*\/proc\/nothing/);
  });

  it.each([
    ["throws", 'throw new Error("planted");'],
    ["rejects", 'void Promise.reject(new Error("planted"));'],
  ])("ends with code 1 when something %s that nobody expects, with the stack in its log", async (_, fault) => {
    await using directory = await temporaryDirectory("crash");
    const preload = join(directory.path, "preload.cjs");
    await writeFile(preload, `process.on("SIGUSR2", function planted() { ${fault} });`);
    const child = spawn(launcher("berthd"), privately(directory.path), {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, NODE_OPTIONS: `--require=${preload}` },
    });
    let log = "";
    child.stderr.on("data", (chunk: Buffer) => (log += chunk.toString()));
    await expect.poll(() => log, { timeout: 20_000 }).toContain("successfully booted");
    child.kill("SIGUSR2");
    const [code] = await once(child, "close");
    expect(code).toBe(1);
    const line = log.split("\n").find((text) => text.includes("unexpected error, the daemon ends"));
    expect(line).toMatch(/level=error .*planted.*preload\.cjs/);
    // What follows takes the directories over.
    await using _daemon = await startBerthd({ directory: directory.path });
  });

  it.each([
    ["is skipped", 'required_plugins = ["io.containerd.snapshotter.v1.btrfs"]'],
    ["is not there", 'required_plugins = ["io.containerd.snapshotter.v1.nothing"]'],
    ["is badly named", 'required_plugins = ["nothing"]'],
  ])("does not start when a required plugin %s, and leaves no socket", async (_, config) => {
    await using directory = await temporaryDirectory("required");
    await writeFile(join(directory.path, "config.toml"), `version = 4\n${config}\n`);
    const result = await runProgram(launcher("berthd"), [
      "-c",
      join(directory.path, "config.toml"),
      ...privately(directory.path),
    ]);
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/berthd: .*plugin/);
    expect(existsSync(join(directory.path, "state", "berth.sock"))).toBe(false);
  });
});

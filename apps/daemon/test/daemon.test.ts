import { lstat, mkdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { PeerDaemon } from "@berth/testing";
import { launcher, runProgram, startBerthd, temporaryDirectory } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const berthd = (args: readonly string[], options = {}) =>
  runProgram(launcher("berthd"), args, { timeoutMs: 20_000, ...options });

describe("berthd command line", () => {
  it("prints its defaults as a configuration that it reads back", async () => {
    await using directory = await temporaryDirectory("config");
    const first = await berthd(["config", "default"]);
    expect(first).toMatchObject({ code: 0, stderr: "" });
    expect(first.stdout).toMatch(/^version = 4$/m);
    await writeFile(join(directory.path, "config.toml"), first.stdout);
    const second = await berthd(["--config", join(directory.path, "config.toml"), "config", "dump"]);
    expect(second).toEqual(first);
  });

  it("puts flags into what config dump prints", async () => {
    const { stdout } = await berthd([
      "--root",
      "/some/root",
      "--address",
      "/some/socket",
      "-l",
      "debug",
      "config",
      "dump",
    ]);
    expect(stdout).toContain('root = "/some/root"');
    expect(stdout).toContain('address = "/some/socket"');
    expect(stdout).toContain('level = "debug"');
  });

  it("migrates a configuration of each version to the newest, with its proxies, and changes no file", async () => {
    await using directory = await temporaryDirectory("config");
    const file = join(directory.path, "config.toml");
    const proxy = '[proxy_plugins.far]\n  type = "snapshot"\n  address = "/far.sock"\n';
    const texts = [
      `disabled_plugins = ["btrfs"]\n[grpc]\n  address = "/s.sock"\n[plugins.overlayfs]\n  root_path = "/o"\n${proxy}`,
      `version = 2\ndisabled_plugins = ["io.containerd.snapshotter.v1.btrfs"]\n[grpc]\n  address = "/s.sock"\n[plugins."io.containerd.snapshotter.v1.overlayfs"]\n  root_path = "/o"\n${proxy}`,
      `version = 3\ndisabled_plugins = ["io.containerd.snapshotter.v1.btrfs"]\n[grpc]\n  address = "/s.sock"\n[plugins."io.containerd.snapshotter.v1.overlayfs"]\n  root_path = "/o"\n${proxy}`,
    ];
    const printed: string[] = [];
    for (const text of texts) {
      await writeFile(file, text);
      const { code, stdout, stderr } = await berthd(["--config", file, "config", "migrate"]);
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(await readFile(file, "utf8")).toBe(text);
      printed.push(stdout);
    }
    const [oldest = ""] = printed;
    expect(printed).toEqual([oldest, oldest, oldest]);
    expect(oldest).toMatch(/^version = 4$/m);
    expect(oldest).toMatch(/^disabled_plugins = \[ "io.containerd.snapshotter.v1.btrfs" \]$/m);
    expect(oldest).toMatch(/^\[plugins\."io\.containerd\.server\.v1\.grpc"\]\naddress = "\/s\.sock"$/m);
    expect(oldest).toContain('root_path = "/o"');
    expect(oldest).toMatch(/^\[proxy_plugins\.far\]\ntype = "snapshot"\naddress = "\/far\.sock"$/m);
    // What was printed is a configuration that reads back as itself.
    await writeFile(file, oldest);
    expect((await berthd(["--config", file, "config", "migrate"])).stdout).toBe(oldest);
  });

  it.each([
    ["equal root and state", ["--root", "/tmp/berth-same", "--state", "/tmp/berth-same/"]],
    ["an empty root", ["--root", "", "--state", "/tmp/berth-state"]],
    ["an empty state", ["--root", "/tmp/berth-root", "--state", ""]],
    ["a relative root", ["--root", "berth", "--state", "/tmp/berth-state"]],
    ["an unknown level", ["--log-level", "loud"]],
    ["an unknown flag", ["--frobnicate"]],
    ["a missing configuration file", ["--config", "/nonexistent/config.toml"]],
  ])("refuses %s with one line", async (_, args) => {
    const { code, stderr } = await berthd(args);
    expect(code).toBe(1);
    expect(stderr.trim().split("\n")).toHaveLength(1);
  });

  it("refuses a root that is containerd's", async () => {
    await using directory = await temporaryDirectory("foreign");
    const database = join(directory.path, "root", "io.containerd.metadata.v1.bolt");
    await mkdir(database, { recursive: true });
    await writeFile(join(database, "meta.db"), "");
    const { code, stderr } = await berthd([
      "--root",
      join(directory.path, "root"),
      "--state",
      join(directory.path, "state"),
    ]);
    expect(code).toBe(1);
    expect(stderr).toContain("meta.db");
  });
});

describe("berthd running", () => {
  let daemon: PeerDaemon;
  beforeAll(async () => {
    daemon = await startBerthd();
  });
  afterAll(async () => {
    await daemon[Symbol.asyncDispose]();
  });

  it("makes root 0700, state 0711 and sockets 0660", async () => {
    const mode = async (path: string): Promise<number> => (await stat(path)).mode & 0o7777;
    expect(await mode(daemon.root)).toBe(0o700);
    expect(await mode(daemon.state)).toBe(0o711);
    expect(await mode(daemon.address)).toBe(0o660);
    expect(await mode(`${daemon.address}.ttrpc`)).toBe(0o660);
  });

  it("keeps its root: a second daemon ends with a clear message and the first one's socket works on", async () => {
    const started = performance.now();
    const { code, stderr } = await berthd([
      "--root",
      daemon.root,
      "--state",
      daemon.state,
      "--address",
      daemon.address,
    ]);
    expect(code).toBe(1);
    expect(stderr).toContain("another daemon is running");
    expect(performance.now() - started).toBeLessThan(10_000);
    expect((await daemon.ctr(["version"])).code).toBe(0);
  });

  it("answers unary calls as JSON on the same socket", async () => {
    const { default: http } = await import("node:http");
    const body = await new Promise<string>((resolve, reject) => {
      const request = http.request(
        {
          socketPath: daemon.address,
          path: "/containerd.services.introspection.v1.Introspection/Plugins",
          method: "POST",
          headers: { "content-type": "application/json" },
        },
        (response) =>
          void Array.fromAsync(response.setEncoding("utf8")).then((parts) => resolve(parts.join("")), reject),
      );
      request.on("error", reject);
      request.end("{}");
    });
    expect(JSON.parse(body)).toMatchObject({
      plugins: expect.arrayContaining([expect.objectContaining({ id: "exchange" })]),
    });
  });

  it("logs each plugin and the end of the boot", async () => {
    const log = await daemon.log();
    expect(log).toMatch(/msg="loading plugin".*id=io\.containerd\.content\.v1\.content/);
    expect(log).toMatch(/successfully booted in [\d.]+s/);
  });

  it("dumps stacks on SIGUSR1, ignores SIGHUP and SIGPIPE, and goes on", async () => {
    const dump = join(tmpdir(), `berthd.${daemon.pid}.stacks.log`);
    await using directory = await temporaryDirectory("dump");
    const elsewhere = join(directory.path, "another");
    await writeFile(elsewhere, "stays");
    await symlink(elsewhere, dump);
    for (const signal of ["SIGUSR1", "SIGHUP", "SIGPIPE"] as const) process.kill(daemon.pid, signal);
    await expect.poll(() => daemon.log()).toContain("stacks and handles dumped");
    expect(await readFile(elsewhere, "utf8")).toBe("stays");
    expect((await lstat(dump)).mode & 0o777).toBe(0o600);
    expect(JSON.parse(await readFile(dump, "utf8"))).toHaveProperty("report.javascriptStack");
    await rm(dump);
    expect((await daemon.ctr(["version"])).code).toBe(0);
  });

  it("starts again on its directories, with the same identity", async () => {
    const uuid = async (): Promise<string | undefined> =>
      /UUID: (\S+)/.exec((await daemon.ctr(["version"])).stdout)?.[1];
    const before = await uuid();
    await daemon.restart();
    expect(await uuid()).toBe(before);
    await daemon.restart({ signal: "SIGKILL" });
    expect(await uuid()).toBe(before);
    expect(before).toMatch(/^[0-9a-f-]{36}$/);
  });
});

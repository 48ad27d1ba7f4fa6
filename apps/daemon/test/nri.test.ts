import { existsSync, readFileSync } from "node:fs";
import { chmod, mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";

import type { RunningNriPlugin } from "@berth/nri/stub";
import { runNriPlugin } from "@berth/nri/stub";
import type { PeerDaemon } from "@berth/testing";
import { startBerthd, temporaryDirectory } from "@berth/testing";
import { expect, it } from "vitest";

const CHILD = join(import.meta.dirname, "../../../packages/nri/test/installed-plugin-child.ts");
const socketOf = (daemon: PeerDaemon): string => join(daemon.state, "nri", "nri.sock");

function isRunning(pid: number): boolean {
  const path = `/proc/${pid}/status`;
  return existsSync(path) && !/^State:\s*Z/m.test(readFileSync(path, "utf8"));
}

async function connectPlugin(daemon: PeerDaemon, seen: string[]): Promise<RunningNriPlugin> {
  return await runNriPlugin(
    {
      configure: ({ runtimeName, runtimeVersion, NRIVersion, requestTimeout }) =>
        void seen.push(`${runtimeName} ${runtimeVersion.split("+")[0]} ${NRIVersion} ${requestTimeout}`),
      synchronize: (pods, containers) => void seen.push(`${pods.length} pods, ${containers.length} containers`),
      shutdown: () => void seen.push("shutdown"),
    },
    { name: "outside", index: "50", socketPath: socketOf(daemon) },
  );
}

it("plugins from outside come and go, and come again after a restart of the daemon", { timeout: 90_000 }, async () => {
  await using daemon = await startBerthd();
  const { stdout } = await daemon.ctr(["plugins", "ls"]);
  expect(stdout).toMatch(/io\.containerd\.nri\.v1 +nri +- +ok/);
  expect((await stat(join(daemon.state, "nri"))).mode & 0o777).toBe(0o700);
  const seen: string[] = [];
  const first = await connectPlugin(daemon, seen);
  await expect.poll(() => seen).toEqual(["containerd 2.4.0 v0.12.2 2000", "0 pods, 0 containers"]);
  // As containerd without CRI: containers that no domain has are passed over.
  expect(await first.updateContainers([{ containerId: "unknown" }])).toEqual([]);
  await daemon.restart();
  await first.closed;
  expect(seen.splice(0)).toContain("shutdown");
  await using second = await connectPlugin(daemon, seen);
  await expect.poll(() => seen.length).toBe(2);
  await daemon.restart({ signal: "SIGKILL" });
  await second.closed;
  await using _third = await connectPlugin(daemon, seen);
  await expect.poll(() => seen.length).toBe(4);
});

it("pre-installed plugins are started anew with each daemon, and none is left", { timeout: 90_000 }, async () => {
  await using directory = await temporaryDirectory("nri-installed");
  const [plugins, configs] = [join(directory.path, "plugins"), join(directory.path, "conf.d")];
  const output = join(directory.path, "output");
  await Promise.all([mkdir(plugins), mkdir(configs)]);
  await writeFile(
    join(plugins, "10-logger"),
    `#!/bin/sh\nexec ${process.execPath} --conditions=@berth/source ${CHILD}\n`,
  );
  await chmod(join(plugins, "10-logger"), 0o755);
  await writeFile(join(configs, "logger.conf"), output);
  const config = `[plugins."io.containerd.nri.v1.nri"]
  plugin_path = "${plugins}"
  plugin_config_path = "${configs}"
  plugin_registration_timeout = "20s"
`;
  const entries = async (): Promise<Record<string, unknown>[]> =>
    (await readFile(output, "utf8").catch(() => ""))
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  const pids = async (): Promise<number[]> =>
    (await entries()).flatMap(({ pid }) => (typeof pid === "number" ? [pid] : []));
  const synchronized = async (): Promise<number> => (await entries()).filter(({ pods }) => pods === 0).length;
  {
    await using daemon = await startBerthd({ config });
    await expect.poll(synchronized, { timeout: 20_000 }).toBe(1);
    // The plugin's answer may still be on its way to the daemon, which tells those alone that take part.
    await expect.poll(() => daemon.log(), { timeout: 20_000 }).toContain("NRI plugin takes part");
    await daemon.restart();
    expect(await entries()).toContainEqual({ shutdown: true });
    await expect.poll(synchronized, { timeout: 20_000 }).toBe(2);
    await daemon.restart({ signal: "SIGKILL" });
    await expect.poll(synchronized, { timeout: 20_000 }).toBe(3);
  }
  const started = await pids();
  expect(started.length).toBe(3);
  // The one whose daemon was killed ends when it sees that; who inherits it reaps it at its leisure.
  await expect.poll(() => started.filter(isRunning), { timeout: 20_000 }).toEqual([]);
});

it.each([
  ["disable = true", "ok", false],
  ["disable_connections = true", "ok", false],
  ['socket_path = "/etc/passwd/nri.sock"', "error", false],
  ['plugin_path = "/proc/self/status"', "ok", true],
])(
  "the daemon boots with %j: the plugin is %s, its socket there: %j",
  { timeout: 60_000 },
  async (key, status, there) => {
    await using daemon = await startBerthd({ config: `[plugins."io.containerd.nri.v1.nri"]\n  ${key}\n` });
    const { stdout } = await daemon.ctr(["plugins", "ls", "id==nri"]);
    expect(stdout).toMatch(new RegExp(`nri +- +${status}`));
    expect(existsSync(socketOf(daemon))).toBe(there);
  },
);

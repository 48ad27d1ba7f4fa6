import { mkdir, readFile, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { join } from "node:path";

import type { Logger } from "@berth/core/log";
import { silentLogger } from "@berth/core/log";
import { temporaryDirectory } from "@berth/testing";
import { expect, it } from "vitest";

import { launchPlugin } from "../src/runtime/launch-plugin.ts";
import { installPlugin, startNri, writeExecutable } from "./nri-setup.ts";

const isAlive = (pid: number): boolean => existsSync(`/proc/${pid}`);

it("starts what is installed, with name, index and configuration, and ends it", { timeout: 60_000 }, async () => {
  let output = "";
  const setup = await startNri({}, async (directory) => {
    output = join(directory, "output");
    await installPlugin(directory, "10-logger", output);
  });
  // Events wait for plugins that are being started.
  await setup.nri.notify("removeContainer", { container: { id: "c1" } });
  const [plugin] = setup.nri.plugins;
  expect(plugin).toMatchObject({ index: "10", name: "logger", preInstalled: true });
  const pid = plugin?.pid ?? 0;
  expect(isAlive(pid)).toBe(true);
  await expect.poll(() => readFile(output, "utf8")).toContain("removed");
  const lines = (await readFile(output, "utf8"))
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as object);
  expect(lines).toEqual([
    { pid, environment: ["logger", "10", "3"], runtimeName: "test", runtimeVersion: "1.2.3" },
    { pods: 0, containers: 0 },
    { removed: "c1" },
  ]);
  await setup[Symbol.asyncDispose]();
  expect(isAlive(pid)).toBe(false);
});

it("leaves out what is no plugin, and goes on without those that fail", { timeout: 60_000 }, async () => {
  let directory = "";
  let output = "";
  const warnings: string[] = [];
  const log: Logger = { ...silentLogger, warn: (_, fields) => void warnings.push(JSON.stringify(fields)) };
  await using setup = await startNri({ registrationTimeoutMs: 10_000, log }, async (path) => {
    directory = path;
    output = join(path, "output");
    const plugins = join(path, "plugins");
    await installPlugin(path, "20-good", output);
    await mkdir(join(plugins, "05-directory"));
    await writeFile(join(plugins, "06-not-executable"), "#!/bin/sh\n");
    await writeExecutable(join(plugins, "badly-named"), "#!/bin/sh\n");
    await writeExecutable(join(plugins, "01-ends"), "#!/bin/sh\nexit 3\n");
    await writeExecutable(join(plugins, "02-missing-interpreter"), "#!/nonexistent/program\n");
    await writeExecutable(join(plugins, "03-wasm"), "\0asm\x01\0\0\0");
    await writeExecutable(
      join(plugins, "04-says-nothing"),
      `#!/bin/sh\necho $$ > ${path}/silent.pid\nexec sleep 1000 3>&-\n`,
    );
  });
  await setup.nri.notify("stopPodSandbox", {});
  expect(setup.nri.plugins.map(({ name }) => name)).toEqual(["good"]);
  // What is no program need not be spoken of.
  expect(
    ["badly-named", "01-", "02-", "03-", "04-", "05-", "06-"].map((name) =>
      warnings.some((text) => text.includes(`/${name}`)),
    ),
  ).toEqual([...Array.from({ length: 5 }, () => true), false, false]);
  const silent = Number(await readFile(join(directory, "silent.pid"), "utf8"));
  await expect.poll(() => isAlive(silent), { timeout: 10_000 }).toBe(false);
});

it("sends a plugin away that dies, and leaves no zombie", { timeout: 60_000 }, async () => {
  await using setup = await startNri({}, (directory) =>
    installPlugin(directory, "10-logger", join(directory, "output")),
  );
  await setup.nri.notify("stopPodSandbox", {});
  const pid = setup.nri.plugins[0]?.pid ?? 0;
  process.kill(pid, "SIGKILL");
  await expect.poll(() => setup.nri.plugins.length, { timeout: 10_000 }).toBe(0);
  await expect.poll(() => isAlive(pid), { timeout: 10_000 }).toBe(false);
  await setup.nri.notify("stopPodSandbox", {});
});

it.each([
  ["goes by itself", "read nothing <&3\n"],
  ["stays", "exec sleep 1000 3>&-\n"],
])("launchPlugin ends a plugin that %s, and takes its status, where its end cannot be watched", async (_, script) => {
  await using directory = await temporaryDirectory("nri");
  const path = join(directory.path, "plugin");
  await writeExecutable(path, `#!/bin/sh\n${script}`);
  const warnings: string[] = [];
  const log: Logger = { ...silentLogger, warn: (message) => void warnings.push(message) };
  const watch = () => Promise.reject(new Error("no descriptor is left"));
  const plugin = launchPlugin({ path, index: "00", name: "p", config: "" }, { log, watch });
  expect(isAlive(plugin.pid)).toBe(true);
  await plugin[Symbol.asyncDispose]();
  expect(isAlive(plugin.pid)).toBe(false);
  expect(warnings).toEqual(["end of NRI plugin is not watched"]);
  await plugin[Symbol.asyncDispose]();
});

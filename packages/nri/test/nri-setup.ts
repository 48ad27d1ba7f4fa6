import { createServer } from "node:net";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

import { silentLogger } from "@berth/core/log";
import type { TemporaryDirectory } from "@berth/testing";
import { temporaryDirectory } from "@berth/testing";

import type { NriOptions } from "../src/index.ts";
import { LocalNri } from "../src/index.ts";

/** NRI on a socket of its own. */
export interface NriSetup extends AsyncDisposable {
  readonly nri: LocalNri;
  readonly socketPath: string;
}

/** This starts NRI in this process; `prepare` sees its directory before. */
export async function startNri(
  options: Partial<NriOptions> = {},
  prepare: (directory: string) => Promise<void> = async () => {},
): Promise<NriSetup> {
  await using stack = new AsyncDisposableStack();
  const directory: TemporaryDirectory = stack.use(await temporaryDirectory("nri"));
  const socketPath = join(directory.path, "nri.sock");
  await prepare(directory.path);
  const nri = new LocalNri({
    runtimeName: "test",
    runtimeVersion: "1.2.3",
    pluginPath: join(directory.path, "plugins"),
    pluginConfigPath: join(directory.path, "conf.d"),
    registrationTimeoutMs: 20_000,
    requestTimeoutMs: 20_000,
    log: silentLogger,
    ...options,
  });
  stack.use(nri);
  const listener = createServer();
  nri.accept(listener);
  await new Promise<void>((resolve) => listener.listen(socketPath, resolve));
  stack.defer(() => void listener.close());
  nri.start();
  const owned = stack.move();
  return { nri, socketPath, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** This writes an executable file. */
export async function writeExecutable(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
  await chmod(path, 0o755);
}

/** This installs the plugin of `installed-plugin-child.ts`, which writes into `output`. */
export async function installPlugin(directory: string, fileName: string, output: string): Promise<void> {
  const child = join(import.meta.dirname, "installed-plugin-child.ts");
  const script = `#!/bin/sh\nexec ${process.execPath} --conditions=@berth/source ${child}\n`;
  await writeExecutable(join(directory, "plugins", fileName), script);
  await mkdir(join(directory, "conf.d"), { recursive: true });
  await writeFile(join(directory, "conf.d", `${fileName}.conf`), `${output}\n`);
}

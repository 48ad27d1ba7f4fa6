import { open, readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";

import type { Logger } from "@berth/core/log";
import { isNotFound, messageOf, wrapError } from "@berth/errors";

import type { PluginName } from "../plugin-name.ts";
import { formatPluginName, parsePluginFileName } from "../plugin-name.ts";

/** A plugin that lies ready to be started. */
export interface InstalledPlugin extends PluginName {
  readonly path: string;
  /** What it is configured with; empty when there is no file for it. */
  readonly config: string;
}

const WASM_MAGIC = "\0asm\x01\0\0\0";

/**
 * This lists the executables `<index>-<name>` of a directory with their configurations, in the order of their indices. What is there and
 * cannot be started as a plugin is logged and left out; a directory that is not there is empty.
 */
export async function findInstalledPlugins(
  pluginPath: string,
  configPath: string,
  log: Logger,
): Promise<readonly InstalledPlugin[]> {
  const found: InstalledPlugin[] = [];
  for (const fileName of (await listDirectory(pluginPath)).toSorted()) {
    const path = join(pluginPath, fileName);
    try {
      if (!(await isExecutable(path))) continue;
      const name = parsePluginFileName(fileName);
      if (await isWebAssembly(path)) {
        log.warn("pre-installed NRI plugin left out: WebAssembly is not supported", { path });
        continue;
      }
      found.push({ ...name, path, config: await readConfig(configPath, name) });
    } catch (error) {
      log.warn("pre-installed NRI plugin left out", { path, error: messageOf(error) });
    }
  }
  return found;
}

async function listDirectory(path: string): Promise<readonly string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if (isNotFound(error)) return [];
    throw wrapError(error, `list NRI plugins in ${path}`);
  }
}

async function isExecutable(path: string): Promise<boolean> {
  const found = await stat(path);
  return found.isFile() && (found.mode & 0o111) !== 0;
}

async function isWebAssembly(path: string): Promise<boolean> {
  await using file = await open(path);
  const { bytesRead, buffer } = await file.read(Buffer.alloc(WASM_MAGIC.length), 0, WASM_MAGIC.length, 0);
  return buffer.toString("latin1", 0, bytesRead) === WASM_MAGIC;
}

/** The first file that is there: of the plugin under this index, or under any. */
async function readConfig(directory: string, name: PluginName): Promise<string> {
  for (const file of [`${formatPluginName(name)}.conf`, `${name.name}.conf`]) {
    try {
      return await readFile(join(directory, file), "utf8");
    } catch (error) {
      if (!isNotFound(error)) throw wrapError(error, `read configuration of NRI plugin ${formatPluginName(name)}`);
    }
  }
  return "";
}

import { access, constants, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import type { CallOptions } from "@berth/core/any";
import { childEnvironment } from "@berth/core/child-environment";
import { runFilter } from "@berth/core/run-filter";
import { invalidArgument, notFound, systemErrorCode } from "@berth/errors";

import { CniPluginError, parseFailure } from "./plugin-error.ts";

/** What a plugin is asked to do. */
export type CniCommand = "ADD" | "DEL" | "CHECK" | "GC" | "STATUS" | "VERSION";

/** One call of a plugin. */
export interface PluginCall extends CallOptions {
  /** Its type, the name of a program in one of `directories`. */
  readonly plugin: string;
  readonly command: CniCommand;
  readonly directories: readonly string[];
  /** Its configuration, as it is written to standard input. */
  readonly input: string;
  readonly containerId?: string;
  /** Path of the network namespace; empty where that is gone. */
  readonly netns?: string;
  readonly ifName?: string;
  readonly args?: readonly (readonly [name: string, value: string])[];
  /** It is killed after this time. */
  readonly timeoutMs: number;
}

/** A result is a page of text; a plugin that writes without end is killed. */
const MAX_STDOUT_BYTES = 4 << 20;
const BUSY_TRIES = 5;
const BUSY_PAUSE_MS = 200;

/**
 * This runs a plugin and returns what it wrote to standard output. It runs in a process group of its own, which is killed when the time is over or `signal` is aborted.
 *
 * @throws not_found - no directory has the plugin; deadline_exceeded; resource_exhausted - it wrote too much
 * @throws CniPluginError, by what it told - it failed
 * @see containernetworking/cni pkg/invoke/raw_exec.go
 */
export async function runPlugin(call: PluginCall): Promise<string> {
  const program = await findPlugin(call.plugin, call.directories);
  for (let tries = 1; ; tries += 1) {
    call.signal?.throwIfAborted();
    try {
      return await runOnce(program, call);
    } catch (error) {
      // It is just being installed.
      if (systemErrorCode(error) !== "ETXTBSY" || tries === BUSY_TRIES) throw error;
      await sleep(BUSY_PAUSE_MS, undefined, { signal: call.signal });
    }
  }
}

/** This finds the program of a plugin. @throws not_found; invalid_argument - its type is no name of a file */
async function findPlugin(plugin: string, directories: readonly string[]): Promise<string> {
  if (plugin === "" || plugin.includes("/") || plugin.includes("\0") || plugin === "." || plugin === "..")
    throw invalidArgument(`invalid CNI plugin type ${JSON.stringify(plugin)}`);
  for (const directory of directories) {
    if (directory === "") continue;
    const path = join(directory, plugin);
    if (await isProgram(path)) return path;
  }
  throw notFound(`CNI plugin ${JSON.stringify(plugin)} is in none of ${JSON.stringify(directories)}`);
}

async function isProgram(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}

async function runOnce(program: string, call: PluginCall): Promise<string> {
  const { input, timeoutMs, signal } = call;
  const env = environmentOf(call);
  const limits = { timeoutMs, maxStdoutBytes: MAX_STDOUT_BYTES, isMoreAnError: true };
  const { code, signalName, stdout, stderr } = await runFilter(program, { env, input, signal, ...limits });
  if (code === 0) return stdout;
  const ended = signalName === null ? `exit code ${code}` : `killed by ${signalName}`;
  throw new CniPluginError(call.plugin, parseFailure(stdout, stderr, ended));
}

/** Of this program, and of the protocol; nothing of a call that this program may itself be part of. */
function environmentOf(call: PluginCall): NodeJS.ProcessEnv {
  return {
    ...childEnvironment(),
    CNI_COMMAND: call.command,
    CNI_CONTAINERID: call.containerId ?? "",
    CNI_NETNS: call.netns ?? "",
    CNI_IFNAME: call.ifName ?? "",
    CNI_ARGS: (call.args ?? []).map((pair) => formatArgument(pair)).join(";"),
    CNI_PATH: call.directories.join(":"),
  };
}

/** The form has no way to quote: what could pass for another argument is refused. */
function formatArgument([name, value]: readonly [string, string]): string {
  if (name === "" || /[;=\0]/.test(name) || /[;\0]/.test(value))
    throw invalidArgument(`invalid CNI argument ${JSON.stringify(`${name}=${value}`)}`);
  return `${name}=${value}`;
}

import { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

import type { Logger } from "@berth/core/log";
import { messageOf, wrapError } from "@berth/errors";
import { closeFd } from "@berth/linux/files";
import { processExit, spawn, waitPid } from "@berth/linux/process";
import { socketPair } from "@berth/linux/sockets";

import { formatPluginName } from "../plugin-name.ts";
import type { InstalledPlugin } from "./installed-plugins.ts";

/** Number of its socket in the plugin. */
const PLUGIN_SOCKET = 3;
const EXIT_GRACE_MS = 1000;
/** SIGKILL waits for what the kernel is doing, without end on a disk that is gone. */
const KILL_GRACE_MS = 5000;
const POLL_MS = 20;

/** A plugin that was started, and its connection. Disposing it ends the process: it has a second to go by itself. */
export interface LaunchedPlugin extends AsyncDisposable {
  readonly pid: number;
  readonly socket: Socket;
}

/** What a launch takes. */
export interface LaunchOptions {
  readonly log: Logger;
  /** How the end of a process is heard of. */
  readonly watch?: (pid: number) => Promise<void>;
}

/** This starts a plugin that has nothing but its connection, and its name in the environment. @throws not_found, permission_denied, … */
export function launchPlugin(plugin: InstalledPlugin, { log, watch = processExit }: LaunchOptions): LaunchedPlugin {
  const [own, peer] = socketPair();
  let pid: number;
  try {
    pid = spawn({
      path: plugin.path,
      args: [],
      env: {
        NRI_PLUGIN_NAME: plugin.name,
        NRI_PLUGIN_IDX: plugin.index,
        NRI_PLUGIN_SOCKET: String(PLUGIN_SOCKET),
      },
      extraFds: new Map([[PLUGIN_SOCKET, peer]]),
    });
  } catch (error) {
    closeFd(own);
    throw wrapError(error, `start NRI plugin ${formatPluginName(plugin)}`);
  } finally {
    closeFd(peer);
  }
  const socket = new Socket({ fd: own });
  const child = new PluginProcess(pid);
  // A descriptor may be lacking for it; then its end is seen when it is disposed.
  watch(pid).then(
    () => child.reap(),
    (error: unknown) => log.warn("end of NRI plugin is not watched", { pid, error: messageOf(error) }),
  );
  return {
    pid,
    socket,
    [Symbol.asyncDispose]: async () => {
      socket.destroy();
      if (await child.endsWithin(EXIT_GRACE_MS)) return;
      // A child that is not waited for keeps its id: nobody else is meant by it.
      process.kill(pid, "SIGKILL");
      if (!(await child.endsWithin(KILL_GRACE_MS))) log.warn("NRI plugin does not end", { pid });
    },
  };
}

class PluginProcess {
  readonly #pid: number;
  #hasEnded = false;

  constructor(pid: number) {
    this.#pid = pid;
  }

  /** This takes the exit status of the process, if it has ended, and returns whether it has. */
  reap(): boolean {
    try {
      this.#hasEnded ||= waitPid(this.#pid) !== undefined;
    } catch {
      // It is no child any more: somebody else has taken its status.
      this.#hasEnded = true;
    }
    return this.#hasEnded;
  }

  async endsWithin(ms: number): Promise<boolean> {
    for (const end = performance.now() + ms; !this.reap(); await sleep(POLL_MS)) {
      if (performance.now() >= end) return false;
    }
    return true;
  }
}

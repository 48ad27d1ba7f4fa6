import { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

import { wrapError } from "@berth/errors";
import { closeFd } from "@berth/linux/files";
import { processExit, spawn, waitPid } from "@berth/linux/process";
import { socketPair } from "@berth/linux/sockets";

import { formatPluginName } from "../plugin-name.ts";
import type { InstalledPlugin } from "./installed-plugins.ts";

/** Number of its socket in the plugin. */
const PLUGIN_SOCKET = 3;
const EXIT_GRACE_MS = 1000;

/** A plugin that was started, and its connection. Disposing it ends the process: it has a second to go by itself. */
export interface LaunchedPlugin extends AsyncDisposable {
  readonly pid: number;
  readonly socket: Socket;
}

/** This starts a plugin that has nothing but its connection, and its name in the environment. @throws not_found, permission_denied, … */
export function launchPlugin(plugin: InstalledPlugin): LaunchedPlugin {
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
  let hasExited = false;
  const exited = processExit(pid).then(() => {
    waitPid(pid);
    hasExited = true;
  });
  return {
    pid,
    socket,
    [Symbol.asyncDispose]: async () => {
      socket.destroy();
      await Promise.race([exited, sleep(EXIT_GRACE_MS, undefined, { ref: false })]);
      // A child that is not waited for keeps its id: nobody else is meant by it.
      if (!hasExited) process.kill(pid, "SIGKILL");
      await exited;
    },
  };
}

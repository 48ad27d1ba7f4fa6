import { spawn } from "node:child_process";
import { closeSync, constants, openSync, rmSync } from "node:fs";
import type { Server } from "node:net";
import { join } from "node:path";

import { childEnvironment } from "@berth/core/child-environment";

import type { ShimDefinition } from "./define-shim.ts";
import type { ShimEnvironment } from "./environment.ts";
import type { ShimFlags } from "./flags.ts";
import { listenerFd } from "./socket-file.ts";

/** Number of the listener in the serving process. */
export const LISTENER_FD = 3;

/** The young part of the heap may grow to 48 MiB otherwise before anything in it is collected; a shim needs little at a time. */
const MEMORY = ["--max-semi-space-size=2"];

interface Launch {
  readonly definition: ShimDefinition;
  readonly flags: ShimFlags;
  readonly environment: ShimEnvironment;
  readonly bundle: string;
  readonly path: string;
  readonly listener: Server;
  readonly shimCgroup?: string | undefined;
  readonly ttrpcAddress?: string | undefined;
}

/**
 * This starts the serving process in a session of its own, working directory `/`, with the listener as descriptor 3.
 * It can be connected to at once: the kernel keeps connections until it accepts.
 */
export async function launchShim(launch: Launch): Promise<void> {
  try {
    // with the listener open here too, the calls to a shim that died would wait for an answer
    const pid = await spawnServing(launch).finally(() => launch.listener.close());
    if (launch.shimCgroup) await launch.definition.joinCgroup?.(pid, launch.shimCgroup);
  } catch (error) {
    rmSync(launch.path, { force: true });
    throw error;
  }
}

async function spawnServing(launch: Launch): Promise<number> {
  const { flags, environment } = launch;
  const own = environment.self
    ? [environment.self]
    : [process.execPath, ...MEMORY, ...process.execArgv, process.argv[1] ?? ""];
  const [program = process.execPath, ...before] = own;
  const words = ["-namespace", flags.namespace, "-id", flags.id, "-address", flags.address, "-socket", launch.path];
  const args = [...before, ...words, "-bundle", launch.bundle, ...(flags.debug ? ["-debug"] : [])];
  const log = openLog(launch.bundle);
  try {
    const child = spawn(program, args, {
      detached: true,
      cwd: "/",
      env: servingEnvironment(launch),
      stdio: ["ignore", "ignore", log ?? "ignore", listenerFd(launch.listener)],
    });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    child.once("spawn", resolve).once("error", reject);
    await promise;
    child.unref();
    return child.pid ?? 0;
  } finally {
    if (log !== undefined) closeSync(log);
  }
}

function servingEnvironment({ ttrpcAddress, environment, flags }: Launch): NodeJS.ProcessEnv {
  return {
    ...childEnvironment({ sameProgram: true }),
    BERTH_SHIM_LISTEN_FD: String(LISTENER_FD),
    TTRPC_ADDRESS: ttrpcAddress ?? environment.ttrpcAddress,
    NAMESPACE: flags.namespace,
    OTEL_SERVICE_NAME: `containerd-shim-${flags.id}`,
  };
}

/** The daemon reads this FIFO. Without a reader opening it would wait or fail, and without one nobody wants the log. */
function openLog(bundle: string): number | undefined {
  try {
    return openSync(join(bundle, "log"), constants.O_WRONLY | constants.O_NONBLOCK);
  } catch {
    return undefined;
  }
}

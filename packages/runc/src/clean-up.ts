import { readFileSync } from "node:fs";
import { join } from "node:path";

import type { Logger } from "@berth/core/log";
import { messageOf } from "@berth/errors";
import { unmountRecursive } from "@berth/linux/mount";
import { ChildReaper } from "@berth/linux/process";

import { Creation } from "./creation.ts";
import type { ProcessExitRecord } from "./tasks-context.ts";
import { RuncDriver } from "./runc-driver.ts";
import { killPlain } from "./runc-state.ts";
import { readRuncOptions, runcRoot } from "./runtime-options.ts";

const SIGKILLED = 137;

/** How a container ended whose end nobody saw. */
type LeftExit = Pick<ProcessExitRecord, "pid" | "exitStatus" | "exitedAt">;

/** A container whose shim has died. */
export interface LeftContainer {
  readonly namespace: string;
  readonly id: string;
  readonly bundle: string;
  readonly log: Logger;
  readonly runcRoot?: string | undefined;
  /** Awaited before anything is removed, with how the container ended where all its processes are known to be gone by then. */
  readonly beforeRemoval?: ((exit?: LeftExit) => Promise<void>) | undefined;
}

/** This kills what is left of a container and takes away the runtime's state and the mounts; what fails is logged. */
export async function cleanUpContainer(container: LeftContainer): Promise<LeftExit> {
  const { namespace, id, bundle, log } = container;
  const options = readRuncOptions(bundle);
  using resources = new DisposableStack();
  let reaper: ChildReaper | undefined;
  const root = runcRoot(options, namespace, container.runcRoot);
  const driver = new RuncDriver({
    command: options.binaryName,
    root,
    bundle,
    // many are cleaned up at a time, and few need a process of the runtime
    get reaper() {
      return (reaper ??= resources.use(new ChildReaper({ mode: "registered" })));
    },
    systemdCgroup: options.systemdCgroup,
  });
  const attempt = async (message: string, work: Promise<void>): Promise<void> => {
    await work.catch((error: unknown) => log.warn(message, { id, error: messageOf(error) }));
  };
  const creation = Creation.find({ id, bundle }, driver);
  await creation?.endRuntime(log);
  const pid = readInitPid(bundle);
  const isDead = driver.isPlain && (await killPlain({ root, id, initPid: pid }));
  const exit = { pid, exitStatus: SIGKILLED, exitedAt: new Date() };
  await container.beforeRemoval?.(isDead && creation === undefined ? exit : undefined);
  await attempt("container not deleted", driver.delete(id, { force: true, ...(isDead ? { ended: pid } : {}) }));
  await attempt("rootfs not unmounted", unmountRecursive(join(bundle, "rootfs")));
  await creation?.undo(driver, log);
  return exit;
}

function readInitPid(bundle: string): number {
  try {
    return Number.parseInt(readFileSync(join(bundle, "init.pid"), "utf8"), 10) || 0;
  } catch {
    return 0;
  }
}

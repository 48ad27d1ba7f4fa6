import { rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Logger } from "@berth/core/log";
import { messageOf } from "@berth/errors";

/** Signals being handled; disposing gives them back to their defaults. */
export interface SignalHandling extends Disposable {
  /** Aborted by SIGTERM or SIGINT. */
  readonly stop: AbortSignal;
  /** This stops the daemon for a reason of its own. */
  fail(error: Error): void;
}

/**
 * This handles the daemon's signals from now on: SIGTERM and SIGINT stop it, SIGUSR1 dumps stacks and handles, SIGHUP and SIGPIPE
 * are ignored (containerd dies of SIGHUP; there is no configuration to read again).
 */
export function handleSignals(log: Logger): SignalHandling {
  const controller = new AbortController();
  const handlers: Partial<Record<NodeJS.Signals, () => void>> = {
    SIGTERM: () => stop("SIGTERM"),
    SIGINT: () => stop("SIGINT"),
    SIGUSR1: () => dumpStacks(log),
    SIGHUP: () => log.warn("ignoring SIGHUP: the configuration is read at start only"),
    SIGPIPE: () => {},
  };
  const stop = (signal: string): void => {
    if (controller.signal.aborted) return;
    log.info("received signal", { signal });
    controller.abort(new DOMException(`received ${signal}`, "AbortError"));
  };
  // The keys are those of the literal above.
  const entries = Object.entries(handlers) as [NodeJS.Signals, () => void][];
  for (const [signal, handler] of entries) process.on(signal, handler);
  return {
    stop: controller.signal,
    fail: (error) => controller.abort(error),
    [Symbol.dispose]: () => {
      for (const [signal, handler] of entries) process.off(signal, handler);
    },
  };
}

/** This writes what the process is doing, what it has open and how much memory it uses, to the log and to a file. */
function dumpStacks(log: Logger): void {
  const path = join(tmpdir(), `berthd.${process.pid}.stacks.log`);
  process.report.excludeEnv = true;
  const report = process.report.getReport(new Error("SIGUSR1"));
  const resources = process.getActiveResourcesInfo();
  try {
    // Anybody may make this name beforehand, also as a link to a file that is not his.
    rmSync(path, { force: true });
    writeFileSync(path, `${JSON.stringify({ resources, report }, undefined, 2)}\n`, { mode: 0o600, flag: "wx" });
    log.info("stacks and handles dumped", { path, resources: countByName(resources) });
  } catch (error) {
    log.error("cannot dump stacks", { path, error: messageOf(error) });
  }
}

function countByName(names: readonly string[]): Record<string, number> {
  return Object.fromEntries(
    Map.groupBy(names, (name) => name)
      .entries()
      .map(([name, all]) => [name, all.length]),
  );
}

#!/usr/bin/env node
import { join } from "node:path";

import { defineShim, runShim } from "@berth/shim-runtime/run";

/** Where runc keeps its state unless the options of a container name a root. */
const runcRoot = process.env["BERTH_SHIM_RUNC_ROOT"] || undefined;

const shim = defineShim({
  runtime: "io.containerd.berth.v2",
  version: "0.1.0",
  info: async (options) => await (await import("@berth/runc")).describeRuntime(options),
  createTasks: async (context) => (await import("./tasks.ts")).createTasks(context, runcRoot),
  cleanUp: async (container) => await (await import("@berth/runc")).cleanUpContainer({ ...container, runcRoot }),
  shimCgroup: async (options) => (await import("@berth/runc")).parseRuncOptions(options).shimCgroup,
  // below the root whatever it says, and the root itself for a shim that nothing is to limit
  joinCgroup: async (pid, cgroup) =>
    (await import("@berth/linux/cgroups")).joinCgroup(join("/", cgroup), { pid, root: true }),
});

const status = await runShim(shim);
// a reader that never comes must not keep a process alive that has nothing left to do
// oxlint-disable-next-line node/no-process-exit, unicorn/no-process-exit
process.exit(status);

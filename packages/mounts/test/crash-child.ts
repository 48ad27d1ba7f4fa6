// A process that activates and deactivates, and stops where it is told to, to be killed there: crash-child.ts <state> <place> <images…>.
import { writeSync } from "node:fs";

import type { Mount, MountHandler } from "@berth/core/mount";
import { parseNamespace } from "@berth/core/namespaces";

import { createErofsHandler, createLoopHandler, LocalMountManager } from "../src/index.ts";

const [stateDir = "", place = "", erofs = "", ext4 = ""] = process.argv.slice(2);
const real = { erofs: createErofsHandler(), loop: createLoopHandler() };

/** This never ends. */
function reach(here: string): Promise<void> {
  if (here !== place) return Promise.resolve();
  writeSync(1, "reached\n");
  setInterval(() => {}, 1000);
  return new Promise(() => {});
}

function stopping(type: keyof typeof real): MountHandler {
  return {
    async mount(...args) {
      await reach(`before ${type}`);
      const active = await real[type].mount(...args);
      await reach(`after ${type}`);
      return active;
    },
    async unmount(...args) {
      await reach(`before un${type}`);
      await real[type].unmount(...args);
      await reach(`after un${type}`);
    },
    isMounted: (mountPoint) => real[type].isMounted(mountPoint),
  };
}

const handlers = new Map([
  ["erofs", stopping("erofs")],
  ["loop", stopping("loop")],
]);
const manager = await LocalMountManager.open({ stateDir, handlers });
const mounts = manager.namespace(parseNamespace("one"));
const mount = (type: string, source: string, ...options: string[]): Mount => ({ type, source, target: "", options });
await mounts.activate("a", [
  mount("loop", ext4),
  mount("format/ext4", "{{ mount 0 }}"),
  mount("erofs", erofs, "ro"),
  mount("format/overlay", "overlay", "lowerdir={{ overlay 1 2 }}"),
]);
await reach("activated");
await mounts.deactivate("a");
await reach("deactivated");

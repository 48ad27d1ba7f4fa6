import { closeSync, constants, existsSync, openSync, readSync, watch, writeFileSync } from "node:fs";
import { join } from "node:path";

import { notFound } from "@berth/errors";

import { type Cgroup, oomKillCount } from "./cgroups/cgroup.ts";
import { bind, check, koffi } from "./libc.ts";

const native = { eventfd: bind<[number, number], number>("eventfd", "int", ["uint", "int"]) };

const EFD_FLAGS = 0o2000000 | constants.O_NONBLOCK;

/**
 * This calls `onOom` whenever the kernel runs out of memory in a cgroup, until it is disposed or the cgroup is removed.
 *
 * v1: by an eventfd, once per notification, which may come a little before the kill. v2: when `oom_kill` of memory.events
 * has grown. An event may come after the exit of the process it killed: read `oomKillCount` at the exit as well. A watch
 * does not keep the event loop alive.
 * @throws not_found - the cgroup has no memory controller, or is gone
 */
export function watchOom(cgroup: Cgroup, onOom: () => void): Disposable {
  const directory = cgroup.directories.get(cgroup.version === 2 ? "" : "memory");
  const file = cgroup.version === 2 ? "memory.events" : "cgroup.event_control";
  if (directory === undefined || !existsSync(join(directory, file))) {
    throw notFound(`memory controller of cgroup ${directory ?? "without memory controller"}`);
  }
  return cgroup.version === 2 ? watchEvents(cgroup, directory, onOom) : watchEventDescriptor(directory, onOom);
}

function watchEvents(cgroup: Cgroup, directory: string, onOom: () => void): Disposable {
  let known = oomKillCount(cgroup);
  const watcher = watch(join(directory, "memory.events"), { persistent: false });
  watcher.on("change", () => {
    const now = oomKillCount(cgroup);
    if (now > known) onOom();
    known = now;
  });
  // the cgroup was removed
  watcher.on("error", () => watcher.close());
  return { [Symbol.dispose]: () => watcher.close() };
}

function watchEventDescriptor(directory: string, onOom: () => void): Disposable {
  using stack = new DisposableStack();
  const event = stack.adopt(check(native.eventfd(0, EFD_FLAGS), "eventfd"), closeSync);
  const control = openSync(join(directory, "memory.oom_control"), "r");
  try {
    writeFileSync(join(directory, "cgroup.event_control"), `${event} ${control}`);
  } finally {
    closeSync(control);
  }
  const owned = stack.move();
  const handle = koffi().node.poll(event, { readable: true }, () => {
    readSync(event, new Uint8Array(8));
    // the kernel also signals when the cgroup is removed
    if (existsSync(join(directory, "cgroup.event_control"))) onOom();
    else owned.dispose();
  });
  handle.unref();
  owned.defer(() => handle.close());
  return owned;
}

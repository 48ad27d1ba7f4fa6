import { mkdir, mkdtemp, readdir, readFile, rmdir } from "node:fs/promises";
import { join } from "node:path";

import type { MountSubject } from "@berth/conformance/mounts";
import { parseNamespace } from "@berth/core/namespaces";
import type { MountHandler } from "@berth/core/mount";
import { mountAll, readMountInfo, unmountAll } from "@berth/linux/mount";
import { makeErofsImage, makeExt4Image, temporaryDirectory } from "@berth/testing";

import { createErofsHandler, createLoopHandler, LocalMountManager } from "../src/index.ts";

/** What is under test, with the parts that only tests of this package look at. */
export interface LocalMountSubject extends MountSubject {
  readonly manager: LocalMountManager;
  readonly stateDir: string;
  /** This opens the manager again, as the next process would. */
  reopen(handlers?: ReadonlyMap<string, MountHandler>): Promise<LocalMountManager>;
}

export const handlers: ReadonlyMap<string, MountHandler> = new Map([
  ["erofs", createErofsHandler()],
  ["loop", createLoopHandler()],
]);

/** This opens a manager in a directory of its own; both are gone when the result is disposed, with all that is mounted. */
export async function openSubject(): Promise<LocalMountSubject> {
  await using stack = new AsyncDisposableStack();
  const { path } = stack.use(await temporaryDirectory("mounts"));
  const [stateDir, directory, images] = [join(path, "state"), join(path, "root/work"), join(path, "images")];
  await Promise.all([stateDir, directory, images].map((each) => mkdir(each, { recursive: true })));
  const open = (known = handlers) =>
    LocalMountManager.open({ stateDir, handlers: known, allowedRoots: [join(path, "root")] });
  let manager = await open();
  stack.defer(async () => {
    for (const activation of manager.store.all()) await manager.deactivateIfSame(activation);
    await manager.removeStale();
    await manager[Symbol.asyncDispose]();
  });
  const owned = stack.move();
  let count = 0;
  return {
    manager,
    mounts: manager.namespace(parseNamespace("one")),
    others: manager.namespace(parseNamespace("two")),
    directory,
    stateDir,
    async reopen(known) {
      await manager[Symbol.asyncDispose]();
      return (manager = await open(known));
    },
    async image(type, files) {
      const image = join(images, `${++count}.${type}`);
      await (type === "erofs" ? makeErofsImage(image, files) : makeExt4Image(image, files));
      return image;
    },
    async mount(mounts) {
      const target = await mkdtemp(join(images, "mounted-"));
      await mountAll(mounts, target);
      return {
        path: target,
        async [Symbol.asyncDispose]() {
          await unmountAll(target);
          await rmdir(target);
        },
      };
    },
    collect: async () => (await manager.collector.begin()).finish(),
    // Other tests mount things too: only what is ours counts.
    machine: async () => ({
      mountPoints: readMountInfo().flatMap(({ mountPoint }) => (mountPoint.startsWith(path) ? [mountPoint] : [])),
      loopFiles: (await loopFiles()).filter((file) => file.startsWith(path)),
    }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function loopFiles(): Promise<string[]> {
  const devices = (await readdir("/sys/block")).filter((name) => name.startsWith("loop"));
  const files = devices.map((name) => readFile(`/sys/block/${name}/loop/backing_file`, "utf8").catch(() => ""));
  return (await Promise.all(files)).map((file) => file.trim()).filter((file) => file !== "");
}

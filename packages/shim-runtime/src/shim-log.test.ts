import { closeSync, constants, mkdirSync, openSync, readdirSync, readSync, rmSync } from "node:fs";
import { join } from "node:path";

import { mkfifo } from "@berth/linux/files";
import { temporaryDirectory } from "@berth/testing";
import { expect, it } from "vitest";

import { ShimLog } from "./shim-log.ts";

async function setUp() {
  const stack = new AsyncDisposableStack();
  const { path } = stack.use(await temporaryDirectory("shim-log"));
  const log = stack.use(new ShimLog({ debug: false }));
  /** A bundle as the daemon makes it: with its end of the FIFO. */
  const attach = (name: string) => {
    const bundle = join(path, name);
    mkdirSync(bundle);
    mkfifo(join(bundle, "log"), 0o700);
    const fd = openSync(join(bundle, "log"), constants.O_RDWR | constants.O_NONBLOCK);
    log.attach(name, bundle);
    return { bundle, fd };
  };
  return { log, attach, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

function messagesIn(fd: number): string[] {
  const bytes = new Uint8Array(65_536);
  try {
    const text = new TextDecoder().decode(bytes.subarray(0, readSync(fd, bytes)));
    return [...text.matchAll(/msg="([^"]*)"/g)].map(([, message = ""]) => message);
  } catch {
    return []; // nothing there yet
  }
}

it("ShimLog goes to the container that came last, and when that is gone to the one before it", async () => {
  await using test = await setUp();
  const log = test.log.logger();
  const [a, b, c] = [test.attach("a"), test.attach("b"), test.attach("c")];
  log.error("one");
  expect([a, b, c].map(({ fd }) => messagesIn(fd))).toEqual([[], [], ["one"]]);
  // b and c are deleted, each in the order of the daemon
  for (const { fd, bundle } of [c, b]) {
    closeSync(fd);
    rmSync(bundle, { recursive: true });
  }
  log.error("two");
  log.error("three");
  expect(messagesIn(a.fd)).toEqual(["two", "three"]);
  const d = test.attach("d");
  log.error("four");
  expect([a, d].map(({ fd }) => messagesIn(fd))).toEqual([[], ["four"]]);
  for (const { fd } of [a, d]) closeSync(fd);
});

it("ShimLog goes on when the daemon is there again", async () => {
  await using test = await setUp();
  const log = test.log.logger();
  const a = test.attach("a");
  closeSync(a.fd);
  log.error("while no daemon is there");
  const fd = openSync(join(a.bundle, "log"), constants.O_RDWR | constants.O_NONBLOCK);
  log.error("after a restart");
  expect(messagesIn(fd)).toEqual(["after a restart"]);
  closeSync(fd);
});

it("ShimLog drops what a full FIFO does not take, and stays with it", async () => {
  await using test = await setUp();
  const log = test.log.logger();
  const [a, b] = [test.attach("a"), test.attach("b")];
  for (let n = 0; n < 2000; n++) log.error("a line that fills the pipe of sixty-four kibibytes");
  expect(messagesIn(a.fd)).toEqual([]);
  expect(messagesIn(b.fd).length).toBeGreaterThan(100);
  log.error("room again");
  expect(messagesIn(b.fd)).toContain("room again");
  for (const { fd } of [a, b]) closeSync(fd);
});

it("ShimLog keeps no descriptor of containers that are gone", async () => {
  await using test = await setUp();
  const long = test.attach("long");
  const descriptors = () => readdirSync("/proc/self/fd").length;
  const before = descriptors();
  for (let n = 0; n < 50; n++) {
    const { fd, bundle } = test.attach(`short-${n}`);
    closeSync(fd);
    rmSync(bundle, { recursive: true });
  }
  expect(descriptors() - before).toBeLessThan(10);
  closeSync(long.fd);
});

it("ShimLog lets go of deleted containers", async () => {
  await using test = await setUp();
  const log = test.log.logger();
  const [a, b] = [test.attach("a"), test.attach("b")];
  const descriptors = () => readdirSync("/proc/self/fd").length;
  const before = descriptors();
  test.log.release("b");
  expect(before - descriptors()).toBe(1);
  log.error("one");
  test.log.release("a");
  expect(before - descriptors()).toBe(2);
  expect([a, b].map(({ fd }) => messagesIn(fd))).toEqual([["one"], []]);
  for (const { fd } of [a, b]) closeSync(fd);
});

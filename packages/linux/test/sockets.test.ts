import { closeSync, existsSync, fstatSync, openSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";

import { codeName, codeOf } from "@berth/errors";
import { expect, it } from "vitest";

import { closeFd } from "../src/files.ts";
import {
  acceptUnix,
  connectUnix,
  listenConsoleSocket,
  listenUnix,
  peerCredentials,
  receiveDescriptors,
  sendDatagram,
  sendDescriptors,
  socketFd,
} from "../src/sockets.ts";
import { getWindowSize, makeRaw, openPty, resizePty } from "../src/terminal.ts";
import { spawn, waitPid } from "../src/process.ts";
import { temporaryDirectory } from "./temporary-directory.ts";
import { errnoName } from "./thrown.ts";

it("a console socket delivers the terminal that a peer sends, and does not hold the thread meanwhile", async () => {
  await using directory = temporaryDirectory();
  const path = join(directory.path, "console");
  await using consoleSocket = listenConsoleSocket(path);
  using pty = openPty();
  // everything below happens on this thread: a receive that held it would never see its peer
  const received = consoleSocket.receive();
  await sleep(50);
  const peer = connectUnix(path);
  await sleep(20);
  resizePty(pty.master, { width: 123, height: 45 });
  sendDescriptors(peer, new TextEncoder().encode("/dev/pts/0"), [pty.master]);
  const terminal = await received;
  try {
    expect(getWindowSize(terminal)).toEqual({ width: 123, height: 45 });
    expect(readFileSync(`/proc/self/fdinfo/${terminal}`, "utf8")).toMatch(/flags:\t0[0-7]*2[0-7]{6}\n/);
  } finally {
    closeFd(terminal);
    closeFd(peer);
  }
});

/** This returns what the open descriptors of this process name; those that close meanwhile are left out. */
function openDescriptors(): string[] {
  return readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return [];
    }
  });
}

it("a console socket refuses a peer that sends no descriptor, or two, and closes what came", async () => {
  await using directory = temporaryDirectory();
  await using consoleSocket = listenConsoleSocket(join(directory.path, "console"));
  const name = join(directory.path, "sent");
  const file = openSync(name, "w");
  for (const descriptors of [undefined, [], [file, file]]) {
    const received = consoleSocket.receive().catch((error: unknown) => codeName(codeOf(error)));
    const peer = connectUnix(consoleSocket.path);
    if (descriptors) sendDescriptors(peer, new Uint8Array([1]), descriptors);
    closeFd(peer);
    expect(await received).toBe("invalid_argument");
  }
  closeSync(file);
  expect(openDescriptors()).not.toContain(name);
});

it("a console socket stops waiting on abort and on disposal, and removes its file", async () => {
  await using directory = temporaryDirectory();
  const consoleSocket = listenConsoleSocket(join(directory.path, "console"));
  const aborted = consoleSocket.receive({ signal: AbortSignal.timeout(20) });
  await expect(aborted).rejects.toMatchObject({ name: "TimeoutError" });
  const pending = consoleSocket.receive().catch((error: unknown) => codeName(codeOf(error)));
  await consoleSocket[Symbol.asyncDispose]();
  await consoleSocket[Symbol.asyncDispose]();
  expect(await pending).toBe("invalid_argument");
  expect(existsSync(consoleSocket.path)).toBe(false);
});

it("descriptors arrive as the same open files, 200 in one message", async () => {
  await using directory = temporaryDirectory();
  const path = join(directory.path, "socket");
  const listener = listenUnix(path);
  const client = connectUnix(path);
  const server = acceptUnix(listener);
  const file = openSync("/etc/passwd", "r");
  expect(errnoName(() => receiveDescriptors(server))).toBe("EAGAIN");
  sendDescriptors(
    client,
    new Uint8Array([1, 2, 3]),
    Array.from({ length: 200 }, () => file),
  );
  const message = receiveDescriptors(server);
  expect([...message.data]).toEqual([1, 2, 3]);
  expect(message.descriptors).toHaveLength(200);
  expect(message.descriptors.map((fd) => fstatSync(fd).ino)).toEqual(Array(200).fill(fstatSync(file).ino));
  for (const fd of [...message.descriptors, listener, client, server, file]) closeFd(fd);
});

it("unix sockets report what is wrong with their path", async () => {
  await using directory = temporaryDirectory();
  const path = join(directory.path, "socket");
  closeFd(listenUnix(path));
  expect(errnoName(() => listenUnix(path))).toBe("EADDRINUSE");
  expect(errnoName(() => connectUnix(path))).toBe("ECONNREFUSED");
  expect(errnoName(() => connectUnix(`${path}-missing`))).toBe("ENOENT");
  expect(errnoName(() => listenUnix(`/tmp/${"x".repeat(120)}`))).toBe("ENAMETOOLONG");
  expect(errnoName(() => sendDatagram(`${path}-missing`, new Uint8Array(1)))).toBe("ENOENT");
});

it("peerCredentials of a socket of Node's names this process", async () => {
  await using directory = temporaryDirectory();
  const path = join(directory.path, "socket");
  const server = createServer().listen(path);
  await once(server, "listening");
  const client = connect(path);
  const [accepted] = (await once(server, "connection")) as [Socket]; // `once` is untyped
  const expected = { pid: process.pid, uid: process.getuid?.(), gid: process.getgid?.() };
  expect(peerCredentials(socketFd(accepted))).toEqual(expected);
  client.destroy();
  accepted.destroy();
  await once(accepted, "close");
  expect(() => socketFd(accepted)).toThrow();
  server.close();
});

it("resizePty reaches the slave, and a file is no terminal", () => {
  using pty = openPty();
  resizePty(pty.master, { width: 80, height: 24 });
  expect(getWindowSize(pty.slave)).toEqual({ width: 80, height: 24 });
  const stty = spawn({
    path: "/bin/sh",
    args: ["-c", '[ "$(stty size)" = "24 80" ]'],
    env: {},
    stdio: [pty.slave, "null", "null"],
  });
  expect(waitPid(stty, { noHang: false })?.status).toBe(0);
  const file = openSync("/etc/passwd", "r");
  expect(errnoName(() => resizePty(file, { width: 1, height: 1 }))).toBe("ENOTTY");
  closeSync(file);
});

it("makeRaw switches echo off and its result on again", () => {
  using pty = openPty();
  const echo = () => {
    const args = ["-c", "stty -a | grep -q ' -echo '"];
    const pid = spawn({ path: "/bin/sh", args, env: { PATH: "/usr/bin:/bin" }, stdio: [pty.slave, "null", "null"] });
    return waitPid(pid, { noHang: false })?.status === 1;
  };
  expect(echo()).toBe(true);
  const restore = makeRaw(pty.slave);
  expect(echo()).toBe(false);
  restore();
  expect(echo()).toBe(true);
});

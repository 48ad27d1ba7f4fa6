import { existsSync, linkSync, renameSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";

import { temporaryDirectory, type TemporaryDirectory } from "@berth/testing";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import { claimSocket, connectSocket, ownSocketFile, removeStaleSocket } from "./socket-file.ts";

describe("socket files", () => {
  let directory: TemporaryDirectory;
  let path: string;
  beforeEach(async () => {
    directory = await temporaryDirectory("socket");
    path = join(directory.path, "s".repeat(64));
  });
  afterEach(() => directory[Symbol.asyncDispose]());

  it("is claimed by one of many, private from the start", async () => {
    const claims = await Promise.all(Array.from({ length: 10 }, () => claimSocket(path)));
    const winners = claims.filter((server) => server !== undefined);
    expect(winners).toHaveLength(1);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const socket = await connectSocket(path);
    expect(socket).toBeDefined();
    socket?.destroy();
    winners[0]?.close();
    // closing it in this process leaves the name to the child that serves
    expect(existsSync(path)).toBe(true);
    expect(await connectSocket(path)).toBeUndefined();
  });

  it("is removed when nobody listens, and only then", async () => {
    (await claimSocket(path))?.close();
    await removeStaleSocket(path);
    expect(existsSync(path)).toBe(false);
    const server = await claimSocket(path);
    await removeStaleSocket(path);
    expect(existsSync(path)).toBe(true);
    server?.close();
    await removeStaleSocket(join(directory.path, "never"));
  });

  it("is found by its owner also when it is aside for a moment, and one that never comes back is none", async () => {
    const server = await claimSocket(path);
    renameSync(path, `${path}2`);
    const looking = ownSocketFile(path);
    linkSync(`${path}2`, path);
    (await looking).remove();
    expect(existsSync(path)).toBe(false);
    (await ownSocketFile(path)).remove();
    server?.close();
  });

  it("is not removed by its owner when another one has taken its place", async () => {
    const first = await claimSocket(path);
    const own = await ownSocketFile(path);
    first?.close();
    await removeStaleSocket(path);
    // holds a new inode even where the file system reuses numbers
    const other = createServer().listen(`${path}2`);
    const second = await claimSocket(path);
    own.remove();
    expect(existsSync(path)).toBe(true);
    second?.close();
    other.close();
  });
});

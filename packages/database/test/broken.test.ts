import { execFile } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { mkdir, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

import { Code, codeOf } from "@berth/errors";
import { shutdownFileSystem } from "@berth/linux/files";
import { mountTemporary } from "@berth/linux/mount";
import { describe, expect, it } from "vitest";

import { Database } from "../src/index.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

describe("Database after a commit that failed for another reason than a full disk", () => {
  it("calls fatal once and takes no more updates when the disk is gone; what was committed can be read", async () => {
    await using directory = await temporaryDirectory();
    const image = join(directory.path, "image");
    await writeFile(image, "");
    await truncate(image, 64 * 1024 ** 2);
    await promisify(execFile)("mkfs.ext4", ["-q", "-F", image]);
    const places = join(directory.path, "mounts");
    await mkdir(places);
    await using disk = await mountTemporary([{ type: "ext4", source: image, options: ["loop"] }], {
      directory: places,
    });
    const fatal: Error[] = [];
    const mapSizeBytes = 1024 ** 3;
    await using database = await Database.open({
      path: join(disk.path, "file.mdb"),
      mapSizeBytes,
      fatal: (error) => void fatal.push(error),
    });
    const put = (index: number) => database.update((tx) => tx.put(Uint8Array.of(index), Uint8Array.of(index)));
    await put(1);
    const descriptor = openSync(disk.path, "r");
    shutdownFileSystem(descriptor, "nothing");
    closeSync(descriptor);
    const outcomes = [
      await put(2).catch(codeOf),
      ...(await Promise.all([3, 4].map((index) => put(index).catch(codeOf)))),
    ];
    expect(outcomes).toEqual([Code.Unavailable, Code.Unavailable, Code.Unavailable]);
    expect(fatal).toHaveLength(1);
    expect([1, 2].map((index) => database.has(Uint8Array.of(index)))).toEqual([true, false]);
  });

  it("calls fatal once where it cannot tell what failed", { timeout: 30_000 }, async () => {
    await using directory = await temporaryDirectory();
    const program = [process.execPath, "--conditions=@berth/source", join(import.meta.dirname, "broken-child.ts")];
    const limited = ["--fsize=1048576", ...program, `${directory.path}/file.mdb`];
    const { stdout } = await promisify(execFile)("prlimit", limited);
    expect(JSON.parse(stdout.slice(stdout.indexOf("{")))).toEqual({
      fatal: 1,
      codes: [0, Code.Unavailable],
      first: true,
    });
  });
});

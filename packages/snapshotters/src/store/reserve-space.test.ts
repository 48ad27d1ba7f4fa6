import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { silentLogger } from "@berth/core/log";
import { mountTemporary } from "@berth/linux/mount";
import { describe, expect, it } from "vitest";

import { reserveSpace } from "./reserve-space.ts";

describe("reserveSpace", () => {
  it("takes blocks past the end and leaves the size", async () => {
    const directory = await mkdtemp(join(tmpdir(), "berth-reserve-"));
    try {
      const path = join(directory, "file");
      await writeFile(path, "12345");
      await reserveSpace(path, silentLogger);
      const { size, blocks } = await stat(path);
      expect(size).toBe(5);
      expect(blocks * 512).toBeGreaterThanOrEqual(8 << 20);
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  it("does without on a file system that is too small", async () => {
    await using disk = await mountTemporary([{ type: "tmpfs", source: "tmpfs", options: ["size=1m"] }]);
    const path = join(disk.path, "file");
    await writeFile(path, "12345");
    await reserveSpace(path, silentLogger);
    expect((await stat(path)).size).toBe(5);
  });
});

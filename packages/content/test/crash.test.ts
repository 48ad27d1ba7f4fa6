import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { join } from "node:path";

import { formatDigest } from "@berth/oci";
import { temporaryDirectory } from "@berth/testing";
import { describe, expect, it } from "vitest";

import { createLocalContentStore } from "../src/local-content-store.ts";

const SIZE = 3_000_000;
const bytes = new Uint8Array(SIZE).map((_, index) => index % 251);
const digest = formatDigest("sha256", createHash("sha256").update(bytes).digest("hex"));

function commitInChild(root: string, step: string) {
  const child = join(import.meta.dirname, "crash-child.ts");
  const { signal, stdout, stderr } = spawnSync(
    process.execPath,
    ["--conditions=@berth/source", child, root, step, String(SIZE)],
    { encoding: "utf8" },
  );
  return { signal, committed: stdout.includes("committed"), stderr };
}

describe("a process killed while it commits", () => {
  it.each([
    ["during write", false],
    ["before sync", false],
    ["after sync", false],
    ["before rename", false],
    ["after rename", true],
    ["before removal", true],
  ])("%s leaves the blob complete or absent, and the ref can be used again", async (step, stored) => {
    await using directory = await temporaryDirectory("content");
    const killed = commitInChild(directory.path, step);
    expect(killed, killed.stderr).toMatchObject({ signal: "SIGKILL", committed: false });

    const store = await createLocalContentStore({ root: directory.path });
    const listed = await Array.fromAsync(store.list());
    expect(listed.map((info) => [info.digest, info.size])).toEqual(stored ? [[digest, SIZE]] : []);
    if (stored) {
      await using reader = await store.reader(digest);
      const hash = createHash("sha256").update(await reader.readAt(0, SIZE));
      expect(formatDigest("sha256", hash.digest("hex"))).toBe(digest);
    }
    const again = commitInChild(directory.path, "none");
    expect(again.stderr.includes("content sha256:"), again.stderr).toBe(stored);
    expect(again.committed).toBe(!stored);
    expect(await Array.fromAsync(store.listStatuses())).toEqual([]);
    expect((await store.info(digest)).size).toBe(SIZE);
  });
});

import { mkdir, writeFile } from "node:fs/promises";

import { Code, codeOf } from "@berth/errors";
import { mountAll, mountTemporary, unmountAll } from "@berth/linux/mount";
import { parseDigest } from "@berth/oci";
import { temporaryDirectory } from "@berth/testing";
import { describe, expect, it } from "vitest";

import { openStorage } from "./daemon-storage.ts";

const target = { mediaType: "m", size: 1, digest: parseDigest(`sha256:${"a".repeat(64)}`) };
const image = (name: string, bytes: number) => ({ name, labels: new Map([["k", "x".repeat(bytes)]]), target });

describe("a full disk", () => {
  // The second comes to its end in the middle of a write, for which LMDB has another error.
  it.each([
    ["1m", 3000],
    ["600k", 4000],
  ])("of %s fails writes as resource_exhausted, loses nothing, and is over when there is room", async (size, bytes) => {
    await using directory = await temporaryDirectory("metadata");
    const small = `${directory.path}/small`;
    await mkdir(small);
    await mountAll([{ type: "tmpfs", source: "tmpfs", target: "", options: [`size=${size}`] }], small);
    await using unmount = new AsyncDisposableStack();
    unmount.defer(() => unmountAll(small));
    let fatal: Error | undefined;
    const path = `${small}/meta.mdb`;
    const made: string[] = [];
    {
      await using storage = await openStorage({ root: directory.path, path, fatal: (error) => void (fatal = error) });
      const { images } = storage.stores;
      const fill = async () => {
        for (let index = 0; ; index++) {
          await images.create(image(`i${index}`, bytes));
          made.push(`i${index}`);
        }
      };
      expect(codeOf(await fill().catch((error: unknown) => error))).toBe(Code.ResourceExhausted);
      const more = await Promise.allSettled(["x", "y", "z"].map((name) => images.create(image(name, bytes))));
      expect(more.map(({ status }) => status)).toEqual(["rejected", "rejected", "rejected"]);
      expect((await Array.fromAsync(images.list())).map(({ name }) => name)).toEqual(made.toSorted());
      await mountAll([{ type: "tmpfs", source: "tmpfs", target: "", options: ["remount", "size=4m"] }], small);
      await images.create(image("later", bytes));
      made.push("later");
      expect(fatal).toBeUndefined();
    }
    await using again = await openStorage({ root: directory.path, path });
    expect((await Array.fromAsync(again.stores.images.list())).map(({ name }) => name)).toEqual(made.toSorted());
  });

  it("that others filled lets everything be removed and collected, and nothing is fatal", async () => {
    await using disk = await mountTemporary([{ type: "tmpfs", source: "tmpfs", options: ["size=24m"] }]);
    await using directory = await temporaryDirectory("metadata");
    let fatal: Error | undefined;
    const path = `${disk.path}/meta.mdb`;
    await using storage = await openStorage({ root: directory.path, path, fatal: (error) => void (fatal = error) });
    const { images } = storage.stores;
    const names = Array.from({ length: 300 }, (_, index) => `i${index}`);
    // All in one commit: the file then has no free pages that removals could be written to.
    await Promise.all(names.map((name) => images.create(image(name, 3000))));
    await expect(writeFile(`${disk.path}/filler`, new Uint8Array(32 << 20))).rejects.toMatchObject({ code: "ENOSPC" });
    for (const name of names) await images.delete(name);
    await storage.metadata.collect();
    expect(await Array.fromAsync(images.list())).toEqual([]);
    expect(fatal).toBeUndefined();
  });
});

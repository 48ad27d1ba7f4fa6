import { chmod, truncate } from "node:fs/promises";
import { join } from "node:path";

import { openContentStore } from "@berth/content";
import { parseNamespace } from "@berth/core/namespaces";
import { Code, codeOf } from "@berth/errors";
import type { Digest } from "@berth/oci";
import { temporaryDirectory } from "@berth/testing";
import { describe, expect, it } from "vitest";

import { openStorage, putText } from "./daemon-storage.ts";

const other = parseNamespace("other");

/** Leaves a store with damaged blobs in two namespaces, as a crash does. */
async function crash(root: string): Promise<Digest[]> {
  const { store } = await openContentStore({ root: join(root, "content") });
  await using storage = await openStorage({ root, content: store });
  const digests: Digest[] = [];
  for (const text of ["damaged", "sound"]) {
    for (const name of [storage.stores.namespace, other]) {
      const digest = await putText(storage.metadata.namespace(name).content, text, { "containerd.io/gc.root": "1" });
      if (!digests.includes(digest)) digests.push(digest);
    }
  }
  const path = join(root, "content/blobs", ...(digests[0] ?? "").split(":"));
  await chmod(path, 0o644);
  await truncate(path, 1);
  return digests;
}

describe("blobs that the content store has lost", () => {
  it.each(["before", "after"])(
    "are forgotten in every namespace, found %s the database opens, and can be stored again",
    async (when) => {
      await using directory = await temporaryDirectory("metadata");
      const root = directory.path;
      const [damaged, sound] = (await crash(root)) as [Digest, Digest];
      await using opened = await openContentStore({ root: join(root, "content") });
      if (when === "before") await opened.verified();
      await using storage = await openStorage({ root, content: opened.store });
      await opened.verified();
      for (const name of [storage.stores.namespace, other]) {
        const { content } = storage.metadata.namespace(name);
        await expect.poll(() => content.info(damaged).then(() => "there", codeOf)).toBe(Code.NotFound);
        expect((await content.info(sound)).size).toBe(5);
      }
      expect(storage.events).toContainEqual({ namespace: "other", topic: "/content/delete" });
      expect(await putText(storage.stores.content, "damaged")).toBe(damaged);
      await using reader = await storage.stores.content.reader(damaged);
      expect(new TextDecoder().decode(await reader.readAt(0, 100))).toBe("damaged");
    },
  );
});

import { createHash, randomBytes } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join } from "node:path";

import type { Client } from "@berth/client";
import { createClient } from "@berth/client";
import { writeBlob } from "@berth/core/content";
import { parseNamespace } from "@berth/core/namespaces";
import { Code, codeOf } from "@berth/errors";
import { type Digest, formatDigest } from "@berth/oci";
import type { DaemonOptions, PeerDaemon } from "@berth/testing";
import { startBerthd, startContainerd } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const KEEP = new Map([["containerd.io/gc.root", "1"]]);
const SHAREABLE = "containerd.io/namespace.shareable";

interface Blob {
  readonly bytes: Uint8Array;
  readonly digest: Digest;
}

function makeBlob(size = 2000): Blob {
  const bytes = new Uint8Array(randomBytes(size));
  return { bytes, digest: formatDigest("sha256", createHash("sha256").update(bytes).digest("hex")) };
}

const policyConfig = (policy: string) =>
  `[plugins."io.containerd.metadata.v1.bolt"]\n  content_sharing_policy = "${policy}"\n`;

/** Which bytes a namespace has to show, under either policy: of the daemon that the rules were taken from, and of ours. */
describe.each([
  { name: "containerd 1.6", start: startContainerd },
  {
    name: "containerd 2",
    start: (options: DaemonOptions = {}) => startContainerd({ ...options, release: "2" }),
  },
  { name: "berthd", start: startBerthd },
])("content sharing policy of $name", ({ name, start }) => {
  describe.each(["shared", "isolated"])("%s", (policy) => {
    const stack = new AsyncDisposableStack();
    let daemon: PeerDaemon;
    let owner: Client;
    let other: Client;

    beforeAll(async () => {
      daemon = stack.use(await start({ config: policyConfig(policy) }));
      owner = stack.use(createClient({ address: daemon.address, namespace: "owner" }));
      other = stack.use(createClient({ address: daemon.address, namespace: "other" }));
    });
    afterAll(() => stack.disposeAsync());

    const put = async (client: Client, { bytes, digest }: Blob): Promise<void> => {
      await writeBlob(client.content, `put ${digest}`, [bytes], { digest, size: bytes.length }, { labels: KEEP });
    };
    const files = (): Promise<string[]> => readdir(join(daemon.root, "io.containerd.content.v1.content/blobs/sha256"));

    it("is shown by the metadata plugin", async () => {
      const [plugin] = await owner.plugins({ filters: ["type==io.containerd.metadata.v1,id==bolt"] });
      expect(plugin?.exports.get("policy")).toBe(policy);
    });

    it("a blob is seen by nobody who has not stored it", async () => {
      const blob = makeBlob();
      await put(owner, blob);
      const codes = [other.content.info(blob.digest), other.content.delete(blob.digest)].map((call) =>
        call.catch(codeOf),
      );
      expect(await Promise.all(codes)).toEqual([Code.NotFound, Code.NotFound]);
    });

    it(`storing it again needs ${policy === "shared" ? "no bytes" : "all bytes"}, and keeps one file`, async () => {
      const blob = makeBlob();
      await put(owner, blob);
      const { digest, bytes } = blob;
      await using writer = await other.content.writer("again", { expected: digest, total: bytes.length });
      const { offset } = await writer.status();
      expect(offset).toBe(policy === "shared" ? bytes.length : 0);
      if (policy === "isolated") await writer.write(bytes);
      expect((await writer.commit({ digest, size: bytes.length, labels: KEEP })).size).toBe(bytes.length);
      expect((await files()).filter((file) => `sha256:${file}` === digest)).toHaveLength(1);
      await owner.content.delete(digest);
      expect((await other.content.info(digest)).size).toBe(bytes.length);
    });

    it("bytes that are not shown are not given", async () => {
      const blob = makeBlob();
      await put(owner, blob);
      const { digest } = blob;
      // Whoever does not say beforehand what is coming shares nothing.
      await using writer = await other.content.writer("pretended");
      await writer.write(makeBlob().bytes);
      expect(await writer.commit({ digest }).catch(codeOf)).toBe(Code.FailedPrecondition);
      expect(await other.content.info(digest).catch(codeOf)).toBe(Code.NotFound);
    });

    // 1.6 does not know the label.
    const givesAlways = name !== "containerd 1.6" || policy === "shared";
    it(`a shareable namespace ${givesAlways ? "gives" : "does not give"} what it has`, async () => {
      const namespace = parseNamespace(`open-${policy}`);
      const open = owner.scoped({ namespace });
      await owner.namespaces.create(namespace, new Map([[SHAREABLE, "true"]]));
      const blob = makeBlob();
      await put(open, blob);
      await using writer = await other.content.writer("taken", { expected: blob.digest });
      expect((await writer.status()).offset).toBe(givesAlways ? blob.bytes.length : 0);
      if (!givesAlways) return;
      await writer.commit({ digest: blob.digest, labels: KEEP });
      expect((await other.content.info(blob.digest)).size).toBe(blob.bytes.length);
    });
  });

  it("an unknown one keeps the database from loading, and says why", { timeout: 60_000 }, async () => {
    await using daemon = await start({ config: policyConfig("open") });
    const { stdout } = await daemon.ctr(["plugins", "ls", "--detailed", "id==bolt"]);
    expect(stdout).toMatch(/Message:.*(content_sharing_policy|unknown policy: open)/);
    expect((await daemon.ctr(["image", "ls"])).code).toBe(1);
  });
});

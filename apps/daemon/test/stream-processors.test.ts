import { gzipSync } from "node:zlib";

import { formatTarHeader, TAR_END_MARKER } from "@berth/archive";
import { createClient } from "@berth/client";
import { writeBlob } from "@berth/core/content";
import { codeName, codeOf } from "@berth/errors";
import { MediaType } from "@berth/oci";
import { sha256, startBerthd } from "@berth/testing";
import { describe, expect, it } from "vitest";

const SEALED = "application/vnd.oci.image.layer.v1.tar+gzip+sealed";

const CONFIG = `
[stream_processors."example.unseal"]
  accepts = ["${SEALED}"]
  returns = "${MediaType.ociLayerGzip}"
  path = "tail"
  args = ["-c", "+6"]
  env = ["EXAMPLE=1"]
[plugins."io.containerd.differ.v1.walking"]
  max_entries = 10
  max_depth = 5
  max_file_bytes = 1000
`;

describe("the walking differ, configured", { timeout: 60_000 }, () => {
  it("applies layers through the table stream_processors, and keeps to the budgets of its own table", async () => {
    await using daemon = await startBerthd({ config: CONFIG });
    await using owner = createClient({ address: daemon.address });
    const { id } = await owner.leases.create({ id: "held", labels: new Map() });
    const client = owner.scoped({ lease: id });
    let count = 0;
    const apply = async (tar: Uint8Array): Promise<string> => {
      const bytes = Buffer.concat([Buffer.from("SEAL\n"), gzipSync(tar)]);
      const layer = { mediaType: SEALED, digest: sha256(bytes), size: bytes.length };
      await writeBlob(client.content, layer.digest, [bytes], layer);
      const mounts = await client.snapshotter("overlayfs").prepare(`layer-${count++}`, "");
      return client.diff.apply(layer, mounts).then(
        ({ digest }) => digest,
        (error: unknown) => codeName(codeOf(error)),
      );
    };
    const tar = (...headers: Uint8Array[]): Uint8Array => Buffer.concat([...headers, TAR_END_MARKER]);
    const file = (path: string, size = 0): Uint8Array => formatTarHeader({ path, type: "file", size });
    expect(await apply(tar(file("file")))).toBe(sha256(tar(file("file"))));
    expect(await apply(tar(...Array.from({ length: 11 }, (_, index) => file(`${index}`))))).toBe("resource_exhausted");
    expect(await apply(tar(file("a/b/c/d/e/f/g")))).toBe("resource_exhausted");
    expect(await apply(tar(file("large", 2000)))).toBe("resource_exhausted");
  });
});

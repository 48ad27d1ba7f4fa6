import { codeName, codeOf } from "@berth/errors";
import { hostPlatform, MediaType, only } from "@berth/oci";
import type { Descriptor } from "@berth/oci";
import type { BuiltImage } from "@berth/testing";
import { buildImage, MemoryContentStore, sha256 } from "@berth/testing";
import { beforeEach, describe, expect, it } from "vitest";

import type { CommitImageOptions } from "../src/index.ts";
import { commitImage, resolveImage } from "../src/index.ts";

const encoder = new TextEncoder();
const platform = hostPlatform();
const layer: Descriptor = { mediaType: MediaType.ociLayerGzip, digest: sha256(encoder.encode("layer")), size: 5 };
const diffId = sha256(encoder.encode("tar"));

let content: MemoryContentStore;
let base: BuiltImage;

beforeEach(async () => {
  content = new MemoryContentStore();
  base = await buildImage({
    name: "example.org/base:1",
    layers: [[{ path: "file", type: "file", size: 3, content: encoder.encode("one") }]],
    config: { Cmd: ["sh"], Env: ["PATH=/bin", "A=1"], Labels: { kept: "yes" }, OnBuild: ["RUN true"] },
  });
  for (const [digest, bytes] of base.blobs) content.blobs.set(digest, { bytes, labels: new Map() });
});

const read = ({ digest }: Pick<Descriptor, "digest">) =>
  JSON.parse(new TextDecoder().decode(content.blobs.get(digest)?.bytes));

const commit = async (options: Partial<CommitImageOptions> = {}): Promise<Descriptor> => {
  const { descriptor, manifest } = await resolveImage(content, base.manifest, only(platform));
  return commitImage({
    content,
    base: { descriptor, manifest },
    platform,
    layer,
    compression: "gzip",
    diffId,
    createdAt: 86_400_000,
    ...options,
  });
};

describe("commitImage", () => {
  it("puts a layer over the base, and what is said of it into the configuration", async () => {
    const made = await commit({ author: "me", message: "why", createdBy: "sh", changes: ['CMD ["top"]'] });
    const image = await resolveImage(content, made, only(platform));
    expect(image.manifest.layers).toEqual([...base.layers, layer]);
    expect(image.diffIds).toEqual([...base.diffIds, diffId]);
    expect(read(image.manifest.config)).toMatchObject({
      created: "1970-01-02T00:00:00Z",
      author: "me",
      config: { Cmd: ["top"], Env: ["PATH=/bin", "A=1"], Labels: { kept: "yes" }, OnBuild: ["RUN true"] },
      history: [{ created: "1970-01-02T00:00:00Z", created_by: "sh", author: "me", comment: "why" }],
    });
    expect([...(content.blobs.get(made.digest)?.labels.values() ?? [])]).toEqual(
      expect.arrayContaining([image.manifest.config.digest, layer.digest]),
    );
    expect(await commit({ author: "me", message: "why", createdBy: "sh", changes: ['CMD ["top"]'] })).toEqual(made);
  });

  it("makes an image of a layer alone", async () => {
    const made = await commit({ base: undefined, compression: "zstd" });
    const image = await resolveImage(content, made, only(platform));
    expect(image.manifest.layers).toEqual([{ ...layer, mediaType: MediaType.ociLayerZstd }]);
    expect(image.diffIds).toEqual([diffId]);
    expect(made.mediaType).toBe(MediaType.ociManifest);
  });

  it("speaks as its base does", async () => {
    const document = read(base.manifest);
    const bytes = encoder.encode(
      JSON.stringify({
        ...document,
        mediaType: MediaType.dockerManifest,
        config: { ...document.config, mediaType: MediaType.dockerConfig },
      }),
    );
    const descriptor = { mediaType: MediaType.dockerManifest, digest: sha256(bytes), size: bytes.length };
    content.blobs.set(descriptor.digest, { bytes, labels: new Map() });
    const { manifest } = await resolveImage(content, descriptor, only(platform));
    const made = await commit({ base: { descriptor, manifest } });
    expect(made.mediaType).toBe(MediaType.dockerManifest);
    expect(read(made)).toMatchObject({
      mediaType: MediaType.dockerManifest,
      config: { mediaType: MediaType.dockerConfig },
      layers: [{}, { mediaType: MediaType.dockerLayerGzip }],
    });
  });

  it.each([
    ['CMD ["a", "b"]', { Cmd: ["a", "b"] }],
    ["cmd a b", { Cmd: ["/bin/sh", "-c", "a b"] }],
    ['ENTRYPOINT ["/x"]', { Entrypoint: ["/x"] }],
    ["ENV A=2", { Env: ["PATH=/bin", "A=2"] }],
    ['ENV B="two words"', { Env: ["PATH=/bin", "A=1", "B=two words"] }],
    ["ENV B two words", { Env: ["PATH=/bin", "A=1", "B=two words"] }],
    ["LABEL a=b", { Labels: { kept: "yes", a: "b" } }],
    ["EXPOSE 80 53/udp", { ExposedPorts: { "80/tcp": {}, "53/udp": {} } }],
    ['VOLUME ["/a b"]', { Volumes: { "/a b": {} } }],
    ["USER 1000:1000", { User: "1000:1000" }],
    ["WORKDIR /w", { WorkingDir: "/w" }],
    ["STOPSIGNAL SIGINT", { StopSignal: "SIGINT" }],
  ])("understands the change %s", async (change, expected) => {
    expect(read(read(await commit({ changes: [change] })).config).config).toMatchObject(expected);
  });

  it.each(["RUN true", "CMD", "nothing", "ENV =x", "EXPOSE http", 'CMD ["a"', "CMD [1]", "__proto__ x"])(
    "refuses the change %s",
    async (change) => {
      const code = await commit({ changes: [change] }).then(
        () => "ok",
        (error: unknown) => codeName(codeOf(error)),
      );
      expect(code).toBe("invalid_argument");
    },
  );
});

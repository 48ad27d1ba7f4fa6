import { Code, codeOf } from "@berth/errors";
import type { Descriptor } from "@berth/oci";
import { formatPlatform, only, onlyStrict, parsePlatform } from "@berth/oci";
import { sha256 } from "@berth/testing";
import { describe, expect, it } from "vitest";

import { checkImage, imagePlatforms, imageSize, resolveImage, resolveManifest } from "../src/index.ts";
import { MemoryContentStore } from "@berth/testing";

const OCI = "application/vnd.oci.image";
const content = new MemoryContentStore();
const put = (mediaType: string, value: unknown): Descriptor => {
  const bytes = new TextEncoder().encode(JSON.stringify(value));
  content.blobs.set(sha256(bytes), { bytes, labels: new Map() });
  return { mediaType, digest: sha256(bytes), size: bytes.length };
};
const image = (architecture: string, variant = "", diffIds: string[] = []): Descriptor => {
  const config = put(`${OCI}.config.v1+json`, { os: "linux", architecture, variant, rootfs: { diff_ids: diffIds } });
  return put(`${OCI}.manifest.v1+json`, { schemaVersion: 2, config, layers: [] });
};
const index = (...manifests: Descriptor[]): Descriptor => put(`${OCI}.index.v1+json`, { schemaVersion: 2, manifests });
const [v6, v7, arm64, bare, amd64] = [
  image("arm", "v6"),
  image("arm", "v7"),
  image("arm64"),
  image("s390x"),
  image("amd64"),
];
const on = (descriptor: Descriptor, platform: string): Descriptor => ({
  ...descriptor,
  platform: parsePlatform(platform),
});
const missing: Descriptor = { ...amd64, digest: sha256(new Uint8Array(1)) };
const all = index(
  on(v6, "linux/arm/v6"),
  bare,
  on(v7, "linux/arm/v7"),
  index(on(arm64, "linux/arm64")),
  on(missing, "linux/ppc64le"),
);

const failure = async (call: Promise<unknown>): Promise<Code> =>
  codeOf(
    await call.then(
      () => undefined,
      (error: unknown) => error,
    ),
  );

describe("resolveManifest", () => {
  it.each([
    ["linux/arm/v7", only(parsePlatform("linux/arm/v7")), v7],
    ["linux/arm/v6", only(parsePlatform("linux/arm/v6")), v6],
    ["linux/arm64, in an index inside", onlyStrict(parsePlatform("linux/arm64")), arm64],
    ["linux/arm64, or else the best that it runs", only(parsePlatform("linux/arm64")), v7],
    ["linux/s390x, which only its configuration tells", only(parsePlatform("linux/s390x")), bare],
  ])("finds %s", async (_, matcher, expected) => {
    expect((await resolveManifest(content, all, matcher)).descriptor.digest).toBe(expected.digest);
  });

  it("takes a manifest as it is, and refuses what is none", async () => {
    const matcher = onlyStrict(parsePlatform("linux/riscv64"));
    expect((await resolveManifest(content, amd64, matcher)).descriptor).toBe(amd64);
    expect(await failure(resolveManifest(content, all, matcher))).toBe(Code.NotFound);
    expect(await failure(resolveManifest(content, all, only(parsePlatform("linux/ppc64le"))))).toBe(Code.NotFound);
    expect(await failure(resolveManifest(content, { ...amd64, mediaType: "text/plain" }, matcher))).toBe(
      Code.InvalidArgument,
    );
  });

  it("does not follow an index into itself for ever", async () => {
    let nested = index(amd64);
    for (let depth = 0; depth < 40; depth++) nested = index(nested);
    const matcher = only(parsePlatform("linux/amd64"));
    expect(await failure(resolveManifest(content, nested, matcher))).toBe(Code.ResourceExhausted);
    expect((await resolveManifest(content, index(nested, amd64), matcher)).descriptor.digest).toBe(amd64.digest);
    expect(await failure(imageSize(content, nested, matcher))).toBe(Code.ResourceExhausted);
  });

  it.each([
    // Where it is looked for in vain first, it is itself too deep, or what it lists is.
    [8, amd64.digest],
    [7, Code.ResourceExhausted],
  ])("does not miss what is listed %i levels deeper too", async (levels, expected) => {
    const listed = levels === 8 ? index(amd64) : index(index(amd64));
    let deep = listed;
    for (let depth = 0; depth < levels; depth++) deep = index(deep);
    const found = resolveManifest(content, index(deep, listed), only(parsePlatform("linux/amd64")));
    expect(await found.then(({ descriptor: { digest } }) => digest, codeOf)).toBe(expected);
  });
});

describe("an image whose indexes list each other many times over", () => {
  /** A whole walk of it would have 10^10 steps. */
  const manyTimesOver = (...manifests: Descriptor[]): Descriptor => {
    let nested = index(...manifests);
    for (let depth = 0; depth < 6; depth++) nested = index(...Array.from({ length: 50 }, () => nested));
    return nested;
  };

  it("is searched, also for what it does not have", async () => {
    const target = manyTimesOver(amd64, amd64);
    const found = await resolveManifest(content, target, only(parsePlatform("linux/amd64")));
    expect(found.descriptor.digest).toBe(amd64.digest);
    expect(await failure(resolveManifest(content, target, only(parsePlatform("linux/s390x"))))).toBe(Code.NotFound);
  });

  it("has each of its platforms once", async () => {
    const target = manyTimesOver(amd64, on(v6, "linux/arm/v6"), on(v6, "linux/arm/v7"), on(missing, "linux/arm/v6"));
    const found = await Array.fromAsync(imagePlatforms(content, target), formatPlatform);
    expect(found.sort()).toEqual(["linux/amd64", "linux/arm/v6", "linux/arm/v7"]);
  });

  it("is not asked for its platforms without end where it is as deep as it is wide", async () => {
    let nested = index(amd64);
    for (let depth = 0; depth < 40; depth++) nested = index(nested, nested);
    expect(await failure(Array.fromAsync(imagePlatforms(content, nested)))).toBe(Code.ResourceExhausted);
  });
});

it("resolveImage refuses another number of layers than of diff ids", async () => {
  const broken = image("amd64", "", [amd64.digest]);
  expect(await failure(resolveImage(content, broken, only(parsePlatform("linux/amd64"))))).toBe(Code.InvalidArgument);
});

it("imagePlatforms, imageSize and checkImage tell what is there", async () => {
  const platforms = await Array.fromAsync(imagePlatforms(content, all), formatPlatform);
  expect(platforms.sort()).toEqual(["linux/arm/v6", "linux/arm/v7", "linux/arm64", "linux/ppc64le", "linux/s390x"]);
  const arm = onlyStrict(parsePlatform("linux/arm/v7"));
  expect((await checkImage(content, on(v7, "linux/arm/v7"), arm)).missing).toEqual([]);
  expect(await checkImage(content, missing, arm)).toMatchObject({ available: false, missing: [missing] });
  expect(await imageSize(content, index(on(v6, "linux/arm/v6"), on(v7, "linux/arm/v7")), arm)).toBeGreaterThan(v7.size);
});

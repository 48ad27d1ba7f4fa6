import { writeBlob } from "@berth/core/content";
import { sourceLabel } from "@berth/core/distribution-source";
import { codeName, codeOf } from "@berth/errors";
import type { Descriptor } from "@berth/oci";
import { digestHex, MediaType } from "@berth/oci";
import type { FaultRegistry, PeerRegistry } from "@berth/testing";
import { digestBytes, MemoryContentStore, sha256, startFaultRegistry, startRegistry } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { RegistryClient } from "../src/index.ts";

const BLOB = new Uint8Array(300_000).map((_, index) => index % 241);
const bytesOf = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

describe.each(["sha384", "sha512"] as const)("RegistryClient with digests of %s", (algorithm) => {
  const stack = new AsyncDisposableStack();
  let registry: FaultRegistry;
  let peer: PeerRegistry;
  let client: RegistryClient;

  const describedAs = (mediaType: string, bytes: Uint8Array): Descriptor => ({
    mediaType,
    digest: digestBytes(bytes, algorithm),
    size: bytes.length,
  });
  const blob = describedAs("x/y", BLOB);
  const MANIFEST = bytesOf({ schemaVersion: 2, mediaType: MediaType.ociManifest, config: blob, layers: [blob] });
  const manifest = describedAs(MediaType.ociManifest, MANIFEST);
  const store = new MemoryContentStore();

  beforeAll(async () => {
    registry = stack.use(await startFaultRegistry());
    peer = stack.use(await startRegistry());
    client = stack.use(new RegistryClient());
    await writeBlob(store, "blob", [BLOB], blob);
    await writeBlob(store, "manifest", [MANIFEST], manifest);
  });

  afterAll(() => stack.disposeAsync());

  const read = async (name: string, descriptor: Descriptor): Promise<string> =>
    digestBytes(Buffer.concat(await Array.fromAsync(client.fetch(name, descriptor))), algorithm);
  const codeThrown = (work: Promise<unknown>): Promise<string> =>
    work.then(
      () => "ok",
      (error: unknown) => codeName(codeOf(error)),
    );

  it("uploads, resolves by digest and downloads", async () => {
    const name = `${registry.host}/x`;
    expect(await client.push(`${name}:1`, blob, store)).toBe(true);
    expect(await client.push(`${name}:1`, manifest, store)).toBe(true);
    expect(await client.push(`${name}:1`, blob, store)).toBe(false);
    expect(await client.push(`${name}:1`, manifest, store)).toBe(false);
    for (const each of [blob, manifest]) {
      const { descriptor } = await client.resolve(`${name}@${each.digest}`);
      expect(descriptor.digest).toBe(each.digest);
      expect(await read(name + ":1", each)).toBe(each.digest);
    }
  });

  it("resolves by digest where the registry tells none", async () => {
    registry.add(MANIFEST, manifest.mediaType, algorithm);
    registry.fault = () => ({ kind: "headers", headers: { "docker-content-digest": "" } });
    const { descriptor } = await client.resolve(`${registry.host}/x@${manifest.digest}`);
    registry.fault = undefined;
    expect(descriptor).toEqual(manifest);
  });

  it("takes over what another repository has", async () => {
    registry.add(BLOB, blob.mediaType, algorithm);
    registry.fault = ({ method }) => (method === "HEAD" ? { kind: "status", status: 404 } : undefined);
    const annotations = { [sourceLabel(registry.host)]: "y" };
    expect(await client.push(`${registry.host}/x:1`, { ...blob, annotations }, store)).toBe(true);
    registry.fault = undefined;
    const mount = registry.requests.at(-1);
    expect([mount?.method, mount?.query.get("mount"), mount?.query.get("from")]).toEqual(["POST", blob.digest, "y"]);
  });

  it("lists referrers", async () => {
    const subject = { ...manifest, artifactType: "a/b" };
    const index = bytesOf({ schemaVersion: 2, mediaType: MediaType.ociIndex, manifests: [subject] });
    const tag = `${algorithm}-${digestHex(manifest.digest).slice(0, 64)}`;
    registry.tag(tag, registry.add(index, MediaType.ociIndex));
    expect(await client.referrers(`${registry.host}/x:1`, manifest.digest)).toEqual([subject]);
  });

  it("pushes to a registry that knows content by sha256 only, unless that is of something else", async () => {
    await using other = await startFaultRegistry();
    const told = (digest: string) => {
      other.fault = ({ method }) =>
        method === "PUT" ? { kind: "headers", headers: { "docker-content-digest": digest } } : undefined;
    };
    told(sha256(BLOB));
    expect(await client.push(`${other.host}/x:1`, blob, store)).toBe(true);
    told(sha256(MANIFEST));
    expect(await client.push(`${other.host}/x:1`, manifest, store, { object: "1" })).toBe(true);
    told(sha256(BLOB));
    expect(await codeThrown(client.push(`${other.host}/x:2`, manifest, store, { object: "2" }))).toBe(
      "failed_precondition",
    );
  });

  it("pushes to and pulls from Debian's registry, as far as that knows such digests", async () => {
    const name = `${peer.host}/team/${algorithm}`;
    expect(await client.push(`${name}:1`, blob, store)).toBe(true);
    expect(await read(`${name}:1`, blob)).toBe(blob.digest);
    const pushed = await client.push(`${name}:1`, manifest, store, { object: "1" });
    expect(pushed).toBe(true);
    const { descriptor } = await client.resolve(`${name}:1`);
    expect(descriptor).toEqual({ ...manifest, digest: sha256(MANIFEST) });
  });
});

import { sha256, startFaultRegistry } from "@berth/testing";
import { expect, it } from "vitest";

import { RegistryClient } from "../src/index.ts";
import { createRateLimit } from "../src/rate-limit.ts";

const BYTES = new Uint8Array(100_000).map((_, index) => index % 251);

it("downloads of clients with one limit take, together, the time that it gives them", async () => {
  await using registry = await startFaultRegistry();
  const blob = registry.add(BYTES);
  const downloadLimit = createRateLimit(1_000_000);
  await using one = new RegistryClient({ downloadLimit });
  await using other = new RegistryClient({ downloadLimit });
  const started = performance.now();
  const read = async (client: RegistryClient): Promise<string> =>
    sha256(Buffer.concat(await Array.fromAsync(client.fetch(`${registry.host}/x:1`, blob))));
  const digests = await Promise.all([one, other, one, other].map(read));
  expect(new Set(digests)).toEqual(new Set([blob.digest]));
  // 400,000 bytes at 1,000,000 in a second, but for the last chunk, which is not waited for.
  expect(performance.now() - started).toBeGreaterThan(250);
});

it("a limit lets nothing wait whose caller has given up", async () => {
  const limit = createRateLimit(1000);
  await limit.pass(10_000);
  await expect(limit.pass(1, { signal: AbortSignal.timeout(20) })).rejects.toThrow();
});

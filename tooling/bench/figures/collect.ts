import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

import { Leases } from "@berth/api/containerd/services/leases/v1/leases";
import { Version } from "@berth/api/containerd/services/version/v1/version";
import { Client } from "@berth/client";
import { createUnixTransport } from "@berth/client/transport";
import { parseNamespace } from "@berth/core/namespaces";
import { formatDigest } from "@berth/oci";

import { startMeasured } from "../daemons.ts";
import type { Figure, Side } from "../figure.ts";
import { alternate } from "../figure.ts";
import { connectRaw } from "../raw-call.ts";
import { timed } from "../time-command.ts";

const BLOBS = 10_000;
const AT_ONCE = 64;
const LEASE = "held";
const MOST_BLOCKED_MS = 50;

interface Sample {
  readonly collectMs: number;
  readonly blockedMs: number;
}

/** Collection of 10,000 blobs by the end of their lease, and the longest that a small call had to wait meanwhile. */
export const collect: Figure = {
  name: "collect",
  rounds: 3,
  async measure(context) {
    const samples = await alternate(context, collectOnce);
    const rowOf = (label: string, key: keyof Sample) => ({
      label,
      unit: "ms" as const,
      berth: samples.berth.map((sample) => sample[key]),
      other: samples.containerd.map((sample) => sample[key]),
    });
    return [
      rowOf(`collection of ${BLOBS} blobs`, "collectMs"),
      {
        ...rowOf("  longest wait of another call", "blockedMs"),
        target: { value: MOST_BLOCKED_MS, bound: "at most" },
      },
    ];
  },
};

async function collectOnce(side: Side): Promise<Sample> {
  await using measured = await startMeasured(side);
  const { address } = measured.daemon;
  await makeBlobs(address);
  using lease = await connectRaw(address);
  using other = await connectRaw(address);
  let longest = 0;
  let over = false;
  const watch = (async () => {
    while (!over) {
      longest = Math.max(longest, (await timed(() => other.call(Version.method.version, {}))).ms);
      await sleep(1);
    }
  })();
  await sleep(200);
  longest = 0;
  const { ms } = await timed(() => lease.call(Leases.method.delete, { id: LEASE, sync: true }));
  over = true;
  await watch;
  return { collectMs: ms, blockedMs: longest };
}

async function makeBlobs(address: string): Promise<void> {
  await using transport = createUnixTransport({ path: address, namespace: "default", lease: LEASE });
  const client = new Client(transport, parseNamespace("default"));
  await client.leases.create({ id: LEASE, labels: new Map() });
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let index = next++; index < BLOBS; index = next++) {
      const bytes = new TextEncoder().encode(`blob ${index}`);
      await using writer = await client.content.writer(`blob-${index}`);
      await writer.write(bytes);
      await writer.commit({
        size: bytes.length,
        digest: formatDigest("sha256", createHash("sha256").update(bytes).digest("hex")),
      });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

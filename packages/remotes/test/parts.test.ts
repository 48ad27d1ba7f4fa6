import { setTimeout as sleep } from "node:timers/promises";

import { Turns } from "@berth/core/turns";
import { codeName, codeOf } from "@berth/errors";
import type { Descriptor } from "@berth/oci";
import type { FaultRegistry, RegistryFault, RegistryRequestRecord } from "@berth/testing";
import { sha256, startFaultRegistry } from "@berth/testing";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import type { RegistryOptions } from "../src/index.ts";
import { RegistryClient } from "../src/index.ts";
import { PartMemory } from "../src/part-memory.ts";
import { PartsAhead } from "../src/parts-ahead.ts";
import { createRateLimit } from "../src/rate-limit.ts";

const PART = 100_000;
const BLOB = new Uint8Array(10 * PART + 1).map((_, index) => (index * index) % 251);
const FIRST = `bytes=0-${PART - 1}`;

describe("RegistryClient that fetches in parts", () => {
  let stack: AsyncDisposableStack;
  let registry: FaultRegistry;
  let blob: Descriptor;

  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    registry = stack.use(await startFaultRegistry());
    blob = registry.add(BLOB);
  });

  afterEach(() => stack.disposeAsync());

  const clientOf = (options: RegistryOptions = {}): RegistryClient =>
    stack.use(new RegistryClient({ partBytes: PART, ...options }));
  const fetch = (options?: RegistryOptions, offset = 0): AsyncIterable<Uint8Array> =>
    clientOf(options).fetch(`${registry.host}/x:1`, blob, { offset });
  /** What comes, as a part of what should: its first byte, its end, and whether it is right. */
  const read = async (options?: RegistryOptions, offset = 0): Promise<boolean> =>
    Buffer.compare(Buffer.concat(await Array.fromAsync(fetch(options, offset))), BLOB.subarray(offset)) === 0;
  const ranges = (): (string | undefined)[] => registry.requests.map(({ headers }) => headers.range);
  const failPart = (nth: number, fault: RegistryFault): void => {
    let struck = false;
    registry.fault = ({ headers }) => {
      if (struck || headers.range !== `bytes=${nth * PART}-${(nth + 1) * PART - 1}`) return undefined;
      struck = true;
      return fault;
    };
  };

  it.each([0, 1, PART - 1, PART, 3 * PART + 7, 9 * PART, BLOB.length - 1])(
    "gives all from %i on, each byte asked for once",
    async (offset) => {
      expect(await read({}, offset)).toBe(true);
      const asked = ranges()
        .map((range) => /^bytes=(\d+)-(\d*)$/.exec(range ?? ""))
        .map((match) => [Number(match?.[1]), match?.[2] ? Number(match[2]) + 1 : BLOB.length] as const)
        .toSorted(([one], [other]) => one - other);
      expect(asked.map(([from]) => from)).toEqual([offset, ...asked.slice(0, -1).map(([, to]) => to)]);
      expect(asked.at(-1)?.[1]).toBe(BLOB.length);
    },
  );

  it("asks for what is smaller than a part in one piece, and without a range", async () => {
    await clientOf({ partBytes: BLOB.length }).fetch(`${registry.host}/x:1`, blob)[Symbol.asyncIterator]().next();
    expect(ranges()).toEqual([undefined]);
  });

  it("never has more requests under way than it may, of all downloads together", async () => {
    registry.fault = ({ headers }) => (headers.range === FIRST ? undefined : { kind: "stall", after: 10 });
    const client = clientOf({ maxRequests: 3 });
    const readings = [0, 1].map((offset) =>
      client.fetch(`${registry.host}/x:1`, blob, { offset })[Symbol.asyncIterator](),
    );
    await Promise.all(readings.map((reading) => reading.next()));
    for (let round = 0; round < 50; round += 1) await Promise.race([readings[0]?.next(), sleep(20)]);
    // The first part has come whole; in its place, and beside it, nothing more than three.
    expect(registry.requests).toHaveLength(4);
  });

  it("asks for parts only while there is memory for them", async () => {
    const asked: RegistryRequestRecord[] = [];
    registry.fault = (request) => {
      asked.push(request);
      return undefined;
    };
    const partMemory = new PartMemory(2 * PART);
    const reading = fetch({ maxRequests: 9, partMemory })[Symbol.asyncIterator]();
    await reading.next();
    await vi.waitFor(() => expect(asked.length).toBeGreaterThanOrEqual(3), { timeout: 10_000 });
    await sleep(200);
    expect(asked).toHaveLength(3);
    await reading.return?.();
    // Given back by who stops half way.
    expect(partMemory.tryTake(2 * PART)).toBeDefined();
  });

  it("shares a limit of bytes in a second among all parts", async () => {
    const started = performance.now();
    expect(await read({ downloadLimit: createRateLimit(2_000_000), maxRequests: 5 })).toBe(true);
    expect(performance.now() - started).toBeGreaterThan(350);
  });

  it.each<readonly [string, RegistryFault, readonly number[]]>([
    ["is cut short", { kind: "truncate", after: 20 }, [1, 3]],
    ["is reset", { kind: "reset", after: 50_000 }, [1, 3]],
    ["is reset before its first byte", { kind: "reset", after: 0 }, [1, 3]],
    ["meets a server that fails", { kind: "status", status: 503 }, [1, 3]],
    ["meets a server that is busy", { kind: "status", status: 429, headers: { "retry-after": "0" } }, [1, 3]],
    ["is not there", { kind: "status", status: 404 }, [1, 3]],
    ["comes with everything", { kind: "ignore-range" }, [1, 3]],
    ["is another range", { kind: "wrong-range" }, [1, 3]],
    [
      "is of something larger",
      { kind: "headers", headers: { "content-range": `bytes ${3 * PART}-1/99999999` } },
      [1, 3],
    ],
    ["has another ETag", { kind: "headers", headers: { etag: '"other"' } }, [1, 3]],
    ["has no end", { kind: "endless" }, [0, 1, 3]],
    ["comes with all behind it", { kind: "ignore-end" }, [0, 1, 3]],
  ])("gives all when a part %s once", async (_case, fault, parts) => {
    for (const nth of parts) {
      failPart(nth, fault);
      expect.soft(await read(), `part ${nth}`).toBe(true);
    }
  });

  it("goes on from what came of a part that failed", async () => {
    failPart(2, { kind: "reset", after: 60_000 });
    expect(await read()).toBe(true);
    const again = ranges().filter((range) => Number(/^bytes=(\d+)/.exec(range ?? "")?.[1]) % PART !== 0);
    expect(again).toEqual([expect.stringMatching(/^bytes=2[1-6]\d{4}-/)]);
  });

  it("gives all from a server that knows no ranges, in one piece", async () => {
    registry.fault = () => ({ kind: "ignore-range" });
    expect(await read()).toBe(true);
    expect(registry.requests).toHaveLength(1);
  });

  it("gives all from a server that minds only where ranges begin, in one piece", async () => {
    registry.fault = () => ({ kind: "ignore-end" });
    expect(await read()).toBe(true);
    expect(registry.requests).toHaveLength(1);
  });

  it.each([400, 416, 501])("gives all from a server that answers %i to any range", async (status) => {
    registry.fault = ({ headers }) => (headers.range === undefined ? undefined : { kind: "status", status });
    expect(await read()).toBe(true);
    expect(ranges()).toEqual([FIRST, undefined]);
  });

  it("gives all when what is missing of a part comes with everything, or without end", async () => {
    for (const kind of ["ignore-range", "ignore-end", "endless"] as const) {
      const seen = new Set<string>();
      registry.fault = ({ headers: { range = "" } }) => {
        if (range === `bytes=${2 * PART}-${3 * PART - 1}`) return { kind: "reset", after: 60_000 };
        const from = Number(/^bytes=(\d+)/.exec(range)?.[1]);
        if (from % PART !== 0) seen.add(range);
        return from % PART === 0 ? undefined : { kind };
      };
      expect.soft(await read(), kind).toBe(true);
      expect.soft(seen.size, kind).toBe(1);
    }
  });

  it("gives all from a server that refuses parts ahead of their turn, and soon asks for none", async () => {
    const refused = new Set<string>([FIRST]);
    registry.fault = ({ headers: { range = "" } }) => {
      if (refused.has(range) || refused.size > 3) return undefined;
      refused.add(range);
      return { kind: "status", status: 403 };
    };
    expect(await read()).toBe(true);
    const rest = ranges().map((range) => Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1]));
    expect(rest.some((from) => from < 10 * PART)).toBe(true);
  });

  it.each<readonly [string, RegistryFault, string]>([
    ["are always reset", { kind: "reset", after: 0 }, "unavailable"],
    ["are forbidden", { kind: "status", status: 403 }, "permission_denied"],
    ["are not there", { kind: "status", status: 404 }, "not_found"],
    ["are always another range", { kind: "wrong-range" }, "failed_precondition"],
  ])("fails when all parts but the first %s", async (_case, fault, code) => {
    registry.fault = ({ headers }) => (headers.range === FIRST ? undefined : fault);
    const error: unknown = await read().catch((thrown: unknown) => thrown);
    expect(codeName(codeOf(error))).toBe(code);
  });

  it("gives wrong bytes of one part to its reader, for it to verify, and as many as there should be", async () => {
    failPart(2, { kind: "corrupt" });
    const bytes = Buffer.concat(await Array.fromAsync(fetch()));
    expect(bytes).toHaveLength(BLOB.length);
    expect(sha256(bytes)).not.toBe(blob.digest);
  });

  it("follows the redirect of each part, without what names the user", async () => {
    await using other = await startFaultRegistry();
    other.add(BLOB);
    let count = 0;
    registry.fault = ({ path, headers }) => {
      if (headers.authorization === undefined)
        return { kind: "status", status: 401, headers: { "www-authenticate": 'Basic realm="x"' } };
      const location = `http://${other.host}${path}?sig=${(count += 1)}`;
      return { kind: "status", status: 307, headers: { location } };
    };
    expect(await read({ credentials: async () => ({ username: "u", secret: "s" }) })).toBe(true);
    expect(new Set(other.requests.map(({ headers }) => headers.authorization))).toEqual(new Set([undefined]));
    expect(new Set(other.requests.map(({ query }) => query.get("sig"))).size).toBe(count);
    expect(new Set(other.requests.map(({ headers }) => headers.range)).size).toBe(other.requests.length);
  });

  it("gets another token when one ends half way, once for all parts", async () => {
    await using tokens = await startFaultRegistry();
    let issued = 0;
    tokens.fault = () => ({ kind: "status", status: 200, body: `{"token":"t${(issued += 1)}"}` });
    const challenge = { "www-authenticate": `Bearer realm="http://${tokens.host}/token"` };
    registry.fault = ({ headers }) => {
      const valid = registry.requests.length < 6 ? "Bearer t1" : "Bearer t2";
      return headers.authorization === valid ? undefined : { kind: "status", status: 401, headers: challenge };
    };
    expect(await read()).toBe(true);
    expect(issued).toBe(2);
  });

  it("ends, with all its requests, when it is cancelled", async () => {
    registry.fault = ({ headers }) => (headers.range === FIRST ? undefined : { kind: "stall", after: 10 });
    const abort = new AbortController();
    const reading = Array.fromAsync(clientOf().fetch(`${registry.host}/x:1`, blob, { signal: abort.signal }));
    reading.catch(() => {});
    await vi.waitFor(() => expect(registry.open).toBe(3), { timeout: 10_000 });
    abort.abort(new Error("enough"));
    await expect(reading).rejects.toThrow("enough");
    await vi.waitFor(() => expect(registry.open).toBe(0), { timeout: 10_000 });
  });

  it("ends while it waits for its turn, when it is cancelled", async () => {
    const client = clientOf({ maxRequests: 1 });
    const slow = client.fetch(`${registry.host}/x:1`, blob)[Symbol.asyncIterator]();
    await slow.next();
    const abort = new AbortController();
    const reading = Array.fromAsync(client.fetch(`${registry.host}/x:1`, blob, { signal: abort.signal }));
    reading.catch(() => {});
    await sleep(50);
    abort.abort(new Error("enough"));
    await expect(reading).rejects.toThrow("enough");
    await slow.return?.();
  });

  it("keeps a part that comes byte by byte in few pieces", async () => {
    const ended = Promise.withResolvers<void>();
    async function* drip(): AsyncIterable<Uint8Array> {
      for (const byte of BLOB.subarray(0, PART)) yield Uint8Array.of(byte);
      ended.resolve();
    }
    const settings = { bytes: PART, requests: new Turns(1), memory: new PartMemory(PART) };
    await using ahead = new PartsAhead(PART, settings, async () => drip(), {});
    ahead.fill(0);
    await ended.promise;
    const pieces = await Array.fromAsync(ahead.take(0) ?? []);
    expect(Buffer.compare(Buffer.concat(pieces), BLOB.subarray(0, PART))).toBe(0);
    expect(pieces.length).toBeLessThan(5);
  });
});

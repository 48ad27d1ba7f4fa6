import { createHash } from "node:crypto";

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  WriteAction,
  WriteContentRequestSchema,
  type WriteContentResponse,
} from "@berth/api/containerd/services/content/v1/content";
import { codeOf } from "@berth/errors";
import { createClient, createUnixTransport } from "@berth/rpc/client";
import { type PeerDaemon, startBerthd, startContainerd } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { Content } from "../src/service.ts";

/** What stands on the wire, message by message: of the daemon that the rules were taken from, and of ours. */

type WriteInit = MessageInitShape<typeof WriteContentRequestSchema>;
type Client = ReturnType<typeof createClient<typeof Content>>;

const { STAT, WRITE, COMMIT } = WriteAction;
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const digestOf = (text: string): string => `sha256:${createHash("sha256").update(text).digest("hex")}`;
const missing = `sha256:${"0".repeat(64)}`;

/** Streams of messages; `stored` is there before. Digests are those of texts that only one scenario uses. */
const writes: readonly (readonly [name: string, messages: readonly WriteInit[]])[] = [
  ["no message", []],
  ["only STAT", [{ action: STAT, ref: "stat", total: 7n }]],
  [
    "STAT, WRITE, WRITE, COMMIT",
    [
      { action: STAT, ref: "usual", total: 6n },
      { action: WRITE, data: bytes("abc") },
      { action: WRITE, data: bytes("def"), offset: 3n },
      { action: COMMIT, offset: 6n, total: 6n, expected: digestOf("abcdef") },
    ],
  ],
  ["one message", [{ action: COMMIT, ref: "one", data: bytes("one message"), labels: { a: "1", "b.c/d": "2" } }]],
  ["end without COMMIT", [{ action: WRITE, ref: "left", data: bytes("left behind") }]],
  [
    "what was left is resumed",
    [
      { action: STAT, ref: "left" },
      { action: COMMIT, offset: 11n },
    ],
  ],
  [
    "messages after COMMIT",
    [
      { action: COMMIT, ref: "after", data: bytes("after commit") },
      { action: WRITE, data: bytes("more") },
    ],
  ],
  [
    "offset 0 drops what is there",
    [
      { action: WRITE, ref: "anew", data: bytes("wrong") },
      { action: WRITE, data: bytes("right bytes") },
      { action: COMMIT, offset: 11n },
    ],
  ],
  [
    "a COMMIT at offset 0 drops what is there",
    [
      { action: WRITE, ref: "dropped", data: bytes("wrong") },
      { action: COMMIT, data: bytes("dropped") },
    ],
  ],
  ["no ref", [{ action: STAT }]],
  ["an offset ahead", [{ action: WRITE, ref: "ahead", data: bytes("a"), offset: 1n }]],
  [
    "an offset behind",
    [
      { action: WRITE, ref: "behind", data: bytes("abc") },
      { action: WRITE, data: bytes("d"), offset: 2n },
    ],
  ],
  ["another total", [{ action: COMMIT, ref: "total", data: bytes("a"), total: 2n }]],
  [
    "a total that changes",
    [
      { action: STAT, ref: "changes", total: 100n },
      { action: COMMIT, data: bytes("total changes"), total: 13n },
    ],
  ],
  ["another digest", [{ action: COMMIT, ref: "digest", data: bytes("other digest"), expected: missing }]],
  ["expected is stored", [{ action: STAT, ref: "stored", expected: digestOf("stored") }]],
  [
    "expected is stored, told while uploading",
    [
      { action: WRITE, ref: "uploading", data: bytes("st") },
      { action: WRITE, data: bytes("ored"), offset: 2n, expected: digestOf("stored") },
    ],
  ],
  [
    "the bytes are stored already",
    [{ action: COMMIT, ref: "again", data: bytes("stored"), expected: digestOf("stored") }],
  ],
  ["the bytes are stored already, without a digest", [{ action: COMMIT, ref: "untold", data: bytes("stored") }]],
  ["labels too large", [{ action: COMMIT, ref: "labels", data: bytes("l"), labels: { a: "x".repeat(5000) } }]],
  ["an action of the future", [{ action: 7 as WriteAction, ref: "future", data: bytes("x") }]],
];

async function* stream<T>(items: readonly T[]): AsyncIterable<T> {
  yield* items;
}

async function outcome<T>(call: Promise<T>): Promise<T | { readonly code: number }> {
  return call.catch((error: unknown) => ({ code: codeOf(error) }));
}

/** What can be compared: whatever is no time. */
async function write(client: Client, messages: readonly WriteInit[]) {
  const answers: unknown[] = [];
  const requests = messages.map((message) => create(WriteContentRequestSchema, message));
  const ended = await outcome(
    (async () => {
      for await (const answer of client.write(stream(requests))) answers.push(comparable(answer));
    })(),
  );
  return { answers, ended: ended ?? "well" };
}

function comparable({ action, offset, total, digest, startedAt, updatedAt }: WriteContentResponse) {
  return { action, offset, total, digest, started: isSet(startedAt), updated: isSet(updatedAt) };
}

/** 1.6 sends Go's zero time, the year 1, for a time that later versions leave out. */
function isSet(time: { readonly seconds: bigint } | undefined): boolean {
  return time !== undefined && time.seconds > 0n;
}

async function read(client: Client, digest: string, offset: bigint, size: bigint) {
  const blocks = Array.fromAsync(client.read({ digest, offset, size }), (block) => [block.offset, block.data.length]);
  return await outcome(blocks);
}

describe("Content on the wire", () => {
  const stack = new AsyncDisposableStack();
  const clients = new Map<string, Client>();
  const long = "x".repeat(2_500_000);

  beforeAll(async () => {
    const start = async (name: string, daemon: PeerDaemon) => {
      stack.use(daemon);
      const transport = stack.use(createUnixTransport({ path: daemon.address, namespace: "wire" }));
      const client = createClient(Content, transport);
      clients.set(name, client);
      // The collector must not come in between.
      for (const text of ["stored", long]) {
        const labels = { "containerd.io/gc.root": "1" };
        await write(client, [{ action: COMMIT, ref: `put ${text.length}`, data: bytes(text), labels }]);
      }
    };
    await start("containerd", await startContainerd());
    await start("berthd", await startBerthd());
  });
  afterAll(() => stack.disposeAsync());

  /** Both answer alike; the answer is returned for what else is to be said about it. */
  const both = async <T>(call: (client: Client) => Promise<T>): Promise<T> => {
    const [theirs, ours] = await Promise.all(["containerd", "berthd"].map((name) => call(clientOf(name))));
    expect(ours).toEqual(theirs);
    // Both were called.
    return ours as T;
  };
  const clientOf = (name: string): Client => {
    const client = clients.get(name);
    if (client === undefined) throw new Error(`no client of ${name}`);
    return client;
  };

  it.each(writes)("Write: %s", async (_, messages) => {
    await both((client) => write(client, messages));
  });

  it("Write: after a good end the last answer has come twice", async () => {
    const { answers, ended } = await both((client) =>
      write(client, [{ action: COMMIT, ref: "twice", data: bytes("twice") }]),
    );
    expect(ended).toBe("well");
    expect(answers).toHaveLength(2);
    expect(answers[0]).toEqual(answers[1]);
  });

  it.each<[bigint, bigint]>([
    [0n, 0n],
    [100n, 0n],
    [100n, 7n],
    [-5n, 2n],
    [5n, -1n],
    [2_499_999n, 100n],
    [2_500_000n, 0n],
    [2_500_001n, 0n],
  ])("Read: from %s, %s bytes", async (offset, size) => {
    await both((client) => read(client, digestOf(long), offset, size));
  });

  it("calls about what is not there, or is no digest", async () => {
    for (const digest of [missing, "", "sha256:zz", "nonsense"]) {
      await both((client) => outcome(client.info({ digest })));
      await both((client) => outcome(client.delete({ digest })));
      await both((client) => read(client, digest, 0n, 0n));
      await both((client) => outcome(client.update({ info: { digest } })));
    }
    await both((client) => outcome(client.status({ ref: "nobody" })));
    await both((client) => outcome(client.abort({ ref: "nobody" })));
    await both((client) => outcome(client.listStatuses({ filters: ["ref==nobody"] })));
  });

  it("Status and ListStatuses: expected is empty, ref is the caller's", async () => {
    await both(async (client) => {
      await write(client, [{ action: WRITE, ref: "known", data: bytes("abc"), total: 9n, expected: missing }]);
      const { status } = await client.status({ ref: "known" });
      const { statuses } = await client.listStatuses({ filters: ["ref==known"] });
      await client.abort({ ref: "known" });
      return [status, ...statuses].map((each) => ({ ...each, startedAt: 0, updatedAt: 0 }));
    });
  });

  it("List: blocks of 100", { timeout: 60_000 }, async () => {
    const sizes = await both(async (client) => {
      for (let index = 0; index < 130; index += 1) {
        const labels = { "containerd.io/gc.root": "1", many: "yes" };
        await write(client, [{ action: COMMIT, ref: `many ${index}`, data: bytes(`many ${index}`), labels }]);
      }
      return Array.fromAsync(client.list({ filters: ["labels.many==yes"] }), ({ info }) => info.length);
    });
    expect(sizes).toEqual([100, 30]);
  });
});

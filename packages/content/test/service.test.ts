import { createHash } from "node:crypto";
import { join } from "node:path";

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  WriteAction,
  WriteContentRequestSchema,
  type WriteContentResponse,
} from "@berth/api/containerd/services/content/v1/content";
import { Code, codeOf } from "@berth/errors";
import { createRpcServer, serviceRoute } from "@berth/rpc";
import { createClient, createUnixTransport } from "@berth/rpc/client";
import { temporaryDirectory } from "@berth/testing";
import { describe, expect, it } from "vitest";

import { createLocalContentStore } from "../src/local-content-store.ts";
import { Content, createContentService } from "../src/service.ts";

type WriteInit = MessageInitShape<typeof WriteContentRequestSchema>;

const { STAT, WRITE, COMMIT } = WriteAction;
const missing = `sha256:${"0".repeat(64)}`;
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const digestOf = (text: string): string => `sha256:${createHash("sha256").update(text).digest("hex")}`;

async function openService() {
  await using made = new AsyncDisposableStack();
  const directory = made.use(await temporaryDirectory("content"));
  const store = await createLocalContentStore({ root: join(directory.path, "store") });
  const implementation = createContentService({ storeFor: () => store });
  const server = made.use(createRpcServer({ routes: [serviceRoute(Content, implementation)] }));
  const path = join(directory.path, "socket");
  await server.listen({ path });
  const client = createClient(Content, made.use(createUnixTransport({ path })));
  const owned = made.move();
  /** Sends all messages and returns the answers, with the code at which the stream ended. */
  const write = async (...messages: WriteInit[]) => {
    const answers: WriteContentResponse[] = [];
    try {
      const requests = messages.map((message) => create(WriteContentRequestSchema, message));
      for await (const answer of client.write(stream(requests))) answers.push(answer);
      return { answers, code: undefined };
    } catch (error) {
      return { answers, code: codeOf(error) };
    }
  };
  const put = async (text: string) => {
    await write({ action: COMMIT, ref: `put ${text}`, data: bytes(text) });
    return digestOf(text);
  };
  return { client, store, write, put, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function* stream<T>(items: readonly T[]): AsyncIterable<T> {
  yield* items;
}

async function codeFrom(promise: Promise<unknown>): Promise<Code | "resolved"> {
  return promise.then(() => "resolved" as const, codeOf);
}

describe("Write", () => {
  it("answers each message, and the last one once more", async () => {
    await using service = await openService();
    const { answers, code } = await service.write(
      { action: STAT, ref: "r", total: 6n },
      { action: WRITE, data: bytes("abc") },
      { action: WRITE, data: bytes("def"), offset: 3n },
      { action: COMMIT, offset: 6n, total: 6n, expected: digestOf("abcdef") },
    );
    expect(code).toBeUndefined();
    expect(answers.map(({ action, offset }) => [action, offset])).toEqual([
      [STAT, 0n],
      [WRITE, 3n],
      [WRITE, 6n],
      [COMMIT, 6n],
      [COMMIT, 6n],
    ]);
    expect(answers.map(({ total }) => total)).toEqual([6n, 6n, 6n, 6n, 6n]);
    expect(answers[2]?.digest).toBe(digestOf("abcdef"));
    expect(answers[0]?.startedAt).toBeDefined();
    expect(answers[3]).toEqual(answers[4]);
    expect((await service.client.info({ digest: digestOf("abcdef") })).info?.size).toBe(6n);
  });

  it("keeps the ingest of a stream that ends without a commit and answers its end", async () => {
    await using service = await openService();
    const { answers } = await service.write({ action: WRITE, ref: "r", data: bytes("abc") });
    expect(answers.map(({ offset }) => offset)).toEqual([3n, 3n]);
    expect((await service.client.status({ ref: "r" })).status).toMatchObject({ ref: "r", offset: 3n, expected: "" });
    const resumed = await service.write({ action: STAT, ref: "r" }, { action: COMMIT, offset: 3n });
    expect(resumed.answers.at(-1)?.digest).toBe(digestOf("abc"));
  });

  it.each<[string, WriteInit[], Code]>([
    ["a first message without ref", [{ action: STAT }], Code.InvalidArgument],
    ["a bad expected digest", [{ action: STAT, ref: "r", expected: "sha256:zz" }], Code.InvalidArgument],
    ["an offset ahead", [{ action: WRITE, ref: "r", data: bytes("a"), offset: 1n }], Code.OutOfRange],
    ["a negative offset", [{ action: WRITE, ref: "r", data: bytes("a"), offset: -1n }], Code.OutOfRange],
    ["a total that differs", [{ action: COMMIT, ref: "r", data: bytes("a"), total: 2n }], Code.FailedPrecondition],
    [
      "a digest that differs",
      [{ action: COMMIT, ref: "r", data: bytes("a"), expected: missing }],
      Code.FailedPrecondition,
    ],
    ["an unusable total", [{ action: STAT, ref: "r", total: 1n << 60n }], Code.InvalidArgument],
  ])("refuses %s", async (_name, messages, code) => {
    await using service = await openService();
    expect((await service.write(...messages)).code).toBe(code);
    expect(await Array.fromAsync(service.store.list())).toEqual([]);
    await using _free = await service.store.writer("r");
  });

  it("begins anew with a message at offset 0", async () => {
    await using service = await openService();
    const { answers, code } = await service.write(
      { action: WRITE, ref: "r", data: bytes("wrong") },
      { action: WRITE, data: bytes("right"), offset: 0n },
      { action: COMMIT, offset: 5n },
    );
    expect(code).toBeUndefined();
    expect(answers.at(-1)?.digest).toBe(digestOf("right"));
  });

  it("refuses a ref in use", async () => {
    await using service = await openService();
    await using _writer = await service.store.writer("r");
    expect((await service.write({ action: STAT, ref: "r" })).code).toBe(Code.Unavailable);
  });

  it("ends with already_exists and without an ingest when the expected blob is there", async () => {
    await using service = await openService();
    const expected = await service.put("abc");
    expect((await service.write({ action: STAT, ref: "first", expected })).code).toBe(Code.AlreadyExists);
    const later = await service.write({ action: WRITE, ref: "later", data: bytes("a") }, { action: STAT, expected });
    expect(later.code).toBe(Code.AlreadyExists);
    expect(await codeFrom(service.client.status({ ref: "later" }))).toBe(Code.NotFound);
    await using _free = await service.store.writer("later");
  });

  it("frees the ref when the client goes away", async () => {
    await using service = await openService();
    const leaving = new AbortController();
    async function* requests() {
      yield create(WriteContentRequestSchema, { action: WRITE, ref: "r", data: bytes("abc") });
      leaving.abort();
      await new Promise<void>(() => {});
    }
    await expect(Array.fromAsync(service.client.write(requests(), { signal: leaving.signal }))).rejects.toThrow();
    await expect.poll(() => codeFrom(reopen(service.store))).toBe("resolved");
  });
});

async function reopen(store: Awaited<ReturnType<typeof createLocalContentStore>>): Promise<void> {
  await using _writer = await store.writer("r");
}

describe("Read", () => {
  it.each<[bigint, bigint, string]>([
    [0n, 0n, "0123456789"],
    [4n, 0n, "456789"],
    [4n, 3n, "456"],
    [4n, 100n, "456789"],
    [4n, -1n, "456789"],
    [-5n, 2n, "01"],
    [10n, 0n, ""],
  ])("from %s of %s bytes", async (offset, size, expected) => {
    await using service = await openService();
    const digest = await service.put("0123456789");
    const blocks = await Array.fromAsync(service.client.read({ digest, offset, size }));
    expect(blocks.map(({ data }) => new TextDecoder().decode(data)).join("")).toBe(expected);
  });

  it("past the end is out of range", async () => {
    await using service = await openService();
    const digest = await service.put("0123456789");
    expect(await codeFrom(Array.fromAsync(service.client.read({ digest, offset: 11n })))).toBe(Code.OutOfRange);
    expect(await codeFrom(Array.fromAsync(service.client.read({ digest, offset: 1n << 62n })))).toBe(Code.OutOfRange);
  });

  it("sends blocks of 1 MiB whose offsets count from the start of the read", async () => {
    await using service = await openService();
    const digest = await service.put("x".repeat(2_500_000));
    const blocks = await Array.fromAsync(service.client.read({ digest, offset: 100n }));
    expect(blocks.map(({ offset, data }) => [offset, data.length])).toEqual([
      [0n, 1 << 20],
      [1n << 20n, 1 << 20],
      [2n << 20n, 2_500_000 - 100 - (2 << 20)],
    ]);
  });
});

describe("the other calls", () => {
  it.each(["info", "delete", "update", "read"] as const)("%s refuses what is no digest", async (method) => {
    await using service = await openService();
    const { client } = service;
    const calls = {
      info: (digest: string) => client.info({ digest }),
      delete: (digest: string) => client.delete({ digest }),
      update: (digest: string) => client.update({ info: { digest } }),
      read: (digest: string) => Array.fromAsync(client.read({ digest })),
    };
    for (const digest of ["", "sha256:../../etc/passwd", "md5:0", `sha256:${"A".repeat(64)}`]) {
      expect(await codeFrom(calls[method](digest))).toBe(Code.InvalidArgument);
    }
    expect(await codeFrom(calls[method](missing))).toBe(Code.NotFound);
  });

  it("List sends blocks of 100", async () => {
    await using service = await openService();
    for (let index = 0; index < 101; index += 1) await service.put(String(index));
    const blocks = await Array.fromAsync(service.client.list({}));
    expect(blocks.map(({ info }) => info.length)).toEqual([100, 1]);
    expect(await codeFrom(Array.fromAsync(service.client.list({ filters: ["size?x"] })))).toBe(Code.InvalidArgument);
  });

  it("ListStatuses and Abort know ingests", async () => {
    await using service = await openService();
    for (const ref of ["one", "two"]) await service.write({ action: WRITE, ref, data: bytes(ref) });
    const { statuses } = await service.client.listStatuses({ filters: ["ref==two"] });
    expect(statuses.map(({ ref, offset }) => [ref, offset])).toEqual([["two", 3n]]);
    await service.client.abort({ ref: "two" });
    expect(await codeFrom(service.client.abort({ ref: "two" }))).toBe(Code.NotFound);
    expect(await codeFrom(service.client.abort({ ref: "" }))).toBe(Code.InvalidArgument);
  });
});

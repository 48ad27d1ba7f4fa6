import { StreamInitSchema } from "@berth/api/containerd/services/streaming/v1/streaming";
import type { AnyValue } from "@berth/core/any";
import { packMessage } from "@berth/core/messages";
import { Code, codeOf } from "@berth/errors";
import { createClient, createRouterTransport } from "@connectrpc/connect";
import { beforeEach, expect, it } from "vitest";

import { ClaimedStreams, Streaming } from "./claimed-streams.ts";

let streams: ClaimedStreams;
beforeEach(() => {
  streams = new ClaimedStreams({ initTimeoutMs: 1000 });
});

const message = (number: number): AnyValue => ({ typeUrl: "a.Message", value: Uint8Array.of(number) });

/** A client that opens a stream and says one message more; it ends when told to, or leaves without. */
function open(id: string, number: number) {
  const client = createClient(
    Streaming,
    createRouterTransport((router) => void router.service(Streaming, streams.service)),
  );
  const ended = Promise.withResolvers<void>();
  const gone = new AbortController();
  async function* requests() {
    yield packMessage(StreamInitSchema, { id });
    yield message(number);
    await ended.promise;
  }
  const answers = client.stream(requests(), { signal: gone.signal })[Symbol.asyncIterator]();
  return {
    /** The first answer says that the stream is known. */
    opened: answers.next().then(() => undefined, codeOf),
    end: () => ended.resolve(),
    leave: () => gone.abort(),
  };
}

const firstByte = async (stream: { receive(): Promise<AnyValue | undefined> }) => (await stream.receive())?.value[0];

it("a stream is claimed by its name before it comes, and after", async () => {
  const early = streams.claim("early");
  const clients = [open("early", 1), open("late", 2)];
  expect(await Promise.all(clients.map(({ opened }) => opened))).toEqual([undefined, undefined]);
  expect(await firstByte(await early)).toBe(1);
  expect(await firstByte(await streams.claim("late"))).toBe(2);
  for (const { leave } of clients) leave();
});

it("a name has one client and one who claims it", async () => {
  const first = open("a", 1);
  await first.opened;
  expect(await open("a", 2).opened).toBe(Code.AlreadyExists);
  const stream = await streams.claim("a");
  expect(await streams.claim("a").catch(codeOf)).toBe(Code.AlreadyExists);
  expect(await firstByte(stream)).toBe(1);
  const waiting = streams.claim("b", { signal: AbortSignal.timeout(5000) });
  expect(await streams.claim("b").catch(codeOf)).toBe(Code.AlreadyExists);
  const second = open("b", 3);
  expect(await firstByte(await waiting)).toBe(3);
  first.leave();
  second.leave();
});

it("a client that was lost can come again, and one that has ended is not lost", async () => {
  const first = open("a", 1);
  const lost = await streams.claim("a");
  expect(await firstByte(lost)).toBe(1);
  first.leave();
  expect(await lost.receive()).toBeUndefined();
  expect(lost.isLost).toBe(true);
  const second = open("a", 2);
  const stream = await streams.claim("a");
  expect(await firstByte(stream)).toBe(2);
  second.end();
  expect(await stream.receive()).toBeUndefined();
  expect(stream.isLost).toBe(false);
  stream.close();
});

it("a claim that is given up leaves its name free, and one that is late is not begun", async () => {
  const given = new AbortController();
  const claim = streams.claim("a", { signal: given.signal });
  given.abort();
  await expect(claim).rejects.toThrow();
  await expect(streams.claim("a", { signal: given.signal })).rejects.toThrow();
  const client = open("a", 1);
  await client.opened;
  expect(await firstByte(await streams.claim("a"))).toBe(1);
  client.leave();
});

it("a stream needs a name, and so many that nobody claims are enough", async () => {
  expect(await open("", 1).opened).toBe(Code.InvalidArgument);
  const clients = Array.from({ length: 1024 }, (_, number) => open(`s${number}`, 1));
  expect(new Set(await Promise.all(clients.map(({ opened }) => opened)))).toEqual(new Set([undefined]));
  expect(await open("more", 1).opened).toBe(Code.ResourceExhausted);
  // one that is waited for is no burden
  const claim = streams.claim("wanted");
  const wanted = open("wanted", 7);
  expect(await firstByte(await claim)).toBe(7);
  for (const { leave } of [...clients, wanted]) leave();
});

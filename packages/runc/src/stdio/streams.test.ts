import { DataSchema, WindowUpdateSchema } from "@berth/api/containerd/types/transfer/streaming";
import type { AnyValue, CallOptions } from "@berth/core/any";
import { packMessage, unpackMessage } from "@berth/core/messages";
import { raceSignal } from "@berth/core/race-signal";
import type { ClientStream, StreamSource } from "@berth/core/streaming";
import { Code, codeOf, unavailable } from "@berth/errors";
import { beforeEach, describe, expect, it } from "vitest";

import { StreamInput } from "./stream-input.ts";
import { openStreamSink } from "./stream-sink.ts";

const WINDOW = 64 * 1024;

/** A client as a process sees it: what it says is given by the test, what is said to it is kept. */
class Client implements ClientStream {
  readonly #sent: AnyValue[] = [];
  readonly #said: (AnyValue | undefined)[] = [];
  #changed = Promise.withResolvers<void>();
  isLost = false;
  isClosed = false;

  async send(message: AnyValue): Promise<void> {
    if (this.isLost || this.isClosed) throw unavailable("stream is closed");
    this.#sent.push(message);
  }

  async receive(): Promise<AnyValue | undefined> {
    while (this.#said.length === 0 && !this.isClosed) await this.#changed.promise;
    return this.#said.shift();
  }

  close(): void {
    this.isClosed = true;
    this.#notify();
  }

  /** The windows it was given. */
  get windows(): number[] {
    return this.#sent.map((message) => unpackMessage(WindowUpdateSchema, message).update);
  }

  get data(): Uint8Array[] {
    return this.#sent.map((message) => unpackMessage(DataSchema, message).data);
  }

  give(size: number): void {
    this.#say(packMessage(DataSchema, { data: new Uint8Array(size) }));
  }

  allow(update: number): void {
    this.#say(packMessage(WindowUpdateSchema, { update }));
  }

  end(): void {
    this.#say(undefined);
  }

  lose(): void {
    this.isLost = true;
    this.#say(undefined);
  }

  #say(message: AnyValue | undefined): void {
    this.#said.push(message);
    this.#notify();
  }

  #notify(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

/** Clients that come one after the other. */
class Clients implements StreamSource {
  #next = Promise.withResolvers<Client>();

  async claim(_: string, { signal }: CallOptions = {}): Promise<ClientStream> {
    const client = await raceSignal(this.#next.promise, signal);
    this.#next = Promise.withResolvers();
    return client;
  }

  async come(): Promise<Client> {
    const client = new Client();
    this.#next.resolve(client);
    await settle();
    return client;
  }
}

/** Everything that is ready to happen has happened. */
const settle = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

let clients: Clients;
beforeEach(() => {
  clients = new Clients();
});

describe("StreamInput", () => {
  let input: StreamInput;
  let reader: AsyncGenerator<Uint8Array, void, undefined>;
  const read = async (): Promise<number | undefined> => (await reader.next()).value?.length;
  beforeEach(() => {
    input = new StreamInput(clients, "in");
    reader = input[Symbol.asyncIterator]();
    return () => input.destroy();
  });

  it("asks for as much as was taken, and ends with its client", async () => {
    const client = await clients.come();
    expect(client.windows).toEqual([WINDOW]);
    client.give(10);
    expect(await read()).toBe(10);
    client.give(20);
    await settle();
    expect(client.windows).toEqual([WINDOW]);
    expect(await read()).toBe(20);
    expect(client.windows).toEqual([WINDOW, 10]);
    client.end();
    expect(await read()).toBeUndefined();
    expect(client.isClosed).toBe(true);
  });

  it("asks a client that comes again for no more than there is room for beside what nobody has taken yet", async () => {
    const first = await clients.come();
    first.give(30);
    expect(await read()).toBe(30); // and whoever reads is not done with them
    first.give(WINDOW - 50);
    await settle();
    first.lose();
    await settle();
    const second = await clients.come();
    expect(second.windows).toEqual([20]);
    second.give(20);
    await settle();
    expect(await read()).toBe(WINDOW - 30);
    expect(second.windows).toEqual([20, 30]);
  });

  it("lets a client that comes again send all that it was asked for", async () => {
    const first = await clients.come();
    first.give(WINDOW);
    expect(await read()).toBe(WINDOW);
    first.lose();
    await settle();
    const second = await clients.come();
    let given = 0;
    const giveUpTo = (most: number): void => {
      const size = Math.min(most, sum(second.windows) - given);
      given += size;
      second.give(size);
    };
    giveUpTo(1);
    const next = read();
    await settle();
    giveUpTo(Number.POSITIVE_INFINITY);
    second.end();
    let taken = 0;
    for (let size = await next; size !== undefined; size = await read()) taken += size;
    expect(taken).toBe(given);
    expect(given).toBe(WINDOW);
  });

  it("hands on what was asked for and fails where more is sent", async () => {
    const client = await clients.come();
    client.give(WINDOW);
    client.give(1);
    await settle();
    expect(await read()).toBe(WINDOW);
    expect(await read().catch(codeOf)).toBe(Code.InvalidArgument);
    expect(client.isClosed).toBe(true);
  });

  it("ends with a client that is lost where no other is to come", async () => {
    const client = await clients.come();
    input.endAfterClient();
    client.give(1);
    client.lose();
    expect(await read()).toBe(1);
    expect(await read()).toBeUndefined();
  });

  it.each([
    ["endAfterClient", () => input.endAfterClient()],
    ["destroy", () => input.destroy()],
  ])("%s ends one to whom no client has come", async (_, end) => {
    const waiting = read();
    end();
    expect(await waiting).toBeUndefined();
  });
});

describe("StreamSink", () => {
  const { signal } = new AbortController();
  const open = async () => {
    const [sink, client] = await Promise.all([openStreamSink(clients, "out", { signal }), clients.come()]);
    return { sink, client };
  };
  const sizes = (client: Client): number[] => client.data.map(({ length }) => length);

  it("gives a client what it asks for, in messages of 32 KiB at most", async () => {
    const { sink, client } = await open();
    const written = sink.write(new Uint8Array(80_000));
    await settle();
    expect(sizes(client)).toEqual([]);
    client.allow(5);
    await settle();
    expect(sizes(client)).toEqual([5]);
    client.allow(100_000);
    await written;
    expect(sizes(client)).toEqual([5, 32_768, 32_768, 80_000 - 5 - 65_536]);
    sink.close();
    expect(client.isClosed).toBe(true);
  });

  it("gives the rest to a client that comes again, when that asks", async () => {
    const { sink, client } = await open();
    client.allow(100);
    await settle();
    await sink.write(new Uint8Array(10));
    client.lose();
    await settle();
    const written = sink.write(new Uint8Array(20));
    const second = await clients.come();
    // what the first one had asked for says nothing of this one
    expect(sizes(second)).toEqual([]);
    second.allow(20);
    await written;
    expect([sizes(client), sizes(second)]).toEqual([[10], [20]]);
    sink.close();
  });

  it.each([
    ["its client has ended", Code.Unavailable, (client: Client) => client.end()],
    ["a window shrinks", Code.InvalidArgument, (client: Client) => client.allow(-1)],
    [
      "a window grows too large",
      Code.InvalidArgument,
      (client: Client) => [2 ** 31 - 1, 1].map((n) => client.allow(n)),
    ],
  ])("fails when %s", async (_, code, act) => {
    const { sink, client } = await open();
    act(client);
    await settle();
    expect(await sink.write(new Uint8Array(1)).then(() => undefined, codeOf)).toBe(code);
    expect(client.isClosed).toBe(true);
  });

  it("close lets a write go that waits, also where no client is there", async () => {
    const { sink, client } = await open();
    const waiting = sink.write(new Uint8Array(1));
    client.lose();
    await settle();
    sink.close();
    await waiting;
  });
});

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

import { create, toBinary } from "@bufbuild/protobuf";
import { TaskExitSchema } from "@berth/api/containerd/events/task";
import { Events } from "@berth/api/containerd/services/events/v1/events";
import { parseNamespace } from "@berth/core/namespaces";
import { createRouterTransport } from "@connectrpc/connect";
import { expect, it } from "vitest";

import { Client } from "./client.ts";
import { decodeEvent, EVENT_SCHEMAS, watchEvents } from "./watch-events.ts";

const envelope = (typeUrl: string, value: Uint8Array) => ({
  timestampNs: 1_700_000_000_123_456_789n,
  namespace: parseNamespace("one"),
  topic: "/tasks/exit",
  event: { typeUrl, value },
});
const exit = toBinary(TaskExitSchema, create(TaskExitSchema, { containerId: "c", exitStatus: 7 }));

it.each(["containerd.events.TaskExit", "type.googleapis.com/containerd.events.TaskExit"])(
  "decodeEvent reads %s",
  (typeUrl) => {
    const event = decodeEvent(envelope(typeUrl, exit));
    expect(event).toMatchObject({ type: "TaskExit", namespace: "one", data: { containerId: "c", exitStatus: 7 } });
    expect(event.time.toISOString()).toBe("2023-11-14T22:13:20.123Z");
  },
);

it.each([
  ["example.org/Own", exit],
  ["containerd.events.TaskExit", new Uint8Array([0xff])],
])("decodeEvent leaves %s as it is where it cannot be read", (typeUrl, value) => {
  expect(decodeEvent(envelope(typeUrl, value))).toMatchObject({ type: "unknown", data: { typeUrl, value } });
});

/** A daemon without events, and when it was asked for some and when it noticed that its caller had left. */
function eventless() {
  const [begun, left] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const transport = createRouterTransport(({ service }) => {
    service(Events, {
      // oxlint-disable-next-line require-yield -- it has none
      async *subscribe(_, { signal }) {
        signal.addEventListener("abort", () => left.resolve());
        begun.resolve();
        await left.promise;
      },
    });
  });
  return { client: new Client(transport, parseNamespace("one")), begun: begun.promise, left: left.promise };
}

it("watchEvents that is left before its first event ends its subscription", async () => {
  const { client, begun, left } = eventless();
  {
    await using _events = watchEvents(client);
    await begun;
  }
  await left;
});

it("watchEvents that is left while its next event is awaited ends for that one too", async () => {
  const { client, begun } = eventless();
  const events = watchEvents(client);
  const next = events.next();
  await begun;
  await events.return();
  expect(await next).toEqual({ done: true, value: undefined });
});

it("EVENT_SCHEMAS stand under their own names", () => {
  for (const [name, { typeName }] of Object.entries(EVENT_SCHEMAS)) expect(typeName.split(".").at(-1)).toBe(name);
});

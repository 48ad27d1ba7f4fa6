import { create, toBinary } from "@bufbuild/protobuf";
import { TaskExitSchema } from "@berth/api/containerd/events/task";
import { parseNamespace } from "@berth/core/namespaces";
import { expect, it } from "vitest";

import { decodeEvent, EVENT_SCHEMAS } from "./watch-events.ts";

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

it("EVENT_SCHEMAS stand under their own names", () => {
  for (const [name, { typeName }] of Object.entries(EVENT_SCHEMAS)) expect(typeName.split(".").at(-1)).toBe(name);
});

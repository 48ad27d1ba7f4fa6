import { ContainerCreateSchema } from "@berth/api/containerd/events/container";
import { NamespaceCreateSchema } from "@berth/api/containerd/events/namespace";
import { TaskCreateSchema, TaskExitSchema } from "@berth/api/containerd/events/task";
import { type DescMessage, create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { expect, it } from "vitest";

import { EventFields } from "./event-fields.ts";

function event<S extends DescMessage>(schema: S, init: MessageInitShape<S>, prefix = ""): EventFields {
  return new EventFields({ typeUrl: prefix + schema.typeName, value: toBinary(schema, create(schema, init)) });
}

const exit = event(TaskExitSchema, { containerId: "redis", id: "exec1", pid: 12, exitStatus: 137 });
const created = event(TaskCreateSchema, { containerId: "redis", io: { stdout: "/fifo", terminal: true } });
const namespace = event(
  NamespaceCreateSchema,
  { name: "n", labels: { "a.b/c": "d", __proto__x: "p" } },
  "type.googleapis.com/",
);
const container = event(ContainerCreateSchema, {
  id: "c",
  runtime: {
    name: "io.containerd.runc.v2",
    options: {
      typeUrl: TaskExitSchema.typeName,
      value: toBinary(TaskExitSchema, create(TaskExitSchema, { id: "inner" })),
    },
  },
});

it.each([
  [exit, "container_id", "redis"],
  [exit, "exit_status", "137"],
  [exit, "containerId", undefined],
  [exit, "container_id.more", undefined],
  [exit, "exited_at.seconds", undefined],
  [created, "io.stdout", "/fifo"],
  [created, "io.terminal", "true"],
  [created, "io.stdin", undefined],
  [created, "rootfs", undefined],
  [namespace, "labels.a.b/c", "d"],
  [namespace, "labels.toString", undefined],
  [container, "runtime.name", "io.containerd.runc.v2"],
  [container, "runtime.options.id", "inner"],
  [container, "", undefined],
])("find on event %# reads %j as %j", (fields, path, expected) => {
  expect(fields.find(path.split("."))).toBe(expected);
});

it("find gives nothing for an unknown type", () => {
  expect(new EventFields({ typeUrl: "a.b.C", value: new Uint8Array([1]) }).find(["id"])).toBeUndefined();
});

it("find never throws, whatever the bytes", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), fc.array(fc.string(), { maxLength: 4 }), (value, path) => {
      new EventFields({ typeUrl: TaskCreateSchema.typeName, value }).find(path);
      new EventFields({ typeUrl: TaskCreateSchema.typeName, value }).find(["io", "stdout"]);
    }),
  );
});

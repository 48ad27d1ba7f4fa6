import { create, toBinary } from "@bufbuild/protobuf";
import { ContainerCreateSchema } from "@berth/api/containerd/events/container";
import { TaskExitSchema } from "@berth/api/containerd/events/task";
import { MetricsSchema } from "@berth/api/io/containerd/cgroups/v1/metrics";
import { expect, it } from "vitest";

import { formatAny } from "./proto-json.ts";

it("formatAny writes names of the protocol, leaves out zeros and keeps 64-bit numbers exact", () => {
  const exit = create(TaskExitSchema, {
    containerId: "a<b",
    pid: 7,
    exitStatus: 0,
    exitedAt: { seconds: 5n, nanos: 0 },
  });
  const value = { typeUrl: `types.example/${TaskExitSchema.typeName}`, value: toBinary(TaskExitSchema, exit) };
  expect(formatAny(value, [TaskExitSchema])).toBe('{"container_id":"a\\u003cb","pid":7,"exited_at":{"seconds":5}}');
  const usage = { cpu: { usage: { total: 2n ** 63n, perCpu: [1n, 0n] } } };
  const metrics = { typeUrl: MetricsSchema.typeName, value: toBinary(MetricsSchema, create(MetricsSchema, usage)) };
  expect(JSON.parse(formatAny(metrics, [MetricsSchema], "  "))).toEqual({
    cpu: { usage: { total: 2 ** 63, per_cpu: [1, 0] } },
  });
  expect(formatAny(metrics, [MetricsSchema], "  ")).toContain('\n      "total": 9223372036854775808,\n');
});

it("formatAny writes an Any inside, and a type that it does not know, as type and bytes", () => {
  const options = { typeUrl: "some.Options", value: new Uint8Array([1, 2]) };
  const made = create(ContainerCreateSchema, { id: "c", image: "i", runtime: { name: "r", options } });
  const value = { typeUrl: ContainerCreateSchema.typeName, value: toBinary(ContainerCreateSchema, made) };
  expect(formatAny(value, [ContainerCreateSchema])).toBe(
    '{"id":"c","image":"i","runtime":{"name":"r","options":{"type_url":"some.Options","value":"AQI="}}}',
  );
  expect(formatAny(options, [])).toBe('{"type_url":"some.Options","value":"AQI="}');
});

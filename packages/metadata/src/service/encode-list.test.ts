import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { ListContainersResponseSchema } from "@berth/api/containerd/services/containers/v1/containers";
import type { Container } from "@berth/core/containers";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { containerEncoder, toProtoContainer } from "./containers.ts";
import { encodeRecords, listAnswer } from "./encode-list.ts";

const any = fc.record({ typeUrl: fc.string(), value: fc.uint8Array({ maxLength: 300 }) });
const REQUIRED: (keyof Container)[] = [
  "id",
  "labels",
  "image",
  "runtime",
  "snapshotter",
  "snapshotKey",
  "extensions",
  "sandboxId",
  "createdAt",
  "updatedAt",
];

const container: fc.Arbitrary<Container> = fc.record(
  {
    spec: any,
    id: fc.string(),
    labels: fc.dictionary(fc.string(), fc.string()).map((labels) => new Map(Object.entries(labels))),
    image: fc.string(),
    runtime: fc.oneof(fc.record({ name: fc.string() }), fc.record({ name: fc.string(), options: any })),
    snapshotter: fc.string(),
    snapshotKey: fc.string(),
    extensions: fc.dictionary(fc.string(), any).map((extensions) => new Map(Object.entries(extensions))),
    sandboxId: fc.string(),
    createdAt: fc.nat(),
    updatedAt: fc.nat(),
  },
  { requiredKeys: REQUIRED },
);

describe("encodeRecords", () => {
  it("makes the bytes that the message itself would be decoded from, the second time too", () => {
    fc.assert(
      fc.property(fc.array(container, { maxLength: 4 }), (containers) => {
        const message = create(ListContainersResponseSchema, { containers: containers.map(toProtoContainer) });
        const decoded = fromBinary(ListContainersResponseSchema, toBinary(ListContainersResponseSchema, message));
        for (let round = 0; round < 2; round++) {
          const bytes = encodeRecords(containers, containerEncoder);
          expect(fromBinary(ListContainersResponseSchema, bytes)).toEqual(decoded);
        }
      }),
    );
  });
});

describe("listAnswer", () => {
  it("has its fields for whoever reads them", () => {
    const [sample] = fc.sample(container, 1);
    if (sample === undefined) return;
    const answer = listAnswer(create(ListContainersResponseSchema), "containers", [sample], containerEncoder);
    expect(answer.containers).toEqual([toProtoContainer(sample)]);
    expect(answer.containers).toBe(answer.containers);
    expect(
      fromBinary(ListContainersResponseSchema, toBinary(ListContainersResponseSchema, answer)).containers,
    ).toHaveLength(1);
  });
});

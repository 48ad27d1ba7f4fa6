import { ContainerSchema, PodSandboxSchema } from "@berth/api/nri/pkg/api/v1alpha1/objects";
import { SynchronizeResponseSchema } from "@berth/api/nri/pkg/api/v1alpha1/plugin";
import { Code, codeOf, resourceExhausted } from "@berth/errors";
import { create } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";

import { synchronizeInParts } from "./synchronize-in-parts.ts";

const pods = Array.from({ length: 30 }, (_, i) => create(PodSandboxSchema, { id: `p${i}` }));
const containers = Array.from({ length: 100 }, (_, i) => create(ContainerSchema, { id: `c${i}` }));
const answer = (init: { more?: boolean; updates?: number } = {}) =>
  create(SynchronizeResponseSchema, {
    more: init.more ?? false,
    update: Array.from({ length: init.updates ?? 0 }, () => ({ containerId: "c1" })),
  });

describe("synchronizeInParts", () => {
  it.each([1000, 60, 20, 9])("sends each object once, in order, where %d fit into a message", async (limit) => {
    const sent: { pods: string[]; containers: string[]; mores: boolean[] } = { pods: [], containers: [], mores: [] };
    const update = await synchronizeInParts(pods, containers, async (part) => {
      if (part.pods.length + part.containers.length > limit) throw resourceExhausted("too large");
      sent.pods.push(...part.pods.map(({ id }) => id));
      sent.containers.push(...part.containers.map(({ id }) => id));
      sent.mores.push(part.more);
      return answer({ more: part.more, updates: part.more ? 0 : 2 });
    });
    expect(update.length).toBe(2);
    expect(sent.pods).toEqual(pods.map(({ id }) => id));
    expect(sent.containers).toEqual(containers.map(({ id }) => id));
    expect(sent.mores.slice(0, -1).every(Boolean)).toBe(true);
    expect(sent.mores.at(-1)).toBe(false);
  });

  it("sends one message when there is nothing", async () => {
    const parts: boolean[] = [];
    await synchronizeInParts([], [], async (part) => {
      parts.push(part.more);
      return answer();
    });
    expect(parts).toEqual([false]);
  });

  it("gives up when a few objects are too large", async () => {
    let calls = 0;
    const error: unknown = await synchronizeInParts(pods, containers, async () => {
      calls += 1;
      throw resourceExhausted("too large");
    }).catch((e: unknown) => e);
    expect(codeOf(error)).toBe(Code.ResourceExhausted);
    expect(calls).toBeLessThan(10);
  });

  it.each([{ more: false }, { more: true, updates: 1 }])("refuses the answer %j before the last part", async (init) => {
    const error: unknown = await synchronizeInParts(pods, containers, async (part) => {
      if (part.containers.length > 50) throw resourceExhausted("too large");
      return answer(init);
    }).catch((e: unknown) => e);
    expect(codeOf(error)).toBe(Code.FailedPrecondition);
  });
});

import { createClient } from "@berth/client";
import { Code, codeOf } from "@berth/errors";
import { sha256, startBerthd } from "@berth/testing";
import { describe, expect, it } from "vitest";

describe("a blob that is stored already", () => {
  it.each([
    ["when the writer is opened", true],
    ["when the writer commits", false],
  ])("is refused %s, and the collector leaves it to the lease of who was refused", async (_, expectEarly) => {
    await using daemon = await startBerthd();
    await using client = createClient({ address: daemon.address });
    const bytes = new TextEncoder().encode("stored twice");
    const digest = sha256(bytes);
    const put = async (lease: string): Promise<void> => {
      await client.leases.create({ id: lease, labels: new Map() });
      const { content } = client.scoped({ lease });
      await using writer = await content.writer(lease, expectEarly ? { expected: digest } : {});
      await writer.write(bytes);
      await writer.commit({ digest, size: bytes.length });
    };
    await put("first");
    expect(codeOf(await put("second").catch((error: unknown) => error))).toBe(Code.AlreadyExists);
    await client.leases.delete("first", { sync: true });
    expect(await client.content.info(digest)).toMatchObject({ size: bytes.length });
    expect(await Array.fromAsync(client.content.listStatuses())).toEqual([]);
    await client.leases.delete("second", { sync: true });
    expect(codeOf(await client.content.info(digest).catch((error: unknown) => error))).toBe(Code.NotFound);
  });
});

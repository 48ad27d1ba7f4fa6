import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { linesOf, mergeLines } from "./output-lines.ts";

async function* cut(bytes: Uint8Array, places: readonly number[]): AsyncGenerator<Uint8Array, void, undefined> {
  let begin = 0;
  for (const place of [...places.map((at) => at % (bytes.length + 1)).toSorted((a, b) => a - b), bytes.length]) {
    yield bytes.subarray(begin, place);
    begin = place;
  }
}

async function* lines(...texts: readonly string[]): AsyncGenerator<string, void, undefined> {
  yield* texts;
}

describe("linesOf", () => {
  it("yields the same lines however the bytes are cut", async () => {
    const texts = fc.array(fc.string({ unit: "grapheme" }).map((text) => text.replaceAll("\n", "")));
    await fc.assert(
      fc.asyncProperty(texts, fc.array(fc.nat()), async (all, places) => {
        const bytes = new TextEncoder().encode(all.map((text) => `${text}\n`).join(""));
        expect(await Array.fromAsync(linesOf(cut(bytes, places)))).toEqual(all);
      }),
    );
  });

  it("yields a last line without an end, and a line without end in pieces", async () => {
    const bytes = new TextEncoder().encode(`a\n${"b".repeat(3 << 20)}`);
    const found = await Array.fromAsync(linesOf(cut(bytes, [1, 1 << 20, 2 << 20])));
    expect(found[0]).toBe("a");
    expect(found.slice(1).join("")).toBe("b".repeat(3 << 20));
    expect(Math.max(...found.map(({ length }) => length))).toBeLessThanOrEqual(2 << 20);
  });
});

describe("mergeLines", () => {
  it("yields the lines of both", async () => {
    const found = await Array.fromAsync(mergeLines({ stdout: lines("a", "b"), stderr: lines("x") }));
    expect(found.filter(({ stream }) => stream === "stdout").map(({ text }) => text)).toEqual(["a", "b"]);
    expect(found.filter(({ stream }) => stream === "stderr").map(({ text }) => text)).toEqual(["x"]);
  });

  it("fails as one of them does, and can be left while one of them waits", async () => {
    async function* failing(): AsyncGenerator<string, void, undefined> {
      yield "a";
      throw new Error("no more");
    }
    await expect(Array.fromAsync(mergeLines({ stdout: failing(), stderr: lines() }))).rejects.toThrow("no more");
    async function* waiting(): AsyncGenerator<string, void, undefined> {
      await new Promise(() => {});
      yield "never";
    }
    for await (const { text } of mergeLines({ stdout: lines("a"), stderr: waiting() })) {
      expect(text).toBe("a");
      break;
    }
  });
});

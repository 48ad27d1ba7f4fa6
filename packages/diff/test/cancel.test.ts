import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";

import { formatTarHeader } from "@berth/archive";
import { createApplier, createLayerEngine } from "@berth/diff";
import { codeName, codeOf } from "@berth/errors";
import type { Descriptor } from "@berth/oci";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import { LayerFixture } from "./layer-fixture.ts";

let fixture: LayerFixture;
let layer: Descriptor;

beforeEach(() => {
  fixture = new LayerFixture();
  // 400 MB of one file in some hundred kB: long enough to be in the middle of, cheap to make.
  const block = gzipSync(Buffer.alloc(50_000_000));
  const header = gzipSync(formatTarHeader({ path: "long", type: "file", size: 400_000_000 }));
  layer = fixture.add(Buffer.concat([header, ...Array.from({ length: 8 }, () => block)]));
});

afterEach(() => {
  using own = fixture;
  expect(readFileSync("/proc/self/mounts", "utf8")).not.toContain(own.directory);
  expect(readdirSync(own.directory).filter((name) => name.startsWith("berth-mount-"))).toEqual([]);
});

const grown = (path: string): boolean => existsSync(path) && statSync(path).size > 1_000_000;

describe("Applier, cancelled", () => {
  it.each([
    ["a bind", false, () => [fixture.bind("upper")]],
    ["a temporary mount", false, () => [fixture.bind("first"), fixture.bind("upper")]],
    ["a blob on another machine", true, () => [fixture.bind("upper")]],
  ] as const)("stops in the middle and writes nothing more: %s", async (_, remote, mountsOf) => {
    fixture.remote = remote;
    await using engine = createLayerEngine({ temporaryDirectory: fixture.directory });
    const applier = createApplier({ content: fixture.content, engine });
    const mounts = mountsOf();
    const file = join(fixture.directory, "upper/long");
    const controller = new AbortController();
    const applying = applier.apply(layer, mounts, { signal: controller.signal }).catch((error: unknown) => error);
    while (!grown(file)) await sleep(1);
    const cancelledAt = performance.now();
    controller.abort();
    expect(codeName(codeOf(await applying))).toBe("canceled");
    expect(performance.now() - cancelledAt).toBeLessThan(2000);
    const { size } = statSync(file);
    expect(size).toBeLessThan(400_000_000);
    await sleep(50);
    expect(statSync(file).size).toBe(size);
    // The worker is as good as before.
    expect(await applier.apply(await fixture.addTar([{ path: "next", type: "file" }]), mounts)).toMatchObject({
      size: 1536,
    });
  });

  it("does not start when the signal was aborted, nor while it waits for its turn", async () => {
    await using engine = createLayerEngine({ workers: 1 });
    const applier = createApplier({ content: fixture.content, engine });
    await expect(applier.apply(layer, [fixture.bind("never")], { signal: AbortSignal.abort() })).rejects.toSatisfy(
      (error) => codeName(codeOf(error)) === "canceled",
    );
    const first = new AbortController();
    const running = applier
      .apply(layer, [fixture.bind("upper")], { signal: first.signal })
      .catch((error: unknown) => error);
    while (!grown(join(fixture.directory, "upper/long"))) await sleep(1);
    const second = new AbortController();
    const waiting = applier
      .apply(layer, [fixture.bind("never")], { signal: second.signal })
      .catch((error: unknown) => error);
    await sleep(20);
    second.abort();
    expect(codeName(codeOf(await waiting))).toBe("canceled");
    const third = applier.apply(await fixture.addTar([{ path: "third", type: "file" }]), [fixture.bind("third")]);
    first.abort();
    expect(codeName(codeOf(await running))).toBe("canceled");
    await third;
    expect(readdirSync(join(fixture.directory, "never"))).toEqual([]);
    expect(readdirSync(join(fixture.directory, "third"))).toEqual(["third"]);
  });

  it("stops when the engine is disposed, which takes nothing more", async () => {
    const engine = createLayerEngine();
    const applier = createApplier({ content: fixture.content, engine });
    const running = applier.apply(layer, [fixture.bind("upper")]).catch((error: unknown) => error);
    while (!grown(join(fixture.directory, "upper/long"))) await sleep(1);
    await engine[Symbol.asyncDispose]();
    await engine[Symbol.asyncDispose]();
    expect(codeName(codeOf(await running))).toBe("canceled");
    await expect(applier.apply(layer, [fixture.bind("upper")])).rejects.toSatisfy(
      (error) => codeName(codeOf(error)) === "unavailable",
    );
  });
});

describe("Applier, many at once", () => {
  it("applies more layers than there are workers, and leaves no descriptor open", async () => {
    await using engine = createLayerEngine({ workers: 2 });
    const applier = createApplier({ content: fixture.content, engine });
    const one = async (name: string): Promise<unknown> =>
      applier.apply(
        await fixture.addTar([
          { path: `d/${name}`, type: "file", content: Buffer.from(name) },
          { path: "d/l", type: "symlink", linkPath: "/" },
        ]),
        [fixture.overlay(name)],
      );
    await Promise.all(["warm", "up"].map(one));
    const before = openDescriptors();
    const names = Array.from({ length: 12 }, (_, i) => `layer-${i}`);
    await Promise.all(names.map(one));
    for (const name of names) expect(readFileSync(join(fixture.directory, name, "d", name), "utf8")).toBe(name);
    expect(openDescriptors()).toEqual(before);
  });
});

/** Directories and files of tests that this process holds open. */
function openDescriptors(): string[] {
  return readdirSync("/proc/self/fd", { encoding: "utf8" }).flatMap((fd) => {
    try {
      const target = readFileSync(`/proc/self/fdinfo/${fd}`, "utf8");
      return target.includes("inotify") || target.includes("eventfd") ? [] : [fd];
    } catch {
      return [];
    }
  });
}

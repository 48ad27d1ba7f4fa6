import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";

import { fromBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { writeTar } from "@berth/archive";
import type { ApplyOptions } from "@berth/core/diff";
import { createApplier, createLayerEngine, type StreamProcessor } from "@berth/diff";
import { codeName, codeOf } from "@berth/errors";
import { MediaType } from "@berth/oci";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import { LayerFixture } from "./layer-fixture.ts";

const SEALED = "application/vnd.oci.image.layer.v1.tar+sealed";
const DOUBLY = "application/vnd.oci.image.layer.v1.tar+sealed+twice";
const SEAL = "SEAL\n";

let fixture: LayerFixture;
let tar: Uint8Array;

beforeEach(async () => {
  fixture = new LayerFixture();
  tar = Buffer.concat(
    await Array.fromAsync(writeTar([{ path: "file", type: "file", content: Buffer.alloc(3_000_000, "x") }])),
  );
});
afterEach(() => fixture[Symbol.dispose]());

const sealed = (bytes: Uint8Array): Uint8Array => Buffer.concat([Buffer.from(SEAL), bytes]);

/** Takes the seal off. */
const unseal = (rest: Partial<StreamProcessor> = {}): StreamProcessor => ({
  id: "unseal",
  accepts: [SEALED],
  returns: MediaType.ociLayer,
  path: "tail",
  args: ["-c", `+${SEAL.length + 1}`],
  env: [],
  ...rest,
});

const script = (text: string, rest: Partial<StreamProcessor> = {}): StreamProcessor =>
  unseal({ path: "/bin/sh", args: ["-c", text], ...rest });

async function apply(
  processors: readonly StreamProcessor[],
  bytes: Uint8Array,
  options: ApplyOptions = {},
  mediaType = SEALED,
): Promise<unknown> {
  await using engine = createLayerEngine({ processors });
  const applier = createApplier({ content: fixture.content, engine, syncFs: false });
  return await applier.apply(fixture.add(bytes, mediaType), [fixture.bind("upper")], options);
}

const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => expect.fail("it was applied"),
    (error: unknown) => error,
  );
const code = async (promise: Promise<unknown>): Promise<string> => codeName(codeOf(await failure(promise)));
const written = (name: string): string => readFileSync(join(fixture.directory, name), "utf8");
const applied = (): number => readFileSync(join(fixture.directory, "upper/file")).length;

describe("stream processors", () => {
  it.each([false, true])("turn a layer into one that is known (blob on another machine: %s)", async (remote) => {
    fixture.remote = remote;
    expect(await apply([unseal()], sealed(tar))).toMatchObject({ mediaType: MediaType.ociLayer, size: tar.length });
    expect(applied()).toBe(3_000_000);
  });

  it("are followed by decompression, and by each other", async () => {
    const first = unseal({ id: "first", accepts: [DOUBLY], returns: SEALED });
    const second = unseal({ id: "second", returns: MediaType.ociLayerGzip });
    const applying = apply([first, second], sealed(sealed(gzipSync(tar))), {}, DOUBLY);
    expect(await applying).toMatchObject({ mediaType: MediaType.ociLayer, size: tar.length });
    expect(applied()).toBe(3_000_000);
  });

  it("that were registered later come first, before what is built in too", async () => {
    const note = (name: string): StreamProcessor =>
      script(`touch ${fixture.directory}/${name}; gzip -d`, { id: name, accepts: [MediaType.ociLayerGzip] });
    await apply([note("early"), note("late")], gzipSync(tar), {}, MediaType.ociLayerGzip);
    expect(readdirSync(fixture.directory)).toContain("late");
    expect(readdirSync(fixture.directory)).not.toContain("early");
  });

  it("see the environment of the daemon, their own, and the media type; and no descriptor but their own", async () => {
    const text = `echo "$PATH|$OWN|$STREAM_PROCESSOR_MEDIATYPE|$NODE_OPTIONS" > ${fixture.directory}/env; ls /proc/self/fd | wc -w > ${fixture.directory}/fds; tail -c +6`;
    process.env["NODE_OPTIONS"] = "--no-warnings";
    try {
      await apply([script(text, { env: ["OWN=value"] })], sealed(tar));
    } finally {
      delete process.env["NODE_OPTIONS"];
    }
    expect(written("env")).toBe(`${process.env["PATH"]}|value|${SEALED}|\n`);
    // The fourth is the directory that ls itself reads.
    expect(written("fds")).toBe("4\n");
  });

  it("read the payload, as an Any, from descriptor 3", async () => {
    const payload = { typeUrl: "example/key", value: Uint8Array.from({ length: 200_000 }, (_, index) => index) };
    const program = join(fixture.directory, "processor.mjs");
    const code = `import { readFileSync, writeFileSync } from "node:fs";
      writeFileSync(process.argv[2], readFileSync(3));
      process.stdin.pipe(process.stdout);`;
    writeFileSync(program, code);
    const copy = unseal({
      id: "copy",
      accepts: [DOUBLY],
      path: process.execPath,
      args: [program, join(fixture.directory, "payload")],
    });
    await apply([unseal({ returns: DOUBLY }), copy], sealed(tar), { payloads: new Map([["copy", payload]]) });
    const { typeUrl, value } = fromBinary(AnySchema, readFileSync(join(fixture.directory, "payload")));
    expect({ typeUrl, value: Buffer.compare(value, payload.value) }).toEqual({ typeUrl: payload.typeUrl, value: 0 });
  });

  it("fail a layer with what they write to their standard error", async () => {
    const error = await failure(apply([script("cat > /dev/null; echo no key for you >&2; exit 3")], sealed(tar)));
    expect(codeName(codeOf(error))).toBe("unknown");
    expect(String(error)).toContain("no key for you");
    // Also when all of the layer had come.
    expect(await code(apply([script("tail -c +6; exit 1")], sealed(tar)))).toBe("unknown");
    expect(await code(apply([unseal({ path: "/no/such/program" })], sealed(tar)))).toBe("unknown");
  });

  it("are not blamed for an archive that is bad", async () => {
    expect(await code(apply([unseal()], sealed(Buffer.alloc(1_000_000, "x"))))).toBe("invalid_argument");
  });

  it("are killed with all that they started when the call is cancelled", async () => {
    const controller = new AbortController();
    const text = `sleep 1000 & echo $$ $! > ${fixture.directory}/pids.tmp; mv ${fixture.directory}/pids.tmp ${fixture.directory}/pids; wait`;
    const applying = failure(apply([script(text)], sealed(tar), { signal: controller.signal }));
    while (!existsSync(join(fixture.directory, "pids"))) await sleep(5);
    controller.abort();
    expect(codeName(codeOf(await applying))).toBe("canceled");
    const [shell, sleeper] = written("pids").trim().split(" ");
    expect(existsSync(`/proc/${shell}`)).toBe(false);
    // Its parent is gone; whoever adopts it may still have to reap it.
    expect(
      /^State:\s+[^ZX]/m.test(existsSync(`/proc/${sleeper}`) ? readFileSync(`/proc/${sleeper}/status`, "utf8") : ""),
    ).toBe(false);
  });

  it("leave types that none of them takes unimplemented, and do not go round in circles", async () => {
    expect(await code(apply([], tar))).toBe("unimplemented");
    expect(await code(apply([unseal({ returns: "application/vnd.example" })], sealed(tar)))).toBe("unimplemented");
    expect(await code(apply([unseal({ returns: SEALED })], sealed(tar)))).toBe("failed_precondition");
  });

  it("leave no descriptor open", async () => {
    const open = (): number => readdirSync("/proc/self/fd").length;
    await apply([unseal()], sealed(tar));
    await failure(apply([script("exit 1")], sealed(tar)));
    const before = open();
    for (let round = 0; round < 5; round++) {
      await apply([unseal()], sealed(tar));
      await failure(apply([script("exit 1")], sealed(tar)));
      await failure(
        apply([unseal({ id: "one", returns: DOUBLY }), unseal({ path: "/none", accepts: [DOUBLY] })], sealed(tar)),
      );
    }
    expect(open()).toBeLessThanOrEqual(before + 1);
  });
});

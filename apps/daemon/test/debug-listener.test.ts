import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { gunzipSync } from "node:zlib";

import type { Profile } from "@berth/api/perftools/profiles/profile";
import { ProfileSchema } from "@berth/api/perftools/profiles/profile";
import type { PeerDaemon } from "@berth/testing";
import { startBerthd, temporaryDirectory } from "@berth/testing";
import { fromBinary } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";

interface Answer {
  readonly status: number;
  readonly body: Buffer;
}

function get(target: { readonly socketPath: string } | { readonly port: number }, path: string, signal?: AbortSignal) {
  return new Promise<Answer>((resolve, reject) => {
    request({ ...target, path, ...(signal && { signal }) }, (response) => {
      buffer(response).then((body) => resolve({ status: response.statusCode ?? 0, body }), reject);
    })
      .on("error", reject)
      .end();
  });
}

function parseProfile(body: Uint8Array): {
  readonly profile: Profile;
  readonly types: string[];
} {
  const profile = fromBinary(ProfileSchema, gunzipSync(body));
  const text = (index: bigint): string => profile.stringTable[Number(index)] ?? "(no such text)";
  const types = profile.sampleType.map(({ type, unit }) => `${text(type)}/${text(unit)}`);
  return { profile, types };
}

describe("the debug listener on a socket", () => {
  let daemon: PeerDaemon;
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
  let socketPath = "";
  beforeAll(async () => {
    directory = await temporaryDirectory("debug");
    socketPath = join(directory.path, "run", "debug.sock");
    // Where version 3 had it.
    daemon = await startBerthd({ config: `[debug]\n  address = "${socketPath}"\n  gid = 4\n` });
    // The daemon answers calls before its last listener is there.
    await vi.waitFor(() => stat(socketPath), { timeout: 10_000 });
  }, 60_000);
  afterAll(async () => {
    await daemon?.[Symbol.asyncDispose]();
    expect(existsSync(socketPath)).toBe(false);
    await directory?.[Symbol.asyncDispose]();
  });
  const ask = (path: string): Promise<Answer> => get({ socketPath }, path);
  const profileOf = async (path: string) => {
    const { status, body } = await ask(path);
    expect(status).toBe(200);
    return parseProfile(body);
  };

  it("is for root and its group", async () => {
    const { mode, gid } = await stat(socketPath);
    expect([mode & 0o777, gid]).toEqual([0o660, 4]);
    expect((await daemon.ctr(["plugins", "ls", "id==debug"])).stdout).toMatch(/server\.v1 +debug +- +ok/);
  });

  it.each([
    ["profile?seconds=1", ["samples/count", "cpu/nanoseconds"]],
    ["heap", ["inuse_space/bytes"]],
    ["heap?gc=1", ["inuse_space/bytes"]],
    ["goroutine", ["goroutine/count"]],
    ["threadcreate", ["threadcreate/count"]],
    ["block", ["delay/nanoseconds"]],
  ])("answers %s with a profile of %j", async (name, expected) => {
    // Something to see: calls while the profile is taken.
    const [{ profile, types }] = await Promise.all([
      profileOf(`/debug/pprof/${name}`),
      ...Array.from({ length: 20 }, () => daemon.ctr(["version"])),
    ]);
    expect(types).toEqual(expected);
    expect(profile.stringTable[0]).toBe("");
    expect(profile.sample.length).toBeGreaterThan(0);
    const ids = new Set(profile.location.map(({ id }) => id));
    for (const { locationId, value } of profile.sample) {
      expect(value.length).toBe(expected.length);
      expect(locationId.length).toBeGreaterThan(0);
      expect(locationId.every((id) => ids.has(id))).toBe(true);
    }
    const functions = new Set(profile.function.map(({ id }) => id));
    expect(profile.location.every(({ line }) => line.every(({ functionId }) => functions.has(functionId)))).toBe(true);
  });

  it.each([
    ["/debug/pprof/", /goroutine/],
    ["/debug/pprof/cmdline", /node.*\0.*berthd/],
    ["/debug/pprof/symbol", /^num_symbols: \d/],
    ["/debug/pprof/heap?debug=1", /heap profile: \d+ bytes/],
    ["/debug/pprof/goroutine?debug=1", /^goroutine profile: total \d+/],
    ["/debug/pprof/goroutine?debug=2", /berth\.sock/],
    ["/debug/pprof/threadcreate?debug=1", /^threadcreate profile: total \d+/],
    ["/debug/pprof/block?debug=1", /event loop: busy/],
    ["/debug/vars", /"HeapAlloc": \d+/],
    ["/debug/v8/cpuprofile?seconds=0.1", /"nodes":\[/],
  ])("answers %s", async (path, expected) => {
    const { status, body } = await ask(path);
    expect(status).toBe(200);
    expect(body.toString()).toMatch(expected);
  });

  it("hands out a snapshot of the heap", { timeout: 60_000 }, async () => {
    const { status, body } = await ask("/debug/v8/heapsnapshot");
    expect(status).toBe(200);
    expect(Object.keys(JSON.parse(body.toString()) as object)).toContain("snapshot");
  });

  it.each([
    ["/debug/pprof/nothing", 404],
    ["/debug/pprof/trace?seconds=0.01", 404],
    ["/", 404],
    ["/debug/pprof", 301],
    ["/debug/pprof/profile?seconds=soon", 400],
    ["/debug/pprof/profile?seconds=1e9", 400],
    ["/debug/pprof/heap?debug=x", 400],
    ["//[", 500],
  ])("answers %s with %d", async (path, status) => {
    expect((await ask(path)).status).toBe(status);
  });

  it("takes one profile at a time, and none for one who has left", async () => {
    const leave = new AbortController();
    const first = get({ socketPath }, "/debug/pprof/profile?seconds=600", leave.signal);
    first.catch(() => {});
    await expect.poll(async () => (await ask("/debug/v8/cpuprofile?seconds=0.01")).status).toBe(409);
    leave.abort();
    await expect.poll(async () => (await ask("/debug/pprof/profile?seconds=0.01")).status).toBe(200);
  });
});

it("the debug listener on a port hands out no memory", { timeout: 60_000 }, async () => {
  await using daemon = await startBerthd({
    config: `[plugins."io.containerd.server.v1.debug"]\n  address = "127.0.0.1:0"\n`,
  });
  const findPort = async (): Promise<number> =>
    Number(/address="?127\.0\.0\.1:(\d+)/.exec(await daemon.log())?.[1] ?? 0);
  await expect.poll(findPort).toBeGreaterThan(0);
  const port = await findPort();
  expect((await get({ port }, "/debug/vars")).status).toBe(200);
  expect((await get({ port }, "/debug/v8/heapsnapshot")).status).toBe(404);
});

it("a socket where no directory can be made is refused, and nothing waits for it", { timeout: 60_000 }, async () => {
  await using daemon = await startBerthd({ config: `[debug]\n  address = "/proc/none/such/debug.sock"\n` });
  expect((await daemon.ctr(["plugins", "ls", "id==debug"])).stdout).toMatch(/server\.v1 +debug +- +error/);
});

it("there is no debug listener without an address", { timeout: 60_000 }, async () => {
  await using daemon = await startBerthd();
  expect((await daemon.ctr(["plugins", "ls", "id==debug"])).stdout).toMatch(/server\.v1 +debug +- +skip/);
});

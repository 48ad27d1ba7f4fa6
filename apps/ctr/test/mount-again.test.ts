import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { Client } from "@berth/client";
import { Code, codeOf } from "@berth/errors";
import { isMountPoint, unmountAll } from "@berth/linux/mount";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { parseFlags } from "../src/cli/parse-flags.ts";
import { Session } from "../src/cli/session.ts";
import { mount } from "../src/commands/images-mount.ts";
import type { Bench } from "./peers.ts";
import { BUSYBOX_IMAGE, startBench } from "./peers.ts";

const TIMEOUT = { timeout: 60_000 };
const SESSION = { namespace: "default", timeoutMs: 0, connectTimeoutMs: 0, debug: false };

/** Its daemon collects whenever a lease has been deleted. */
class CollectingSession extends Session {
  collections = 0;

  override async client(): Promise<Client> {
    const client = await super.client();
    const { transport } = client;
    const unary: typeof transport.unary = async (method, ...rest) => {
      const answer = await transport.unary(method, ...rest);
      if (method.parent.name === "Leases" && method.name === "Delete") {
        this.collections += 1;
        await using _ = await client.lease({ sync: true });
      }
      return answer;
    };
    return new Client({ ...transport, stream: transport.stream.bind(transport), unary }, client.namespace);
  }
}

describe.each(["berthd", "containerd"] as const)("mounts of images on %s", (kind) => {
  let bench: Bench;

  const place = (name: string): string => join(bench.directory.path, name);
  const say = (...args: readonly string[]): Promise<string> => bench.say(...args);
  const fail = (...args: readonly string[]): Promise<string> => bench.fail(...args);

  beforeAll(async () => {
    bench = await startBench(kind);
  }, 60_000);

  afterAll(() => bench[Symbol.asyncDispose]());

  it("what was written to an image is mounted again, and held without end until --rm", TIMEOUT, async () => {
    const target = place("again");
    await mkdir(target);
    const others = await say("leases", "ls", "-q");
    await say("images", "mount", "--rw", BUSYBOX_IMAGE, target);
    await using mounted = new AsyncDisposableStack();
    mounted.defer(() => unmountAll(target));
    const lease = async (): Promise<string> => await say("leases", "ls", `id==${JSON.stringify(target)}`);
    const collect = async (): Promise<void> => {
      const id = (await say("leases", "create")).trim();
      await say("leases", "rm", "--sync", id);
    };
    expect(await lease()).not.toContain("gc.expire");
    await writeFile(join(target, "mine"), "x");
    expect(await fail("images", "mount", "--rw", BUSYBOX_IMAGE, target)).toMatch(/is mounted at/);
    await say("images", "unmount", target);

    expect(await fail("images", "mount", BUSYBOX_IMAGE, target)).toMatch(/active, not view.*already exists/);
    expect(isMountPoint(target)).toBe(false);
    // Also with another lease than the one that it was made in.
    await say("snapshots", "label", target, "containerd.io/gc.root=now");
    await say("leases", "rm", "--sync", target);
    const mountAgain = async (...expiration: readonly string[]): Promise<void> => {
      await say("images", "mount", "--rw", ...expiration, BUSYBOX_IMAGE, target);
      await say("snapshots", "label", target, "containerd.io/gc.root=");
      await collect();
      expect(await readFile(join(target, "mine"), "utf8")).toBe("x");
      expect((await lease()).includes("gc.expire")).toBe(expiration.length > 0);
      expect((await say("leases", "ls", "-q")).replace(`${target}\n`, "")).toBe(others);
      await say("images", "unmount", target);
    };
    await mountAgain();
    await mountAgain("-x", "1h");
    await mountAgain("-x", "2h");
    await mountAgain();

    // The lease is made anew, the daemon collects meanwhile, and then the mount fails.
    const { flags } = parseFlags(mount.flags, ["--rw", "-x", "1h"], {});
    await using session = new CollectingSession({ ...SESSION, address: bench.daemon.address });
    const mounting = Promise.resolve(mount.run({ flags, args: ["example.org/none:1", target], session }));
    expect(codeOf(await mounting.catch((error: unknown) => error))).toBe(Code.NotFound);
    expect(session.collections).toBe(2);
    await collect();
    await mountAgain();
    await say("images", "unmount", "--rm", target);
    expect(await lease()).not.toContain(target);
  });
});

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";

import { TaskOOMSchema } from "@berth/api/containerd/events/task";
import { Events } from "@berth/api/containerd/services/events/v1/events";
import { createUnixTransport } from "@berth/client/transport";
import { launcher, runProgram, startBerthd, startContainerd, temporaryDirectory } from "@berth/testing";
import { create, toBinary } from "@bufbuild/protobuf";
import { AnySchema, anyPack } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import { describe, expect, it } from "vitest";

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** This runs `berthd` with something on its standard input. */
async function berthd(
  args: readonly string[],
  input: Uint8Array | string,
  env: NodeJS.ProcessEnv = {},
): Promise<Outcome> {
  const child = spawn(launcher("berthd"), args, { env: { ...process.env, ...env } });
  child.stdin.on("error", () => {});
  child.stdin.end(input);
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
  return { code: code as number | null, stdout, stderr }; // of a "close" event
}

const event = toBinary(AnySchema, anyPack(TaskOOMSchema, create(TaskOOMSchema, { containerId: "c1" })));

describe("berthd publish", () => {
  it.each([
    ["berthd", startBerthd],
    ["Debian's containerd", startContainerd],
  ])("publishes an event to %s", { timeout: 60_000 }, async (_, start) => {
    await using daemon = await start();
    const transport = createUnixTransport({ path: daemon.address, namespace: "hooks" });
    const stop = new AbortController();
    const events = createClient(Events, transport);
    const subscribed = events.subscribe({ filters: ['topic=="/tasks/oom"'] }, { signal: stop.signal });
    const next = subscribed[Symbol.asyncIterator]().next();
    const args = ["--address", daemon.address, "publish", "--topic", "/tasks/oom", "--namespace", "hooks"];
    // A subscription has no beginning that could be seen: an event is published until one arrives.
    let envelope: Awaited<typeof next> | undefined;
    void next.then((result) => (envelope = result));
    await expect
      .poll(
        async () => {
          expect(await berthd(args, event)).toMatchObject({ code: 0, stdout: "" });
          return envelope?.value;
        },
        { timeout: 30_000 },
      )
      .toMatchObject({
        namespace: "hooks",
        topic: "/tasks/oom",
        event: { typeUrl: expect.stringContaining("TaskOOM") },
      });
    stop.abort();
    transport.close();
  });

  it.each([
    ["no topic", ["publish"], event],
    ["no daemon", ["--address", "/nonexistent/berth.sock", "publish", "--topic", "/t"], event],
    ["no event", ["publish", "--topic", "/t"], "this is no message"],
  ])("fails with one line: %s", async (_, args, input) => {
    const { code, stderr } = await berthd(args, input);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^berthd: .+\n$/);
  });
});

describe("berthd oci-hook", () => {
  async function bundleWith(root: unknown): Promise<AsyncDisposable & { readonly path: string }> {
    const directory = await temporaryDirectory("hook");
    await mkdir(join(directory.path, "bundle"));
    await writeFile(join(directory.path, "bundle", "config.json"), JSON.stringify({ ociVersion: "1.1.0", root }));
    return directory;
  }
  const state = (bundle: string): string =>
    JSON.stringify({
      ociVersion: "1.1.0",
      id: "c1",
      status: "created",
      pid: 42,
      bundle,
      annotations: { "example.com/key": "two words" },
    });

  it("becomes the hook, with everything filled in and nothing of Node's left", async () => {
    await using directory = await bundleWith({ path: "rootfs" });
    const bundle = join(directory.path, "bundle");
    const script =
      'printf "%s\\n" "$@" "$FROM_STATE"; grep -E "SigIgn|^Name" /proc/self/status; ls /proc/self/fd; exit 7';
    const args = [
      "{{id}}",
      "{{bundle}}",
      "{{rootfs}}",
      "pid={{pid}}",
      "{{status}}",
      '{{annotation "example.com/key"}}',
      "--root",
      "-v",
    ];
    const { code, stdout, stderr } = await berthd(
      ["oci-hook", "--", "/bin/sh", "-c", script, "sh", ...args],
      state(bundle),
      {
        FROM_STATE: "{{id}}-env",
      },
    );
    expect(stderr).toBe("");
    expect(code).toBe(7);
    const [id, path, rootfs, pid, status, annotation, flag, other, fromEnv, ...rest] = stdout.trim().split("\n");
    expect([id, path, rootfs, pid, status]).toEqual(["c1", bundle, `${bundle}/rootfs`, "pid=42", "created"]);
    expect([annotation, flag, other, fromEnv]).toEqual(["two words", "--root", "-v", "c1-env"]);
    // What any child has open here, the directory that `ls` reads among it.
    const { stdout: open } = await runProgram("/bin/sh", ["-c", "ls /proc/self/fd; :"]);
    expect(rest).toEqual(["Name:\tgrep", "SigIgn:\t0000000000000000", ...open.trim().split("\n")]);
  });

  it("leaves an absolute root as it is", async () => {
    await using directory = await bundleWith({ path: "/somewhere/else" });
    const { stdout } = await berthd(["oci-hook", "/bin/echo", "{{rootfs}}"], state(join(directory.path, "bundle")));
    expect(stdout).toBe("/somewhere/else\n");
  });

  it.each([
    ["no state", "nothing", ["/bin/true"], { path: "r" }],
    ["no program", undefined, [], { path: "r" }],
    ["a program that is not there", undefined, ["/nonexistent/program"], { path: "r" }],
    ["an unknown function", undefined, ["/bin/true", "{{password}}"], { path: "r" }],
    ["no root", undefined, ["/bin/true"], undefined],
  ])("fails: %s", async (_, input, args, root) => {
    await using directory = await bundleWith(root);
    const { code, stderr } = await berthd(["oci-hook", ...args], input ?? state(join(directory.path, "bundle")));
    expect(code).not.toBe(0);
    expect(stderr).not.toBe("");
  });
});

import { execFileSync } from "node:child_process";
import { createServer } from "node:net";
import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

import { mountAll, unmountAll } from "@berth/linux/mount";
import type { FaultRegistry, PeerRegistry, ProgramResult } from "@berth/testing";
import {
  busyboxImage,
  launcher,
  runProgram,
  startBerthd,
  startFaultRegistry,
  startRegistry,
  temporaryDirectory,
} from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import type { Bench } from "./peers.ts";
import { BUSYBOX_IMAGE, startBench } from "./peers.ts";

const TIMEOUT = { timeout: 60_000 };
const LIMIT = { timeoutMs: 60_000 };
const RUNNING = `mistakes-${process.pid}`;

/** One line on standard error, nothing on standard output, exit code 1; the line names what it is about. */
function expectFailure({ code, stdout, stderr }: ProgramResult, object: string): void {
  expect({ code, stdout, lines: stderr.split("\n").length, stderr }).toEqual({ code: 1, stdout: "", lines: 2, stderr });
  expect(stderr).toMatch(/^ctr: ./);
  expect(stderr).toContain(object);
}

describe("the mistakes that people make most", () => {
  const stack = new AsyncDisposableStack();
  let bench: Bench;
  let registry: PeerRegistry;
  let guarded: FaultRegistry;
  let secure: PeerRegistry;

  beforeAll(async () => {
    bench = stack.use(await startBench("berthd"));
    registry = stack.use(await startRegistry());
    guarded = stack.use(await startFaultRegistry());
    guarded.fault = () => ({ kind: "status", status: 401, headers: { "www-authenticate": 'Basic realm="test"' } });
    secure = stack.use(await startRegistry({ tls: await certificate(bench.directory.path) }));
    // Node must not take it for its own: it would not start.
    await writeFile(join(bench.directory.path, "variables"), "NODE_OPTIONS=--no-such-option\n");
    const run = await bench.ctr(["run", "-d", "--null-io", BUSYBOX_IMAGE, RUNNING, "sleep", "1000"], LIMIT);
    expect(run).toMatchObject({ code: 0 });
  }, 60_000);

  afterAll(async () => {
    await bench.ctr(["tasks", "rm", "-f", RUNNING], LIMIT);
    await stack.disposeAsync();
  });

  /** `REGISTRY`, `GUARDED` and `SECURE` stand for hosts; `PATH` for the bench's directory. */
  const spell = (text: string): string =>
    text
      .replace("REGISTRY", registry.host)
      .replace("GUARDED", guarded.host)
      .replace("SECURE", secure.host)
      .replace("PATH", bench.directory.path);

  it.each<readonly [mistake: string, line: string, object: string]>([
    ["an unknown image", "run example.org/none:1 x true", "example.org/none:1"],
    ["an unknown image to push", "images push REGISTRY/none:1", "REGISTRY/none:1"],
    ["an unknown image to tag", "images tag example.org/none:1 example.org/x:1", "example.org/none:1"],
    ["an unknown image to mount", "images mount example.org/none:1 /mnt", "example.org/none:1"],
    ["a tag that the registry has not", "images pull --plain-http REGISTRY/team/none:1", "REGISTRY/team/none:1"],
    ["a name without a host", "images pull alpine", "alpine"],
    ["a name without a tag", "images pull REGISTRY/team/none", "REGISTRY/team/none"],
    ["a name in capitals", "images pull REGISTRY/Team/none:1", "Team/none"],
    ["a URL for a name", "images pull https://example.org/x:1", "https://example.org/x:1"],
    ["a host that does not exist", "images pull registry.invalid/x:1", "registry.invalid"],
    ["a port where nobody listens", "images pull 127.0.0.1:1/x:1", "127.0.0.1:1"],
    ["a wrong password", "images pull --user me:wrong GUARDED/team/x:1", "GUARDED"],
    ["no password", "images pull GUARDED/team/x:1", "GUARDED"],
    ["a wrong password to push", `images push --user me:wrong GUARDED/team/x:1 ${BUSYBOX_IMAGE}`, "GUARDED"],
    ["HTTP where the registry speaks TLS", "images pull --plain-http SECURE/x:1", "SECURE"],
    ["a certificate of an unknown authority", "images pull SECURE/x:1", "SECURE"],
    ["TLS where the registry speaks HTTP", "images pull --tlscacert PATH/cert.pem REGISTRY/x:1", "REGISTRY"],
    ["an authority that is not there", "images pull --tlscacert /nonexistent.pem SECURE/x:1", "/nonexistent.pem"],
    [
      "a file of variables for a container",
      `run --rm --env-file PATH/variables ${BUSYBOX_IMAGE} ${RUNNING} true`,
      RUNNING,
    ],
    ["a platform that is none", "images pull --platform a/b/c/d REGISTRY/x:1", "a/b/c/d"],
    ["an id that is taken", `run ${BUSYBOX_IMAGE} ${RUNNING} true`, RUNNING],
    ["an id that is none", `run ${BUSYBOX_IMAGE} a/b true`, "a/b"],
    ["a program that the image has not", `run --rm ${BUSYBOX_IMAGE} mistaken /no/such/program`, "/no/such/program"],
    [
      "a runtime that is not installed",
      `run --rm --runtime io.containerd.none.v9 ${BUSYBOX_IMAGE} mistaken true`,
      "io.containerd.none.v9",
    ],
    ["a snapshotter that the daemon has not", `run --rm --snapshotter none ${BUSYBOX_IMAGE} mistaken true`, "none"],
    ["an unknown container", "tasks start no-such-container", "no-such-container"],
    ["a container that does not run", "tasks exec --exec-id e no-such-container true", "no-such-container"],
    ["a container that still runs", `containers rm ${RUNNING}`, RUNNING],
    ["a task that still runs", `tasks rm ${RUNNING}`, RUNNING],
    ["a signal to nobody", "tasks kill no-such-container", "no-such-container"],
    ["an unknown snapshot", "snapshots info no-such-snapshot", "no-such-snapshot"],
    ["a digest that is none", "content get abc", "abc"],
    ["an unknown digest", `content get sha256:${"0".repeat(64)}`, "0".repeat(64)],
    ["an archive that is not there", "images import /nonexistent.tar", "/nonexistent.tar"],
    ["an archive that is none", "images import PATH/cert.pem", "PATH/cert.pem"],
    ["a directory that is not there", `images export /nonexistent/o.tar ${BUSYBOX_IMAGE}`, "/nonexistent/o.tar"],
    ["a device that is full", `images export /dev/full ${BUSYBOX_IMAGE}`, "/dev/full"],
    ["a namespace that is not empty", "namespaces rm default", "default"],
    ["an unknown lease", "leases rm no-such-lease", "no-such-lease"],
    ["a time that is over", "--timeout 1ms images ls", "--timeout"],
    ["a mount that is none", `run --rm --mount type=bind ${BUSYBOX_IMAGE} mistaken true`, "type=bind"],
    [
      "a file of variables that is not there",
      `run --rm --env-file /nonexistent.env ${BUSYBOX_IMAGE} mistaken true`,
      "/nonexistent.env",
    ],
    ["a filter that is none", "images ls name~~x", "name~~x"],
  ])("%s", TIMEOUT, async (_mistake, line, object) => {
    expectFailure(await bench.ctr(spell(line).split(" "), LIMIT), spell(object));
    expect((await bench.ctr(["containers", "ls", "-q"])).stdout).toBe(`${RUNNING}\n`);
  });

  it.each([
    "images pull GUARDED/team/x:1",
    "images pull --local GUARDED/team/x:1",
    `images push GUARDED/team/x:1 ${BUSYBOX_IMAGE}`,
  ])("a helper for passwords that is not there, %s", TIMEOUT, async (line) => {
    const directory = join(bench.directory.path, "docker");
    await mkdir(directory, { recursive: true });
    await writeFile(join(directory, "config.json"), JSON.stringify({ credsStore: "desktop" }));
    const env = { DOCKER_CONFIG: directory };
    expectFailure(await bench.ctr(spell(line).split(" "), { ...LIMIT, env }), "docker-credential-desktop");
  });

  const ctrAt = (address: string, ...args: readonly string[]): Promise<ProgramResult> =>
    runProgram(launcher("ctr"), ["--address", address, "--connect-timeout", "2s", ...args], LIMIT);

  it("no daemon, another server, nobody behind the socket, and a socket that one may not use", TIMEOUT, async () => {
    const path = join(bench.directory.path, "other.sock");
    expectFailure(await ctrAt(path, "images", "ls"), path);
    expectFailure(await ctrAt(dirname(path), "images", "ls"), dirname(path));
    const silent = createServer((socket) => void socket.resume());
    await new Promise<void>((resolve) => silent.listen(path, resolve));
    try {
      expectFailure(await ctrAt(path, "images", "ls"), path);
    } finally {
      await new Promise((resolve) => silent.close(resolve));
    }
    const web = createServer((socket) => void socket.resume().end("HTTP/1.1 400 Bad Request\r\n\r\n"));
    await new Promise<void>((resolve) => web.listen(path, resolve));
    try {
      expectFailure(await ctrAt(path, "images", "ls"), "HTTP/2");
    } finally {
      await new Promise((resolve) => web.close(resolve));
    }
    const line = ["--reuid", "65534", "--regid", "65534", "--clear-groups", launcher("ctr"), "--address"];
    const refused = await runProgram("setpriv", [...line, bench.daemon.address, "images", "ls"], LIMIT);
    expectFailure(refused, bench.daemon.address);
  });

  it("a disk that is full", { timeout: 120_000 }, async () => {
    await using own = new AsyncDisposableStack();
    const directory = own.use(await temporaryDirectory("full"));
    const root = join(directory.path, "root");
    await mkdir(root);
    await mountAll([{ type: "tmpfs", source: "tmpfs", options: ["size=1m"] }], root);
    own.defer(() => unmountAll(root));
    const daemon = own.use(await startBerthd({ root }));
    const archive = join(directory.path, "busybox.tar");
    await writeFile(archive, (await busyboxImage()).archive);
    for (const flags of [[], ["--local"]]) {
      const line = ["--address", daemon.address, "images", "import", ...flags, archive];
      const { code, stderr } = await runProgram(launcher("ctr"), line, LIMIT);
      expect({ code, stderr }).toEqual({
        code: 1,
        stderr: expect.stringMatching(/^ctr: [^\n]*(no space|ENOSPC)[^\n]*\n$/i),
      });
    }
  });
});

/** A certificate that signs itself, for this machine. */
async function certificate(directory: string): Promise<{ readonly certificate: string; readonly key: string }> {
  const [cert, key] = [join(directory, "cert.pem"), join(directory, "key.pem")];
  const subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"];
  const made = ["-keyout", key, "-out", cert, "-days", "2", ...subject];
  execFileSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", ...made], { stdio: "ignore" });
  await copyFile(cert, join(directory, "authority.pem"));
  return { certificate: cert, key };
}

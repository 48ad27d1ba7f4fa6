import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { afterAll, beforeAll, describe, expect, it } from "vitest";

import type { Bench } from "./peers.ts";
import { BUSYBOX_IMAGE, startBench } from "./peers.ts";

describe.each(["berthd", "containerd"] as const)("run on %s", (kind) => {
  let bench: Bench;
  let fifos = "";
  let last = 0;
  /** Both daemons share the cgroups of the host. */
  const freshId = (): string => `run-${kind}-${process.pid}-${(last += 1)}`;
  const run = (flags: readonly string[], ...command: readonly string[]) =>
    bench.ctr(["run", "--fifo-dir", fifos, "--rm", ...flags, BUSYBOX_IMAGE, freshId(), ...command]);

  beforeAll(async () => {
    bench = await startBench(kind);
    fifos = join(bench.directory.path, "fifo");
    await writeFile(join(bench.directory.path, "variables"), "FROM_FILE=yes\nTHIS=file\n");
  });

  afterAll(async () => {
    await bench[Symbol.asyncDispose]();
  });

  const answers: readonly (readonly [flags: readonly string[], script: string, output: string])[] = [
    [[], "echo $PATH; pwd; id -u", "/bin\n/\n0\n"],
    [["--user", "guest"], "id -u; id -g", "405\n100\n"],
    [["-u", "1234:5"], "id -u; id -g", "1234\n5\n"],
    [["--env", "A=1", "--env", "B=two words", "--env=PATH=/bin:/x"], 'echo "$A $B $PATH"', "1 two words /bin:/x\n"],
    [["--env-file", "%/variables", "--env", "THIS=flag"], "echo $FROM_FILE $THIS", "yes flag\n"],
    [["--cwd", "/etc"], "pwd", "/etc\n"],
    [["--hostname", "named"], "hostname", "named\n"],
    [
      ["--mount", "type=bind,src=%,dst=/host,options=rbind:ro"],
      "ls /host/variables; touch /host/new || echo kept",
      "/host/variables\nkept\n",
    ],
    [
      ["--mount", "type=tmpfs,src=tmpfs,dst=/scratch,options=size=64k"],
      "touch /scratch/x && echo written",
      "written\n",
    ],
    [["--read-only"], "touch /file || echo kept", "kept\n"],
    [[], "touch /file && echo written", "written\n"],
    [
      ["--cap-drop", "CAP_CHOWN"],
      "while read l; do case $l in CapEff*) echo ${l#*:};; esac; done < /proc/self/status",
      "00000000a80425fa\n",
    ],
    [
      ["--cap-add", "CAP_SYS_ADMIN"],
      "while read l; do case $l in CapEff*) echo ${l#*:};; esac; done < /proc/self/status",
      "00000000a82425fb\n",
    ],
    [
      ["--allow-new-privs"],
      "while read l; do case $l in NoNewPrivs*) echo ${l#*:};; esac; done < /proc/self/status",
      "0\n",
    ],
    [["--rlimit-nofile", "77"], "ulimit -n", "77\n"],
    [["--device", "/dev/null"], "ls /dev/null", "/dev/null\n"],
    [["-tty=false", "--privileged=0"], "tty || true", "not a tty\n"],
  ];
  it.each(answers)("ctr run %j sh -c %j", async (flags, script, output) => {
    const placed = flags.map((flag) => flag.replace("%", bench.directory.path));
    const { code, stdout, stderr } = await run(placed, "sh", "-c", script);
    expect({ stdout, complaint: code === 0 ? "" : stderr }).toEqual({ stdout: output, complaint: "" });
  });

  it.each([0, 1, 7, 255])("exits with the code %d of the process", async (code) => {
    expect((await run([], "sh", "-c", `exit ${code}`)).code).toBe(code);
  });

  it("keeps standard output and error apart", async () => {
    expect(await run([], "sh", "-c", "echo out; echo err >&2")).toEqual({ code: 0, stdout: "out\n", stderr: "err\n" });
  });

  it("passes on standard input and its end", async () => {
    const input = new Uint8Array(1 << 20).fill(97);
    const flags = ["run", "--rm", "--fifo-dir", fifos, BUSYBOX_IMAGE, freshId(), "wc", "-c"];
    expect((await bench.ctr(flags, { input })).stdout.trim()).toBe(String(input.length));
  });

  it("passes on 100 MB of output to the last byte", async () => {
    const bytes = 100 * 1024 * 1024;
    const script = `yes | head -c ${bytes}; printf end`;
    const line = ["run", "--rm", "--fifo-dir", fifos, BUSYBOX_IMAGE, freshId(), "sh", "-c", script];
    const [program, ...args] = bench.command(line);
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
    const hash = createHash("sha256");
    let received = 0;
    let tail = "";
    for await (const chunk of child.stdout) {
      received += chunk.length;
      hash.update(chunk);
      tail = String(chunk).slice(-3);
    }
    const expected = createHash("sha256");
    for (let at = 0; at < bytes; at += 1 << 20) expected.update("y\n".repeat(1 << 19));
    expect({ received, tail }).toEqual({ received: bytes + 3, tail: "end" });
    expect(hash.digest("hex")).toBe(expected.update("end").digest("hex"));
  }, 60_000);

  it("sets the limits that are asked for", async () => {
    const id = freshId();
    const flags = ["--memory-limit", "67108864", "--cpus", "0.5", "--cpu-shares", "200", "--label", "a=b"];
    const started = await bench.ctr(["run", "-d", "--fifo-dir", fifos, ...flags, BUSYBOX_IMAGE, id, "sleep", "1000"]);
    expect(started).toEqual({ code: 0, stdout: "", stderr: "" });
    const { stdout } = await bench.ctr(["containers", "info", id]);
    // The document is the one that the command promises.
    const info = JSON.parse(stdout) as { Labels: object; Spec: { linux: { resources: object } } };
    expect(info.Labels).toMatchObject({ a: "b" });
    expect(info.Spec.linux.resources).toMatchObject({
      memory: { limit: 67108864 },
      cpu: { quota: 50000, period: 100000, shares: 200 },
    });
    expect((await bench.ctr(["tasks", "rm", "-f", id])).code).toBe(0);
    expect((await bench.ctr(["containers", "rm", id])).code).toBe(0);
  });

  it("leaves a detached task to attach to, which then ends with its code", async () => {
    const id = freshId();
    const command = ["sh", "-c", 'echo before; read line; echo "got $line"; exit 5'];
    await bench.ctr(["run", "-d", "--fifo-dir", fifos, BUSYBOX_IMAGE, id, ...command]);
    expect((await bench.ctr(["tasks", "ls"])).stdout).toContain(id);
    const { code, stdout } = await bench.ctr(["tasks", "attach", id], { input: "hello\n" });
    expect({ code, stdout }).toEqual({ code: 5, stdout: "before\ngot hello\n" });
    expect((await bench.ctr(["tasks", "ls", "-q"])).stdout).not.toContain(id);
    expect((await bench.ctr(["containers", "rm", id])).code).toBe(0);
  });

  it("runs other processes in a container", async () => {
    const id = freshId();
    await bench.ctr(["run", "-d", "--fifo-dir", fifos, "--env", "X=1", BUSYBOX_IMAGE, id, "sleep", "1000"]);
    const exec = (...args: readonly string[]) => bench.ctr(["tasks", "exec", "--fifo-dir", fifos, ...args]);
    expect((await exec("--exec-id", "e1", id, "sh", "-c", "echo $X; exit 4")).code).toBe(4);
    expect((await exec("--exec-id", "e1", "--cwd", "/etc", id, "pwd")).stdout).toBe("/etc\n");
    expect((await exec("--exec-id", "e1", "--user", "guest", id, "id", "-u")).stdout).toBe("405\n");
    expect((await exec("--exec-id", "e2", "-d", id, "sleep", "1000")).code).toBe(0);
    expect((await bench.ctr(["tasks", "ps", id])).stdout).toContain('"e2"');
    expect((await bench.ctr(["tasks", "kill", "--exec-id", "e2", "-s", "9", id])).code).toBe(0);
    expect((await bench.ctr(["tasks", "rm", "-f", "--exec-id", "e2", id])).code).toBe(137);
    expect((await bench.ctr(["tasks", "rm", "-f", id])).code).toBe(0);
    expect((await bench.ctr(["containers", "rm", id])).code).toBe(0);
  });

  it("creates a container and starts it later", async () => {
    const id = freshId();
    expect(
      (await bench.ctr(["containers", "create", "--env", "Y=2", BUSYBOX_IMAGE, id, "sh", "-c", "echo $Y; exit 3"]))
        .code,
    ).toBe(0);
    const { code, stdout } = await bench.ctr(["tasks", "start", "--fifo-dir", fifos, id]);
    expect({ code, stdout }).toEqual({ code: 3, stdout: "2\n" });
    expect((await bench.ctr(["containers", "rm", id])).code).toBe(0);
  });

  it.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)("passes on %s, and removes all afterwards", async (signal) => {
    const id = freshId();
    const script = `trap "echo caught; exit 9" ${signal.slice(3)}; echo ready; while :; do sleep 0.05; done`;
    const [program, ...args] = bench.command([
      "run",
      "--rm",
      "--fifo-dir",
      fifos,
      BUSYBOX_IMAGE,
      id,
      "sh",
      "-c",
      script,
    ]);
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => {
      output += chunk.toString();
      if (output === "ready\n") child.kill(signal);
    });
    expect(await once(child, "close")).toEqual([9, null]);
    expect(output).toBe("ready\ncaught\n");
    await expectGone(id);
  });

  it("ends when nobody reads the output, and removes all", async () => {
    const id = freshId();
    const [program, ...args] = bench.command(["run", "--rm", "--fifo-dir", fifos, BUSYBOX_IMAGE, id, "yes"]);
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
    child.stdout.once("data", () => child.stdout.destroy());
    let complaint = "";
    child.stderr.on("data", (chunk: Buffer) => (complaint += chunk.toString()));
    expect(await once(child, "close")).toEqual([141, null]);
    expect(complaint).toBe("");
    await expectGone(id);
  });

  it("ends at --timeout, and removes all", async () => {
    const id = freshId();
    const line = ["--timeout", "1500ms", "run", "--rm", "--fifo-dir", fifos, BUSYBOX_IMAGE, id, "sleep", "1000"];
    const { code, stderr } = await bench.ctr(line);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^ctr: .*--timeout/);
    await expectGone(id);
  });

  it("leaves nothing of a container that cannot start", async () => {
    const id = freshId();
    const { code, stderr } = await bench.ctr([
      "run",
      "--rm",
      "--fifo-dir",
      fifos,
      BUSYBOX_IMAGE,
      id,
      "no-such-program",
    ]);
    expect(code).toBe(1);
    expect(stderr).toContain("no-such-program");
    await expectGone(id);
  });

  it("writes pid file, log and configuration where it is told", async () => {
    const at = (name: string): string => join(bench.directory.path, name);
    await run(["--pid-file", at("pid")], "true");
    expect(Number(await readFile(at("pid"), "utf8"))).toBeGreaterThan(1);
    expect((await run(["--log-uri", `file://${at("log")}`], "echo", "logged")).stdout).toBe("");
    expect(await readFile(at("log"), "utf8")).toBe("logged\n");
    expect((await run(["--null-io"], "echo", "lost")).stdout).toBe("");
    await run(["--dump-config", at("config.json"), "--hostname", "dumped"], "true");
    expect(JSON.parse(await readFile(at("config.json"), "utf8"))).toMatchObject({ hostname: "dumped" });
  });

  it("runs from a directory", async () => {
    const id = freshId();
    const target = join(bench.directory.path, "rootfs");
    await bench.ctr([
      "snapshots",
      "prepare",
      `${id}-root`,
      (await bench.ctr(["snapshots", "ls"])).stdout.match(/sha256:\S+/)?.[0] ?? "",
    ]);
    const { stdout: command } = await bench.ctr(["snapshots", "mounts", target, `${id}-root`]);
    execFileSync("sh", ["-c", `mkdir ${target} && ${command}`]);
    try {
      const { code, stdout } = await bench.ctr([
        "run",
        "--rm",
        "--rootfs",
        "--fifo-dir",
        fifos,
        target,
        id,
        "sh",
        "-c",
        "echo from $PATH",
      ]);
      expect({ code, stdout }).toEqual({
        code: 0,
        stdout: "from /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n",
      });
    } finally {
      execFileSync("umount", [target]);
      await bench.ctr(["snapshots", "rm", `${id}-root`]);
    }
  });

  it("leaves no pipes behind", async () => {
    expect(existsSync(fifos) ? await readdir(fifos) : []).toEqual([]);
  });

  async function expectGone(id: string): Promise<void> {
    for (const list of ["tasks", "containers"]) expect((await bench.ctr([list, "ls", "-q"])).stdout).not.toContain(id);
    expect((await bench.ctr(["snapshots", "ls"])).stdout).not.toContain(id);
    expect(await readdir(fifos)).toEqual([]);
  }
});

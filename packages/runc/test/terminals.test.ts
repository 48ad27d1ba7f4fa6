import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

import { Status } from "@berth/api/containerd/v1/types/task";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";

import { TasksFixture } from "./container-fixture.ts";

/** Descriptors of this process that are the master side of a terminal. */
function masters(): readonly string[] {
  return readdirSync("/proc/self/fd").filter((name) => {
    try {
      return readlinkSync(`/proc/self/fd/${name}`).includes("ptmx");
    } catch {
      // the directory that was read
      return false;
    }
  });
}

describe("terminals", { timeout: 60_000 }, () => {
  let fixture: TasksFixture;
  let bundle: string;
  beforeAll(async () => {
    fixture = await TasksFixture.open();
    bundle = await fixture.create("c", { args: ["sleep", "1000"] });
    await fixture.call("start", "c");
  });
  afterEach(() => expect(masters()).toEqual([]));
  afterAll(async () => {
    await fixture.remove("c");
    await fixture[Symbol.asyncDispose]();
  });

  it("a process that turns away from its terminal is not hung up on, and may come back to it", async () => {
    const input = fixture.input(bundle, "away.in");
    const out = fixture.reader(bundle, "away.out");
    const script = "echo here; exec 3</tmp <&- >&- 2>&-; sleep 1; read word </dev/tty; echo got $word >/dev/tty";
    const stdio = { terminal: true, stdin: input.path, stdout: out.path };
    await fixture.exec("c", "away", ["sh", "-c", script], stdio);
    await fixture.call("start", "c", "away");
    await sleep(500);
    expect(await fixture.call("state", "c", "away")).toMatchObject({ status: Status.RUNNING });
    expect(masters()).not.toEqual([]);
    const writer = input.open();
    writer.write("word\n");
    expect(await fixture.call("wait", "c", "away")).toMatchObject({ exitStatus: 0 });
    await fixture.call("delete", "c", "away");
    writer.destroy();
    // the terminal itself may show what is typed
    expect(await out.text).toMatch(/^here\r\n(?:word\r\n)?got word\r\n$/);
  });

  it("is closed when its process has ended, whether anybody deletes that or not", async () => {
    const out = fixture.reader(bundle, "brief.out");
    await fixture.exec("c", "brief", ["echo", "word"], { terminal: true, stdout: out.path });
    await fixture.call("start", "c", "brief");
    await fixture.call("wait", "c", "brief");
    expect(await out.text).toBe("word\r\n");
    await expect.poll(masters).toEqual([]);
    await fixture.call("delete", "c", "brief");
  });

  it("is not left behind by a program that is not there", async () => {
    await fixture.exec("c", "none", ["/no/such"], { terminal: true });
    await expect(fixture.call("start", "c", "none")).rejects.toThrow(/OCI runtime exec failed: .*\/no\/such/);
    await fixture.call("delete", "c", "none");
    await expect.poll(masters).toEqual([]);
    await expect(fixture.create("none", { args: ["/no/such"], terminal: true })).rejects.toThrow(/\/no\/such/);
    await expect.poll(masters).toEqual([]);
  });

  it("a process whose terminal does not arrive is ended", async () => {
    const hangUp = `"${process.execPath}" -e 'require("node:net").connect(process.argv[1]).end()' "$socket"`;
    const words = `while [ $# -gt 0 ]; do case $1 in --pid-file) file=$2;; --console-socket) socket=$2;; esac; shift; done`;
    const before = `case " $* " in *" exec "*) ${words}; sleep 999 & printf $! >"$file"; ${hangUp}; exit 0;; esac`;
    const options = fixture.runtime("no-terminal", '"$@"', before);
    await fixture.create("d", { args: ["sleep", "1000"] }, { options });
    await fixture.exec("d", "lost", ["true"], { terminal: true });
    const [present, started] = [children(), fixture.call("start", "d", "lost")];
    await expect(started).rejects.toThrow(/descriptors|closed/);
    await expect.poll(children).toEqual(present);
    await fixture.remove("d");
  });
});

function children(): readonly string[] {
  return readFileSync(`/proc/self/task/${process.pid}/children`, "utf8").trim().split(" ");
}

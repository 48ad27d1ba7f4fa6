import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { create, toBinary } from "@bufbuild/protobuf";
import { CheckpointOptionsSchema } from "@berth/api/containerd/runc/v1/options";
import { CheckpointTaskRequestSchema } from "@berth/api/containerd/task/v3/task";
import { Status } from "@berth/api/containerd/v1/types/task";
import { Code, codeOf } from "@berth/errors";
import { findProgram } from "@berth/linux/process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { context, TasksFixture } from "./container-fixture.ts";

const codeFrom = (work: Promise<unknown>): Promise<Code | undefined> => work.then(() => undefined, codeOf);

/**
 * CRIU itself is not run here: that of Debian 12 (3.17) stops at the vDSO of Linux 6.18. Its place takes an empty program, and
 * that of runc's two commands a script that notes its arguments; a restore becomes a start of the same bundle.
 */
describe("checkpoint and restore", { timeout: 60_000 }, () => {
  let fixture: TasksFixture;
  beforeAll(async () => {
    fixture = await TasksFixture.open();
  });
  afterAll(() => fixture[Symbol.asyncDispose]());

  const checkpoint = async (id: string, exit: boolean): Promise<void> => {
    const options = create(CheckpointOptionsSchema, { exit, openTcp: true, emptyNamespaces: ["network"] });
    const any = { typeUrl: CheckpointOptionsSchema.typeName, value: toBinary(CheckpointOptionsSchema, options) };
    const request = create(CheckpointTaskRequestSchema, { id, path: `/images/${id}`, options: any });
    await fixture.service.checkpoint(request, context("checkpoint"));
  };
  const scripted = (name: string) =>
    fixture.runtime(
      name,
      '"$@"',
      `case " $* " in
        *" checkpoint "*|*" restore "*) echo "$*" >> ${join(fixture.directory, name)}.args;;
      esac
      case " $* " in
        *" checkpoint "*) exit 0;;
        *" restore "*)
          while [ $# -gt 0 ]; do
            case "$1" in
              --root) root=$2;; --bundle) bundle=$2;; --pid-file) pid=$2;;
            esac
            last=$1; shift
          done
          set -- --root "$root" run --detach --bundle "$bundle" --pid-file "$pid" "$last";;
      esac`,
    );
  const argumentsOf = (name: string): string => readFileSync(join(fixture.directory, `${name}.args`), "utf8");

  it("say that CRIU is missing where it is", async (test) => {
    if (findProgram("criu") !== undefined) test.skip("CRIU is installed on this machine");
    await fixture.create("none", { args: ["sleep", "1000"] });
    expect(await codeFrom(checkpoint("none", false))).toBe(Code.Unknown);
    await fixture.call("start", "none");
    expect(await codeFrom(checkpoint("none", false))).toBe(Code.FailedPrecondition);
    expect(await fixture.call("state", "none")).toMatchObject({ status: Status.RUNNING });
    await fixture.remove("none");
    await fixture.create("back", { args: ["sleep", "1000"] }, { checkpoint: "/images/x" });
    expect(await codeFrom(fixture.call("start", "back"))).toBe(Code.FailedPrecondition);
    await fixture.call("delete", "back");
  });

  it("hand options on, tell of it, and go on from an image", async () => {
    const programs = join(fixture.directory, "programs");
    mkdirSync(programs);
    writeFileSync(join(programs, "criu"), "#!/bin/sh\n");
    chmodSync(join(programs, "criu"), 0o755);
    const before = process.env["PATH"];
    process.env["PATH"] = `${programs}:${before}`;
    try {
      await fixture.create("cr", { args: ["sleep", "1000"] }, { options: scripted("saving") });
      await fixture.call("start", "cr");
      await checkpoint("cr", false);
      expect(argumentsOf("saving")).toMatch(
        / checkpoint --image-path \/images\/cr --work-path \S+\/work --tcp-established --empty-ns network --leave-running cr\n$/,
      );
      expect(fixture.topics("cr")).toContain("/tasks/checkpointed");
      await fixture.remove("cr");

      await fixture.create(
        "cr2",
        { args: ["sleep", "1000"] },
        { options: scripted("loading"), checkpoint: "/images/cr" },
      );
      expect(await fixture.call("state", "cr2")).toMatchObject({ status: Status.CREATED, pid: 0 });
      expect(await codeFrom(fixture.exec("cr2", "early", ["true"]))).toBe(Code.Unknown);
      const { pid } = await fixture.call("start", "cr2");
      expect(pid).toBeGreaterThan(0);
      expect(argumentsOf("loading")).toMatch(
        / restore --image-path \/images\/cr --work-path \S+ --detach --no-subreaper /,
      );
      await fixture.exec("cr2", "later", ["true"]);
      await fixture.call("start", "cr2", "later");
      await fixture.call("wait", "cr2", "later");
      await fixture.remove("cr2");
      const topics = fixture.topics("cr2").filter((topic) => !topic.includes("exec") && topic !== "record");
      expect(topics).toEqual(["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/exit", "/tasks/delete"]);
    } finally {
      process.env["PATH"] = before;
    }
  });
});

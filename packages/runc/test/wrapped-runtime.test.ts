import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { create, toBinary } from "@bufbuild/protobuf";
import { OptionsSchema } from "@berth/api/containerd/runc/v1/options";
import { messageOf } from "@berth/errors";
import { debianTool } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { TasksFixture } from "./container-fixture.ts";

// Programs that stand for runc and call it look at the container's specification, and log where runc does.
describe("a program that wraps runc", { timeout: 30_000 }, () => {
  let fixture: TasksFixture;
  let options: { readonly typeUrl: string; readonly value: Uint8Array };
  let seen: string;

  beforeAll(async () => {
    fixture = await TasksFixture.open();
    seen = join(fixture.directory, "seen");
    const binaryName = join(fixture.directory, "runc-wrapped");
    writeFileSync(binaryName, `#!/bin/sh\necho "$(pwd) $*" >>${seen}\nexec ${debianTool("runc")} "$@"\n`);
    chmodSync(binaryName, 0o755);
    options = {
      typeUrl: OptionsSchema.typeName,
      value: toBinary(OptionsSchema, create(OptionsSchema, { binaryName })),
    };
  });
  afterAll(() => fixture[Symbol.asyncDispose]());

  it("runs in the bundle, and is always told where to log", async () => {
    const bundle = fixture.bundle("wrapped", { args: [] });
    await fixture.create("wrapped", { args: ["sleep", "1000"] }, { options });
    await fixture.call("start", "wrapped");
    await fixture.exec("wrapped", "e", ["true"]);
    await fixture.call("start", "wrapped", "e");
    await fixture.call("wait", "wrapped", "e");
    await fixture.call("pause", "wrapped");
    await fixture.call("resume", "wrapped");
    await fixture.remove("wrapped");
    const lines = readFileSync(seen, "utf8").trim().split("\n");
    const command = new RegExp(`^${bundle} --root \\S+ --log ${bundle}/\\S+ --log-format json (\\w+)`);
    const commands = lines.map((line) => command.exec(line)?.[1]);
    expect(commands).toEqual(["create", "start", "exec", "pause", "resume", "kill", "delete"]);
  });

  it.each([
    ["also prints, all its lines", "first line\\nlast line", "OCI runtime pause failed: first line; last line"],
    ["does not print, not", "of another command", "OCI runtime pause failed: last line"],
  ])("counts what it logs and %s", async (what, logged, expected) => {
    const id = `says-${what.split(" ", 1)[0]}`;
    const entry = `{"level":"error","msg":"${logged}"}`;
    const fails = `case " $* " in *" pause "*) printf '%s\\n' '${entry}' >> log.json; printf 'first line\\nlast line\\n' >&2; exit 1;; esac`;
    await fixture.create(id, { args: ["sleep", "1000"] }, { options: fixture.runtime(`runc-${id}`, '"$@"', fails) });
    await fixture.call("start", id);
    const message = await fixture.call("pause", id).then(() => "", messageOf);
    await fixture.remove(id);
    expect(message).toContain(expected);
  });
});

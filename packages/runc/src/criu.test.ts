import { utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { temporaryDirectory } from "@berth/testing";
import { expect, it } from "vitest";

import { checkpointFlags, criuErrors, parseCriuErrors } from "./criu.ts";

it("checkpointFlags names what was asked for alone", () => {
  const paths = { imagePath: "/images", workPath: "/work" };
  expect(checkpointFlags(paths)).toEqual(["--image-path", "/images", "--work-path", "/work"]);
  const all = { openTcp: true, externalUnixSockets: true, shellJob: true, fileLocks: true };
  const more = { parentPath: "../first", cgroupsMode: "strict", emptyNamespaces: ["network", "ipc"] };
  expect(checkpointFlags({ ...paths, ...all, ...more }).slice(4)).toEqual(
    "--parent-path ../first --manage-cgroups-mode strict --tcp-established --ext-unix-sk --shell-job --file-locks --empty-ns network --empty-ns ipc".split(
      " ",
    ),
  );
});

it.each([
  ["no errors", "(00.000001) Version: 4.2.1\n", []],
  ["one", "(00.071920) Error (criu/net.c:3436): net: Locking failed\n", ["net: Locking failed"]],
  ["one of a process", "(00.1)     12: Error (criu/pagemap.c:9): Can't read\n", ["Can't read"]],
  ["one without a time", 'Error (criu/util.c:642): execvp("x") failed\n', ['execvp("x") failed']],
  ["the same twice", "Error (a.c:1): b\n(00.2) Error (c.c:2): b\n", ["b"]],
  [
    "what says nothing",
    "(0.1) Error (criu/cr-dump.c:1): Dumping FAILED.\n(0.2) Error (criu/util.c:1): exited, status=1\n",
    [],
  ],
  [
    "many",
    Array.from({ length: 9 }, (_, index) => `Error (a.c:1): e${index}`).join("\n"),
    ["e4", "e5", "e6", "e7", "e8"],
  ],
])("parseCriuErrors of %s", (_, text, errors) => {
  expect(parseCriuErrors(text)).toEqual(errors);
});

it("criuErrors tells where the log is, unless runc has, and nothing of an earlier one", async () => {
  await using directory = await temporaryDirectory("criu");
  const log = join(directory.path, "dump.log");
  expect(criuErrors(log, 0, "failed")).toEqual([]);
  writeFileSync(log, `${"x".repeat(300_000)}\n(00.1) Error (a.c:1): full\n`);
  expect(criuErrors(log, 0, "failed")).toEqual([`log file: ${log}`, "full"]);
  expect(criuErrors(log, 0, `failed: ${log}`)).toEqual(["full"]);
  utimesSync(log, 1, 1);
  expect(criuErrors(log, 2000, "failed")).toEqual([]);
});

import { closeSync, openSync } from "node:fs";
import { join } from "node:path";

import { mkfifo } from "@berth/linux/files";
import { temporaryDirectory } from "@berth/testing";
import { expect, it } from "vitest";

import { StandardStreams } from "./standard-streams.ts";

it("a pipe that no process has ever opened ends with the process, and one that is written to does not", async () => {
  await using directory = await temporaryDirectory("streams");
  const [stdout, stderr] = [join(directory.path, "stdout"), join(directory.path, "stderr")];
  for (const path of [stdout, stderr]) mkfifo(path, 0o600);
  const paths = { stdin: "", stdout, stderr, terminal: false };
  await using streams = new StandardStreams({ paths, onReaderGone: () => {} });
  const writer = openSync(stdout, "w");
  let isDrained = false;
  const drained = streams.drained().then(() => (isDrained = true));
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(isDrained).toBe(false);
  closeSync(writer);
  await drained;
});

import { mkdir, open, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { Code, codeOf } from "@berth/errors";
import { syncfs } from "@berth/linux/files";
import { mountAll, unmountRecursive } from "@berth/linux/mount";
import { runProgram, temporaryDirectory } from "@berth/testing";
import { expect, it } from "vitest";

import { DurableDirectory } from "./durable-directory.ts";

const MIB = 1024 ** 2;

/** An ext4 whose device cannot take all that is written to it: the kernel is told so when it writes back, and writers are not. */
async function diskThatLoses(directory: string): Promise<string> {
  const [memory, place] = [join(directory, "memory"), join(directory, "memory", "disk")];
  await mkdir(memory);
  await mountAll([{ type: "tmpfs", source: "tmpfs", target: "", options: ["size=24m"] }], memory);
  await mkdir(place);
  const image = join(memory, "image");
  await writeFile(image, "");
  await truncate(image, 128 * MIB);
  // What the file system itself writes has its place from the start: only content is lost.
  const options = ["-q", "-J", "size=4", "-N", "1024", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"];
  expect(await runProgram("mkfs.ext4", [...options, image])).toMatchObject({ code: 0 });
  await mountAll([{ type: "ext4", source: image, target: "", options: ["loop"] }], place);
  return place;
}

async function syncOnce(path: string): Promise<void> {
  await using directory = await open(path);
  await syncfs(directory.fd);
}

it("a sync is told of a write-back that failed, also when another one was told before", async () => {
  await using temporary = await temporaryDirectory("durable");
  await using undo = new AsyncDisposableStack();
  undo.defer(() => unmountRecursive(temporary.path));
  const place = await diskThatLoses(temporary.path);
  let active = [1, 2];
  await using durable = await DurableDirectory.open(place, { active: () => active, enabled: true });
  await durable.sync(1);
  await using early = await open(place);
  await writeFile(join(place, "layer"), new Uint8Array(40 * MIB).fill(7));
  // As while a layer is unpacked; from here on the kernel calls the lost pages clean.
  await expect(syncfs(early.fd)).rejects.toThrow();
  await expect(syncOnce(place)).resolves.toBeUndefined();
  const outcome = (id: number): Promise<Code | undefined> => durable.sync(id).then(() => undefined, codeOf);
  // As the kernel says it: the device has no room, or fails.
  expect([Code.DataLoss, Code.ResourceExhausted]).toContain(await outcome(1));
  // Whatever was being written then stays untrusted; what is begun later does not.
  expect([await outcome(1), await outcome(2)]).toEqual([Code.DataLoss, Code.DataLoss]);
  active = [3];
  expect(await outcome(3)).toBeUndefined();
});

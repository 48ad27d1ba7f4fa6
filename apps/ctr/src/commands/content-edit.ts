import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { readBlob, writeBlob } from "@berth/core/content";
import { failedPrecondition, invalidArgument } from "@berth/errors";
import { formatDigest, parseDigest } from "@berth/oci";

import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { stringFlag } from "../cli/flags.ts";
import { print } from "../output/print.ts";

/** Nobody edits what is larger. */
const LIMIT_BYTES = 64 * 1024 * 1024;
const DAY_MS = 24 * 60 * 60 * 1000;

export const edit = defineCommand({
  usage: "<digest>",
  description:
    "Opens a blob in an editor and stores the result, whose digest is printed. The blob itself never changes. A lease keeps the result for a day: refer to it by then.",
  examples: ['ctr content edit --editor "sed -i s/latest/1/" --validate json sha256:cd4d8f9…'],
  flags: {
    validate: stringFlag("refuse a result that is not of this format: json"),
    editor: stringFlag("command that edits the file that is put behind it", { env: "EDITOR" }),
  },
  async run({ flags, args, session }) {
    const digest = parseDigest(requireArgument(args, 0, "please specify a digest"));
    if (flags.editor === "") throw invalidArgument("no editor given: name one with --editor or in EDITOR");
    if (flags.validate !== "" && flags.validate !== "json")
      throw invalidArgument(`unknown format ${JSON.stringify(flags.validate)}: only json is validated`);
    const { signal } = session;
    const client = await session.client();
    const before = await readBlob(client.content, digest, { signal, limitBytes: LIMIT_BYTES });
    const after = await editBytes(before, flags.editor);
    if (flags.validate === "json") requireJson(after);
    const edited = formatDigest("sha256", createHash("sha256").update(after).digest("hex"));
    const lease = `edit-${edited}-${Date.now()}`;
    const expire = new Date(Date.now() + DAY_MS).toISOString();
    await client.leases.create({ id: lease, labels: new Map([["containerd.io/gc.expire", expire]]) }, { signal });
    const { content } = client.scoped({ lease });
    await writeBlob(content, `edit-${digest}`, [after], { digest: edited, size: after.length }, { signal });
    print(`${edited}\n`);
  },
});

async function editBytes(before: Uint8Array, editor: string): Promise<Uint8Array> {
  await using stack = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), "ctr-edit-"));
  stack.defer(() => rm(directory, { recursive: true, force: true }));
  const file = join(directory, "blob");
  await writeFile(file, before, { mode: 0o600 });
  const child = spawn("/bin/sh", ["-c", `${editor} "$1"`, "sh", file], { stdio: "inherit" });
  const [code, signal]: (number | string | null)[] = await once(child, "close");
  if (code !== 0) throw failedPrecondition(`editor ${editor} ended with ${signal ?? code}: nothing is stored`);
  return await readFile(file);
}

function requireJson(bytes: Uint8Array): void {
  try {
    JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw invalidArgument("the result is not JSON: nothing is stored", { cause: error });
  }
}

import { createContentClient } from "@berth/client/content";
import { streamBlob } from "@berth/core/content";
import { isAlreadyExists } from "@berth/errors";
import { type Digest, parseDigest } from "@berth/oci";

import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { integerFlag, stringFlag } from "../cli/flags.ts";
import type { Session } from "../cli/session.ts";
import { isOutputClosed, printAndWait } from "../output/print.ts";
import { ProgressLines } from "../output/progress.ts";
import { formatBinarySize } from "../output/size.ts";
import { endOnSignals } from "../process/interrupts.ts";

export const get = defineCommand({
  usage: "<digest>",
  examples: ["ctr content get sha256:cd4d8f9… | jq"],
  flags: {},
  async run({ args, session }) {
    const digest = parseDigest(requireArgument(args, 0, "please specify a digest"));
    const content = createContentClient(session.transport());
    for await (const chunk of streamBlob(content, digest, { signal: session.signal })) {
      await printAndWait(chunk);
      if (isOutputClosed()) return;
    }
  },
});

export const ingest = defineCommand({
  usage: "<key>",
  description:
    "Reads the blob from standard input. An interrupted write stays under its key, and shows in `ctr content active`.",
  examples: ["ctr content ingest --expected-digest sha256:cd4d8f9… manifest < manifest.json"],
  flags: {
    "expected-size": integerFlag("size that the blob must have"),
    "expected-digest": stringFlag("digest that the blob must have"),
  },
  async run({ flags, args, session }) {
    const ref = requireArgument(args, 0, "must specify a transaction id");
    const expected = flags["expected-digest"];
    const digest = expected === "" ? undefined : parseDigest(expected);
    using _signals = endOnSignals(session);
    try {
      await ingestInput(session, { ref, size: flags["expected-size"], digest });
    } catch (error) {
      // What was wanted is the case.
      if (!isAlreadyExists(error)) throw error;
    }
  },
});

async function ingestInput(
  session: Session,
  { ref, size, digest }: { readonly ref: string; readonly size: number; readonly digest: Digest | undefined },
): Promise<void> {
  const { signal } = session;
  const known = digest === undefined ? {} : { digest };
  await using writer = await createContentClient(session.transport()).writer(ref, {
    signal,
    ...(size > 0 ? { total: size } : {}),
    ...(digest === undefined ? {} : { expected: digest }),
  });
  if ((await writer.status({ signal })).offset > 0) await writer.truncate(0, { signal });
  using progress = new ProgressLines();
  let received = 0;
  for await (const chunk of process.stdin) {
    await writer.write(chunk, { signal });
    received += chunk.length;
    progress.update(() => `ingested ${formatBinarySize(received)}`);
  }
  await writer.commit({ signal, size, ...known });
}

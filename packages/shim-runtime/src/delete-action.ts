import { dirname, join, resolve } from "node:path";

import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { DeleteResponseSchema } from "@berth/api/containerd/task/v2/task";
import type { Logger } from "@berth/core/log";
import { Turns } from "@berth/core/turns";
import { messageOf } from "@berth/errors";

import { findExitRecord } from "./exit-record.ts";
import { ShimLog } from "./shim-log.ts";
import type { ActionInput } from "./start-action.ts";

const SIGKILLED = 137;
const AT_ONCE = 4;

/** This removes what a container of a dead shim left, and returns how it ended: as it was seen to, else as killed. */
export async function deleteAction(input: ActionInput): Promise<Uint8Array> {
  using sink = new ShimLog({ debug: input.flags.debug });
  const { id, namespace, bundle } = input.flags;
  return await removeLeft(input, { id, bundle: bundle || process.cwd() }, sink.logger({ namespace, id }));
}

/**
 * This does the same for several containers of one shim whose bundles lie side by side: the one of the flags, and those whose ids stand
 * behind the action. For each it calls `print` as soon as it is removed, with a line `<id> <answer in base64>`; for one that fails, with none.
 */
export async function deleteManyAction(input: ActionInput, print: (line: string) => void): Promise<void> {
  const { id: first, namespace, more, bundle } = input.flags;
  using sink = new ShimLog({ debug: input.flags.debug });
  const directory = dirname(resolve(bundle));
  // it was started in the first of the bundles, which the daemon removes meanwhile
  process.chdir("/");
  const turns = new Turns(AT_ONCE);
  const removeOne = async (id: string): Promise<void> => {
    const log = sink.logger({ namespace, id });
    try {
      const answer = await removeLeft(input, { id, bundle: join(directory, id) }, log);
      print(`${id} ${Buffer.from(answer).toString("base64")}\n`);
    } catch (error) {
      log.warn("container of a dead shim not removed", { error: messageOf(error) });
    }
  };
  await Promise.all([...new Set([first, ...more])].map((id) => turns.run(() => removeOne(id))));
}

async function removeLeft(
  { definition, flags: { namespace } }: ActionInput,
  { id, bundle }: { readonly id: string; readonly bundle: string },
  log: Logger,
): Promise<Uint8Array> {
  const seen = findExitRecord(bundle);
  const found = await definition.cleanUp?.({ namespace, id, bundle, log });
  const { pid, exitStatus, exitedAt } = seen ?? found ?? { pid: 0, exitStatus: SIGKILLED, exitedAt: new Date() };
  const response = create(DeleteResponseSchema, { pid, exitStatus, exitedAt: timestampFromDate(exitedAt) });
  return toBinary(DeleteResponseSchema, response);
}

import { dirname, join, resolve } from "node:path";

import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { DeleteResponseSchema } from "@berth/api/containerd/task/v2/task";
import { Turns } from "@berth/core/turns";
import { messageOf } from "@berth/errors";

import type { ContainerExit, DeadContainer } from "./define-shim.ts";
import { findExitRecord } from "./exit-record.ts";
import { ShimLog } from "./shim-log.ts";
import type { ActionInput } from "./start-action.ts";

const SIGKILLED = 137;
const AT_ONCE = 4;

/** This removes what a container of a dead shim left, and returns how it ended: as it was seen to, else as killed. */
export async function deleteAction(input: ActionInput): Promise<Uint8Array> {
  using sink = new ShimLog({ debug: input.flags.debug });
  const { id, namespace, bundle } = input.flags;
  return await removeLeft(input, { id, bundle: bundle || process.cwd() }, { log: sink.logger({ namespace, id }) });
}

/**
 * This does the same for several containers of one shim whose bundles lie side by side: the one of the flags, and those whose ids stand
 * behind the action. All are killed at once; for each it calls `print` with a line `<id> ended <answer in base64>` when its processes are gone,
 * where that is known before the rest, and with `<id> removed <answer>` when nothing is left; for one that fails, with no such line.
 */
export async function deleteManyAction(input: ActionInput, print: (line: string) => void): Promise<void> {
  const { id: first, namespace, more, bundle } = input.flags;
  using sink = new ShimLog({ debug: input.flags.debug });
  const directory = dirname(resolve(bundle));
  // it was started in the first of the bundles, which the daemon removes meanwhile
  process.chdir("/");
  const [starts, removals] = [new Turns(AT_ONCE), new Turns(AT_ONCE)];
  // an author's clean-up that does not ask before it removes is kept waiting before it begins
  let asks = false;
  const removeOne = async (id: string): Promise<void> => {
    const log = sink.logger({ namespace, id });
    const left = { id, bundle: join(directory, id) };
    using start = await starts.acquire();
    using removal = new DisposableStack();
    // the next one does the same, and so on: all begin
    if (asks) start[Symbol.dispose]();
    const beforeRemoval = async (exit?: ContainerExit): Promise<void> => {
      asks = true;
      start[Symbol.dispose]();
      if (exit) print(`${id} ended ${toBase64(formatAnswer(left, exit))}\n`);
      removal.use(await removals.acquire());
    };
    try {
      print(`${id} removed ${toBase64(await removeLeft(input, left, { log, beforeRemoval }))}\n`);
    } catch (error) {
      log.warn("container of a dead shim not removed", { error: messageOf(error) });
    }
  };
  await Promise.all([...new Set([first, ...more])].map(removeOne));
}

/** Where a container's shim has left it. */
interface Left {
  readonly id: string;
  readonly bundle: string;
}

async function removeLeft(
  { definition, flags: { namespace } }: ActionInput,
  left: Left,
  options: Pick<DeadContainer, "log" | "beforeRemoval">,
): Promise<Uint8Array> {
  const exit = await definition.cleanUp?.({ namespace, ...left, ...options });
  return formatAnswer(left, exit ?? { pid: 0, exitStatus: SIGKILLED, exitedAt: new Date() });
}

/** The end that the shim saw counts, if it saw it. */
function formatAnswer({ bundle }: Left, found: ContainerExit): Uint8Array {
  const { pid, exitStatus, exitedAt } = findExitRecord(bundle) ?? found;
  const response = create(DeleteResponseSchema, { pid, exitStatus, exitedAt: timestampFromDate(exitedAt) });
  return toBinary(DeleteResponseSchema, response);
}

function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}

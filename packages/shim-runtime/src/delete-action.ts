import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { DeleteResponseSchema } from "@berth/api/containerd/task/v2/task";

import { findExitRecord } from "./exit-record.ts";
import { ShimLog } from "./shim-log.ts";
import type { ActionInput } from "./start-action.ts";

const SIGKILLED = 137;

/** This removes what a container of a dead shim left, and returns how it ended: as it was seen to, else as killed. */
export async function deleteAction({ definition, flags }: ActionInput): Promise<Uint8Array> {
  using sink = new ShimLog({ debug: flags.debug });
  const bundle = flags.bundle || process.cwd();
  const seen = findExitRecord(bundle);
  const log = sink.logger({ namespace: flags.namespace, id: flags.id });
  const found = await definition.cleanUp?.({ namespace: flags.namespace, id: flags.id, bundle, log });
  const { pid, exitStatus, exitedAt } = seen ?? found ?? { pid: 0, exitStatus: SIGKILLED, exitedAt: new Date() };
  const response = create(DeleteResponseSchema, { pid, exitStatus, exitedAt: timestampFromDate(exitedAt) });
  return toBinary(DeleteResponseSchema, response);
}

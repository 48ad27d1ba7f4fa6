import { createRuncTasks } from "@berth/runc";
import type { ShimContext, ShimTasks } from "@berth/shim-runtime";
import { ClaimedStreams, Streaming } from "@berth/streaming/claimed-streams";
import { ttrpcService } from "@berth/ttrpc";

/** This makes the tasks over runc, whose standard streams may be streams that clients open at this process. */
export function createTasks(context: ShimContext, runcRoot: string | undefined): ShimTasks {
  const streams = new ClaimedStreams();
  const tasks = createRuncTasks({ ...context, runcRoot, streams });
  return {
    service: tasks.service,
    sandbox: tasks.sandbox,
    services: [ttrpcService(Streaming, streams.service)],
    get size() {
      return tasks.size;
    },
    isCounted: (id) => tasks.isCounted(id),
    dropForsaken: () => tasks.dropForsaken(),
    [Symbol.asyncDispose]: () => tasks[Symbol.asyncDispose](),
  };
}

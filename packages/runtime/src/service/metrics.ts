import type { CallOptions } from "@berth/core/any";
import type { Logger } from "@berth/core/log";
import type { Task } from "@berth/core/runtime";
import { nowNs, toProtoTimestampNs } from "@berth/core/timestamp";
import { isNotFound } from "@berth/errors";
import { adapt, parseFilters } from "@berth/filters";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { MetricSchema } from "@berth/api/containerd/types/metrics";

import { withTimeout } from "./process.ts";

/**
 * This asks the tasks that match any filter (fields `id` and `namespace`) for their metrics; a task that gives none is left out.
 *
 * @throws invalid_argument - a filter is malformed
 */
export async function collectMetrics(
  tasks: readonly Task[],
  filters: readonly string[],
  options: CallOptions,
  { log, statsMs }: { readonly log: Logger; readonly statsMs: number },
): Promise<{ metrics: MessageInitShape<typeof MetricSchema>[] }> {
  const filter = parseFilters(filters);
  const wanted = tasks.filter(({ id, namespace }) => filter.matches(adapt({ id, namespace })));
  const limits = withTimeout(options, statsMs);
  const metrics = await Promise.all(
    wanted.map(async (task) => {
      try {
        const data = await task.stats(limits);
        return { id: task.id, timestamp: toProtoTimestampNs(nowNs()), data };
      } catch (error) {
        if (!isNotFound(error)) log.error("collecting metrics", { id: task.id, namespace: task.namespace, error });
        return undefined;
      }
    }),
  );
  return { metrics: metrics.filter((metric) => metric !== undefined) };
}

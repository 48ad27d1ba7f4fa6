import { setTimeout as sleep } from "node:timers/promises";

import type { Health } from "@berth/api/grpc/health/v1/health";
import { HealthCheckResponse_ServingStatus as ServingStatus } from "@berth/api/grpc/health/v1/health";
import { isCanceled, notFound } from "@berth/errors";
import type { ServiceImpl } from "@connectrpc/connect";

/** The longest that a timer can wait; a watch has nothing to say until its caller leaves. */
const LONG_MS = 2 ** 31 - 1;

/** This answers that the daemon as a whole is serving, as containerd's health check does: no single service is known to it. */
export function createHealthService(): ServiceImpl<typeof Health> {
  return {
    check({ service }) {
      if (service !== "") throw notFound(`unknown service ${JSON.stringify(service)}`);
      return { status: ServingStatus.SERVING };
    },
    async *watch({ service }, context) {
      yield { status: service === "" ? ServingStatus.SERVING : ServingStatus.SERVICE_UNKNOWN };
      for (;;) {
        try {
          await sleep(LONG_MS, undefined, { signal: context.signal, ref: false });
        } catch (error) {
          if (isCanceled(error)) return;
          throw error;
        }
      }
    },
    list() {
      return { statuses: { "": { status: ServingStatus.SERVING } } };
    },
  };
}

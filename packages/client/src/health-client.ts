import type { Transport } from "@connectrpc/connect";
import { Health, HealthCheckResponse_ServingStatus } from "@berth/api/grpc/health/v1/health";
import type { CallOptions } from "@berth/core/any";
import { createClient } from "@berth/rpc/client";

import { callOptions } from "./call-options.ts";

/** This says whether the peer calls itself ready to serve. @throws unavailable - it cannot be reached */
export async function isServing(transport: Transport, options?: CallOptions): Promise<boolean> {
  const { status } = await createClient(Health, transport).check({}, callOptions(options));
  return status === HealthCheckResponse_ServingStatus.SERVING;
}

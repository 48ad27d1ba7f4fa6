import type { Transport } from "@connectrpc/connect";
import { Version } from "@berth/api/containerd/services/version/v1/version";
import type { CallOptions } from "@berth/core/any";
import { createClient } from "@berth/rpc/client";

import { callOptions } from "./call-options.ts";

/** What a daemon was built from. */
export interface VersionInfo {
  readonly version: string;
  readonly revision: string;
}

/** This asks the peer for its version. Needs no namespace. */
export async function getVersion(transport: Transport, options?: CallOptions): Promise<VersionInfo> {
  const { version, revision } = await createClient(Version, transport).version({}, callOptions(options));
  return { version, revision };
}

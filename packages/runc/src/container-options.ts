import type { Options } from "@berth/api/containerd/runc/v1/options";
import type { Mount } from "@berth/core/mount";

import type { BundleFacts } from "./bundle.ts";
import type { StdioRequest } from "./stdio/process-stdio.ts";

/** What a container is made of. */
export interface ContainerOptions {
  readonly id: string;
  readonly bundle: string;
  readonly facts: BundleFacts;
  readonly rootfs: readonly Mount[];
  readonly stdio: StdioRequest;
  readonly options: Options;
  /** Directory of a checkpoint to start from. */
  readonly checkpoint?: string | undefined;
  /** The container is there; called before the end of its process is told. */
  readonly onCreated: (pid: number) => void;
}

import { stringFlag } from "./flags.ts";

/** Which snapshotter to use; empty for the namespace's own. */
export const snapshotterFlag = stringFlag("snapshotter, overlayfs unless the namespace has a default of its own", {
  env: "CONTAINERD_SNAPSHOTTER",
  names: "snapshotters",
});

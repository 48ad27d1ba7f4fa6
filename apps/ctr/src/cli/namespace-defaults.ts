import type { Client } from "@berth/client";
import { isNotFound } from "@berth/errors";

const SNAPSHOTTER_LABEL = "containerd.io/defaults/snapshotter";
const SANDBOXER_LABEL = "containerd.io/defaults/sandboxer";
const RUNTIME_LABEL = "containerd.io/defaults/runtime";

/** This returns `given`, else what the namespace's labels say, else overlayfs. */
export function chooseSnapshotter(client: Client, given: string, signal: AbortSignal): Promise<string> {
  return choose(client, { given, label: SNAPSHOTTER_LABEL, otherwise: "overlayfs", signal });
}

/** This returns `given`, else what the namespace's labels say, else runc's runtime. */
export function chooseRuntime(client: Client, given: string, signal: AbortSignal): Promise<string> {
  return choose(client, { given, label: RUNTIME_LABEL, otherwise: "io.containerd.runc.v2", signal });
}

/** This returns `given`, else what the namespace's labels say, else the controller that has a shim for each sandbox. */
export function chooseSandboxer(client: Client, given: string, signal: AbortSignal): Promise<string> {
  return choose(client, { given, label: SANDBOXER_LABEL, otherwise: "shim", signal });
}

interface Choice {
  readonly given: string;
  readonly label: string;
  readonly otherwise: string;
  readonly signal: AbortSignal;
}

async function choose(client: Client, { given, label, otherwise, signal }: Choice): Promise<string> {
  if (given !== "") return given;
  try {
    return (await client.namespaces.labels(client.namespace, { signal })).get(label) ?? otherwise;
  } catch (error) {
    // A namespace comes into being with what is first made in it.
    if (isNotFound(error)) return otherwise;
    throw error;
  }
}

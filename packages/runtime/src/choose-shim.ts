import type { Namespace } from "@berth/core/namespaces";
import { type TaskCreateOptions } from "@berth/core/runtime";
import type { ShimEndpoint } from "@berth/core/shims";
import { invalidArgument, isNotFound, notFound, unimplemented } from "@berth/errors";

import { Bundle, type BundleRoots } from "./bundle.ts";
import { type ShimAttempt, startShim } from "./shim-attempts.ts";
import type { ShimConnection } from "./shim-connection.ts";
import type { LocalShimManager } from "./shim-manager.ts";
import { effectiveOptions } from "./shim-task.ts";

const CONNECT_TIMEOUT_MS = 5000;

/** Where bundles are, and what is known of sandboxes. */
interface ChooseRoots extends BundleRoots {
  readonly hasSandbox?: ((namespace: Namespace, id: string) => Promise<boolean>) | undefined;
}

/**
 * This gives a task its shim: the sandbox endpoint that the request names, the shim of its sandbox when it speaks version 3, or one of
 * its own, which alone may turn out to be about to end. The bundle says which. The caller disposes the connection.
 *
 * @throws not_found - the sandbox was not started
 * @see containerd core/runtime/v2/shim_manager.go, ShimManager.Start
 */
export async function chooseShim(
  shims: LocalShimManager,
  roots: ChooseRoots,
  bundle: Bundle,
  binary: string,
  options: TaskCreateOptions,
): Promise<ShimAttempt<ShimConnection>> {
  const { sandboxId, signal, taskApiAddress, taskApiVersion } = options;
  const endpoint =
    taskApiAddress === undefined || taskApiAddress === ""
      ? await findSandboxEndpoint(shims, roots, bundle, { sandboxId, binary })
      : parseTaskApiAddress(taskApiAddress, taskApiVersion ?? 0);
  if (endpoint === undefined)
    return await startShim(shims, bundle, binary, { options: effectiveOptions(options), signal });
  bundle.writeShimPath(binary);
  if (sandboxId !== "") bundle.writeSandboxId(sandboxId);
  bundle.writeEndpoint(endpoint);
  return { made: await shims.connections.connect(endpoint, bundle.namespace, CONNECT_TIMEOUT_MS) };
}

/**
 * This reads the address of a sandbox that takes tasks: `<ttrpc|grpc>+unix://…`.
 *
 * @throws invalid_argument - another form
 * @throws unimplemented - another transport than unix sockets, or a version below 3
 */
function parseTaskApiAddress(address: string, version: number): ShimEndpoint {
  const [, protocol, rest = ""] = /^(ttrpc|grpc)\+(.+)$/.exec(address) ?? [];
  if (protocol !== "ttrpc" && protocol !== "grpc") throw invalidArgument(`task api address ${JSON.stringify(address)}`);
  if (!rest.startsWith("unix://"))
    throw unimplemented(`task api address ${JSON.stringify(address)}: only unix sockets`);
  if (version !== 3) throw unimplemented(`task api version ${version}: a sandbox must speak version 3`);
  return { version, address: rest, protocol };
}

/** @throws not_found - the sandbox has a record, and no shim */
async function findSandboxEndpoint(
  shims: LocalShimManager,
  roots: ChooseRoots,
  bundle: Bundle,
  { sandboxId, binary }: { readonly sandboxId: string; readonly binary: string },
): Promise<ShimEndpoint | undefined> {
  const { namespace, id } = bundle;
  const sandbox = shims.sandboxEndpoints.get(`${namespace}/${sandboxId}`);
  if (sandbox !== undefined) return sandbox.version >= 3 ? sandbox : undefined;
  if (sandboxId === "" || sandboxId === id) return undefined;
  try {
    const endpoint = await new Bundle(roots, { namespace, id: sandboxId }).readEndpoint();
    // Our own shim groups by itself, and must be asked for a place.
    return endpoint.version >= 3 && !shims.isOwn(binary) ? endpoint : undefined;
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
  if (await roots.hasSandbox?.(namespace, sandboxId)) throw notFound(`shim of sandbox ${sandboxId}`);
  return undefined;
}

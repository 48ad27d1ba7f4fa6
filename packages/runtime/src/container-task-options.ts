import { type Options, OptionsSchema } from "@berth/api/containerd/runc/v1/options";
import type { AnyValue, CallOptions } from "@berth/core/any";
import type { Container } from "@berth/core/containers";
import type { NamespacedStores } from "@berth/core/metadata";
import type { TaskCreateOptions } from "@berth/core/runtime";
import { invalidArgument, messageOf } from "@berth/errors";
import { fromBinary } from "@bufbuild/protobuf";

/** This takes from a container's record what its task is made of, with the mounts of its snapshot. @throws not_found, invalid_argument */
export async function containerTaskOptions(
  container: Container,
  stores: NamespacedStores,
  { signal }: CallOptions = {},
): Promise<Omit<TaskCreateOptions, "io" | "checkpoint">> {
  const { id, spec, runtime, sandboxId, snapshotter, snapshotKey } = container;
  if (spec === undefined) throw invalidArgument(`container ${id} has no spec`);
  const rootfs = snapshotKey === "" ? [] : await stores.snapshotter(snapshotter).mounts(snapshotKey, { signal });
  return {
    spec,
    rootfs,
    runtime: runtime.name,
    sandboxId,
    signal,
    ...(runtime.options === undefined ? {} : { runtimeOptions: runtime.options }),
    ...taskApi(decodeRuncOptions(runtime.options)),
  };
}

/** The sandbox endpoint that runc's options once named; nothing where they name none. */
export function taskApi(options: Options | undefined): Pick<TaskCreateOptions, "taskApiAddress" | "taskApiVersion"> {
  if (options === undefined || options.taskApiAddress === "") return {};
  return { taskApiAddress: options.taskApiAddress, taskApiVersion: options.taskApiVersion };
}

/** This reads runc's options; `undefined` for those of another runtime. @throws invalid_argument - they are malformed */
export function decodeRuncOptions(options: AnyValue | undefined): Options | undefined {
  if (options === undefined || !options.typeUrl.endsWith(OptionsSchema.typeName)) return undefined;
  try {
    return fromBinary(OptionsSchema, options.value);
  } catch (error) {
    throw invalidArgument(`runtime options: ${messageOf(error)}`, { cause: error });
  }
}

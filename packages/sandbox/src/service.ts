import { Controller } from "@berth/api/containerd/services/sandbox/v1/sandbox";
import {
  type SandboxCreate,
  SandboxCreateSchema,
  SandboxExitSchema,
  SandboxStartSchema,
} from "@berth/api/containerd/events/sandbox";
import type { Sandbox as ProtoSandbox } from "@berth/api/containerd/types/sandbox";
import type { EventPublisher } from "@berth/core/events";
import { fromProtoLabels, toProtoLabels } from "@berth/core/labels";
import type { SandboxController } from "@berth/core/sandbox-controller";
import type { SandboxSpec } from "@berth/core/sandboxes";
import { toProtoTimestampNs } from "@berth/core/timestamp";
import { invalidArgument, notFound, unknown } from "@berth/errors";
import { namespaceOf } from "@berth/rpc";
import { create, type DescMessage, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";

export { Controller };

/** What the service of controllers works with. */
export interface SandboxControllersOptions {
  /** By the names that requests call them with. */
  readonly controllers: ReadonlyMap<string, SandboxController>;
  readonly events: EventPublisher;
}

/**
 * This serves `containerd.services.sandbox.v1.Controller` over any controllers: each request names its own.
 *
 * @see containerd plugins/services/sandbox/controller_service.go
 */
export function createSandboxControllersService({
  controllers,
  events,
}: SandboxControllersOptions): ServiceImpl<typeof Controller> {
  const controllerOf = ({ sandboxer }: { readonly sandboxer: string }): SandboxController => {
    if (sandboxer === "") throw invalidArgument("sandboxer must be given");
    const controller = controllers.get(sandboxer);
    if (controller === undefined) throw notFound(`no sandbox controller ${JSON.stringify(sandboxer)}`);
    return controller;
  };
  const publish = async <D extends DescMessage>(
    context: HandlerContext,
    topic: string,
    schema: D,
    event: MessageInitShape<D>,
  ) => {
    const value = toBinary(schema, create(schema, event));
    await events.publish(namespaceOf(context), topic, { typeUrl: schema.typeName, value });
  };
  return { ...lifeHandlers(controllerOf, publish), ...queryHandlers(controllerOf) };
}

type Handlers<K extends keyof ServiceImpl<typeof Controller>> = Pick<ServiceImpl<typeof Controller>, K>;
type ControllerOf = (request: { readonly sandboxer: string }) => SandboxController;
type Publish = <D extends DescMessage>(
  context: HandlerContext,
  topic: string,
  schema: D,
  event: MessageInitShape<D>,
) => Promise<void>;

function lifeHandlers(
  controllerOf: ControllerOf,
  publish: Publish,
): Handlers<"create" | "start" | "stop" | "wait" | "shutdown"> {
  return {
    async create(request, context) {
      const { sandboxId, sandbox, rootfs, options, netnsPath, annotations } = request;
      const controller = controllerOf(request);
      await controller.create(namespaceOf(context), fromProtoSandbox(sandboxId, sandbox), {
        rootfs,
        netnsPath,
        annotations: fromProtoLabels(annotations),
        signal: context.signal,
        ...(options === undefined ? {} : { options }),
      });
      const event: Pick<SandboxCreate, "sandboxId"> = { sandboxId };
      await publish(context, "/sandboxes/create", SandboxCreateSchema, event);
      return { sandboxId };
    },
    async start(request, context) {
      const { sandboxId } = request;
      const started = await controllerOf(request).start(namespaceOf(context), sandboxId, { signal: context.signal });
      await publish(context, "/sandboxes/start", SandboxStartSchema, { sandboxId });
      const { createdAtNs, ...answer } = started;
      return { ...answer, sandboxId, createdAt: toProtoTimestampNs(createdAtNs) };
    },
    async stop(request, context) {
      const { sandboxId, timeoutSecs: timeoutSeconds } = request;
      await controllerOf(request).stop(namespaceOf(context), sandboxId, { timeoutSeconds, signal: context.signal });
      return {};
    },
    async wait(request, context) {
      const { sandboxId } = request;
      const ended = await controllerOf(request).wait(namespaceOf(context), sandboxId, { signal: context.signal });
      const answer = { exitStatus: ended.exitStatus, exitedAt: toProtoTimestampNs(ended.exitedAtNs) };
      await publish(context, "/sandboxes/exit", SandboxExitSchema, { sandboxId, ...answer });
      return answer;
    },
    async shutdown(request, context) {
      await controllerOf(request).shutdown(namespaceOf(context), request.sandboxId, { signal: context.signal });
      return {};
    },
  };
}

function queryHandlers(controllerOf: ControllerOf): Handlers<"platform" | "status" | "metrics" | "update"> {
  return {
    async platform(request, context) {
      const { signal } = context;
      const { sandboxId } = request;
      const { osFeatures = [], ...platform } = await controllerOf(request).platform(namespaceOf(context), sandboxId, {
        signal,
      });
      return { platform: { ...platform, osFeatures: [...osFeatures] } };
    },
    async status(request, context) {
      const { sandboxId, verbose } = request;
      const controller = controllerOf(request);
      const status = await controller.status(namespaceOf(context), sandboxId, { verbose, signal: context.signal });
      const { info, createdAtNs, exitedAtNs, ...answer } = status;
      return {
        ...answer,
        sandboxId,
        info: toProtoLabels(info),
        ...(createdAtNs === 0n ? {} : { createdAt: toProtoTimestampNs(createdAtNs) }),
        ...(exitedAtNs === 0n ? {} : { exitedAt: toProtoTimestampNs(exitedAtNs) }),
      };
    },
    async metrics(request, context) {
      const { signal } = context;
      const found = await controllerOf(request).metrics(namespaceOf(context), request.sandboxId, { signal });
      const { timestampNs, ...metrics } = found;
      return { metrics: { ...metrics, timestamp: toProtoTimestampNs(timestampNs) } };
    },
    async update(request, context) {
      const { sandboxId, sandbox, fields } = request;
      const controller = controllerOf(request);
      if (sandbox === undefined) throw unknown("sandbox must be given");
      const record = fromProtoSandbox(sandboxId, sandbox);
      await controller.update(namespaceOf(context), sandboxId, record, { fields, signal: context.signal });
      return {};
    },
  };
}

/** Clients of before containerd 2 send the id alone. */
function fromProtoSandbox(sandboxId: string, sandbox: ProtoSandbox | undefined): SandboxSpec {
  const options = sandbox?.runtime?.options;
  return {
    id: sandboxId,
    labels: fromProtoLabels(sandbox?.labels ?? {}),
    runtime: { name: sandbox?.runtime?.name ?? "", ...(options === undefined ? {} : { options }) },
    ...(sandbox?.spec === undefined ? {} : { spec: sandbox.spec }),
    sandboxer: sandbox?.sandboxer ?? "",
    extensions: new Map(Object.entries(sandbox?.extensions ?? {})),
  };
}

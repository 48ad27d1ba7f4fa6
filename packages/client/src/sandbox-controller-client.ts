import type { Client, Transport } from "@connectrpc/connect";
import { Controller } from "@berth/api/containerd/services/sandbox/v1/sandbox";
import type { CallOptions } from "@berth/core/any";
import { toProtoMount } from "@berth/core/mount";
import { fromProtoLabels, toProtoLabels } from "@berth/core/labels";
import type { Namespace } from "@berth/core/namespaces";
import type {
  SandboxController,
  SandboxCreateOptions,
  SandboxInstance,
  SandboxMetrics,
  SandboxStatus,
} from "@berth/core/sandbox-controller";
import type { SandboxSpec } from "@berth/core/sandboxes";
import { fromProtoTimestampNs } from "@berth/core/timestamp";
import type { Platform } from "@berth/oci";
import { createClient } from "@berth/rpc/client";

import { callOptions } from "./call-options.ts";
import { toProtoSandbox } from "./sandboxes-client.ts";
import { fromProtoAny, present, toProtoAny } from "./wire-values.ts";

/** This makes a client of the sandbox controller that goes by the name `sandboxer` at the other end of `transport`. */
export function createSandboxControllerClient(transport: Transport, sandboxer: string): SandboxController {
  return new RemoteSandboxController(createClient(Controller, transport), sandboxer);
}

class RemoteSandboxController implements SandboxController {
  readonly #client: Client<typeof Controller>;
  readonly #sandboxer: string;

  constructor(client: Client<typeof Controller>, sandboxer: string) {
    this.#client = client;
    this.#sandboxer = sandboxer;
  }

  async create(namespace: Namespace, sandbox: SandboxSpec, options: SandboxCreateOptions): Promise<void> {
    const { rootfs, netnsPath, annotations } = options;
    await this.#client.create(
      {
        ...this.#name(sandbox.id),
        sandbox: toProtoSandbox(sandbox),
        rootfs: rootfs.map(toProtoMount),
        netnsPath,
        annotations: toProtoLabels(annotations),
        ...(options.options === undefined ? {} : { options: toProtoAny(options.options) }),
      },
      callOptions(options, namespace),
    );
  }

  async start(namespace: Namespace, id: string, options?: CallOptions): Promise<SandboxInstance> {
    const answer = await this.#client.start(this.#name(id), callOptions(options, namespace));
    const { pid, createdAt, address, version, spec } = answer;
    const instance = { id, pid, createdAtNs: fromProtoTimestampNs(createdAt), address, version };
    return { ...instance, ...(spec === undefined ? {} : { spec: fromProtoAny(spec) }) };
  }

  async platform(namespace: Namespace, id: string, options?: CallOptions): Promise<Platform> {
    const { platform } = await this.#client.platform(this.#name(id), callOptions(options, namespace));
    const { os, architecture, variant, osVersion } = present(platform, "platform");
    return { os, architecture, ...(variant === "" ? {} : { variant }), ...(osVersion === "" ? {} : { osVersion }) };
  }

  async stop(
    namespace: Namespace,
    id: string,
    options?: CallOptions & { readonly timeoutSeconds?: number },
  ): Promise<void> {
    const timeoutSecs = options?.timeoutSeconds ?? 0;
    await this.#client.stop({ ...this.#name(id), timeoutSecs }, callOptions(options, namespace));
  }

  async wait(namespace: Namespace, id: string, options?: CallOptions) {
    const { exitStatus, exitedAt } = await this.#client.wait(this.#name(id), callOptions(options, namespace));
    return { exitStatus, exitedAtNs: fromProtoTimestampNs(exitedAt) };
  }

  async status(
    namespace: Namespace,
    id: string,
    options?: CallOptions & { readonly verbose?: boolean },
  ): Promise<SandboxStatus> {
    const verbose = options?.verbose ?? false;
    const status = await this.#client.status({ ...this.#name(id), verbose }, callOptions(options, namespace));
    const { pid, state, info, createdAt, exitedAt, extra, address, version } = status;
    return {
      id,
      pid,
      state,
      info: fromProtoLabels(info),
      createdAtNs: fromProtoTimestampNs(createdAt),
      exitedAtNs: fromProtoTimestampNs(exitedAt),
      address,
      version,
      ...(extra === undefined ? {} : { extra: fromProtoAny(extra) }),
    };
  }

  async shutdown(namespace: Namespace, id: string, options?: CallOptions): Promise<void> {
    await this.#client.shutdown(this.#name(id), callOptions(options, namespace));
  }

  async metrics(namespace: Namespace, id: string, options?: CallOptions): Promise<SandboxMetrics> {
    const { metrics } = await this.#client.metrics(this.#name(id), callOptions(options, namespace));
    const { timestamp, data, id: measured } = present(metrics, "metrics");
    const timestampNs = fromProtoTimestampNs(timestamp);
    return { id: measured, timestampNs, ...(data === undefined ? {} : { data: fromProtoAny(data) }) };
  }

  async update(
    namespace: Namespace,
    id: string,
    sandbox: SandboxSpec,
    options: CallOptions & { readonly fields: readonly string[] },
  ): Promise<void> {
    const request = { ...this.#name(id), sandbox: toProtoSandbox(sandbox), fields: [...options.fields] };
    await this.#client.update(request, callOptions(options, namespace));
  }

  #name(sandboxId: string): { readonly sandboxId: string; readonly sandboxer: string } {
    return { sandboxId, sandboxer: this.#sandboxer };
  }
}

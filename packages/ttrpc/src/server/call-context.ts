import type { DescMethod } from "@bufbuild/protobuf";
import { LazyContext } from "@berth/core/call-context";

import type { MetadataPair } from "../wire/metadata.ts";
import { fromMetadata } from "../wire/metadata.ts";

/** The context of a ttrpc call. Answers have no headers: what a handler puts into those goes nowhere. */
export class CallContext extends LazyContext {
  readonly protocolName = "ttrpc";
  readonly requestMethod = "POST";
  readonly #metadata: readonly MetadataPair[];

  constructor(method: DescMethod, metadata: readonly MetadataPair[], timeoutMs: number | undefined) {
    super(method, timeoutMs);
    this.#metadata = metadata;
  }

  get url(): string {
    return `ttrpc:///${this.service.typeName}/${this.method.name}`;
  }

  protected readHeaders(): Headers {
    return fromMetadata(this.#metadata);
  }

  protected readHeader(name: string): string | undefined {
    return this.#metadata.find((pair) => pair.key.toLowerCase() === name)?.value;
  }
}

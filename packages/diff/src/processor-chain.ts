import type { AnyValue } from "@berth/core/any";
import { failedPrecondition } from "@berth/errors";
import { MediaType } from "@berth/oci";

import { layerCompression } from "./layer-media-type.ts";

/**
 * A program that turns layers of one media type into another, as the table `stream_processors` of the configuration describes it: it
 * reads the layer from its standard input and writes to its standard output.
 */
export interface StreamProcessor {
  readonly id: string;
  /** Media types that it takes. */
  readonly accepts: readonly string[];
  /** Media type of what it makes. */
  readonly returns: string;
  /** A path, or a name that is looked up on PATH. */
  readonly path: string;
  readonly args: readonly string[];
  /** `NAME=value`, put behind the environment of the daemon. */
  readonly env: readonly string[];
}

/** One program of a chain. */
export interface ProcessorStep {
  readonly processor: StreamProcessor;
  /** The type of what it reads. */
  readonly mediaType: string;
  readonly payload: AnyValue | undefined;
}

/** How a layer becomes a tar: through programs, and then by decompression. */
export interface ProcessorChain {
  readonly steps: readonly ProcessorStep[];
  readonly compression: "detect" | "none";
}

/** More would be a circle. */
const MAX_STEPS = 16;

/**
 * This finds the programs for a media type: of those that accept it the one registered last, and so on with what it returns, until
 * that is a tar or one of the types that are known here.
 *
 * @param payloads by the id of the processor
 * @throws unimplemented - nothing takes the type, or one on the way
 * @throws failed_precondition - the processors send the layer round in a circle
 * @see containerd core/diff/stream.go, GetProcessor
 */
export function planProcessors(
  mediaType: string,
  processors: readonly StreamProcessor[],
  payloads: ReadonlyMap<string, AnyValue> = new Map(),
): ProcessorChain {
  const steps: ProcessorStep[] = [];
  for (let type = mediaType; ;) {
    const processor = processors.findLast(({ accepts }) => accepts.includes(type));
    if (processor === undefined) return { steps, compression: layerCompression(type) };
    if (steps.length === MAX_STEPS) throw failedPrecondition(`stream processors of ${mediaType} never come to an end`);
    steps.push({ processor, mediaType: type, payload: payloads.get(processor.id) });
    type = processor.returns;
    if (type === MediaType.ociLayer) return { steps, compression: "none" };
  }
}

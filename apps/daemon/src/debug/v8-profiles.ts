import type { HeapProfiler, Profiler, Runtime } from "node:inspector";
import { Session } from "node:inspector/promises";
import { getHeapSnapshot } from "node:v8";
import type { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";

import { aborted, failedPrecondition } from "@berth/errors";

import type { Frame } from "./profile-builder.ts";
import { ProfileBuilder } from "./profile-builder.ts";

/** As Go: a hundred samples a second, and one allocation in 512 KiB. */
const CPU_INTERVAL_US = 10_000;
const HEAP_INTERVAL_BYTES = 512 * 1024;
/** How long to look, and whether anybody still waits for it. */
export interface Span {
  readonly seconds: number;
  readonly signal: AbortSignal;
}

/** A place where memory was allocated that is still in use. */
export interface HeapSite {
  readonly stack: readonly Frame[];
  readonly bytes: number;
}

/**
 * Profiles of this process, by V8's own means. Allocations are sampled from the beginning; all else costs nothing until it is asked for.
 * Disposing it ends the sampling.
 */
export class V8Profiles implements Disposable {
  readonly #session = new Session();
  #isBusy = false;

  /** This begins to sample allocations. */
  static async start(): Promise<V8Profiles> {
    const profiles = new V8Profiles();
    profiles.#session.connect();
    await profiles.#session.post("HeapProfiler.startSampling", { samplingInterval: HEAP_INTERVAL_BYTES });
    return profiles;
  }

  [Symbol.dispose](): void {
    this.#session.disconnect();
  }

  /** This returns where the processor is, as V8 writes it down. @throws failed_precondition - somebody is looking already */
  async cpu(span: Span): Promise<Profiler.Profile> {
    return await this.#alone(async () => {
      await this.#session.post("Profiler.enable");
      try {
        await this.#session.post("Profiler.setSamplingInterval", { interval: CPU_INTERVAL_US });
        await this.#session.post("Profiler.start");
        await wait(span);
        return (await this.#session.post("Profiler.stop")).profile;
      } finally {
        await this.#session.post("Profiler.disable");
      }
    });
  }

  /** This returns where memory was allocated that is in use, largest first; after a collection, if it is to be of what must stay. */
  async heap(options: { readonly collect: boolean }): Promise<readonly HeapSite[]> {
    if (options.collect) await this.#session.post("HeapProfiler.collectGarbage");
    const { profile } = await this.#session.post("HeapProfiler.getSamplingProfile");
    return heapSites(profile.head).toSorted((a, b) => b.bytes - a.bytes);
  }

  /** This returns all objects, for V8's tools. The process does nothing else while they are counted. */
  snapshot(): Readable {
    return getHeapSnapshot();
  }

  async #alone<T>(look: () => Promise<T>): Promise<T> {
    if (this.#isBusy) throw failedPrecondition("a profile is being taken already");
    this.#isBusy = true;
    try {
      return await look();
    } finally {
      this.#isBusy = false;
    }
  }
}

/** This writes a profile of V8 as one of Go's: samples, and time on the processor. */
export function cpuProfileToPprof(profile: Profiler.Profile): Uint8Array {
  const builder = new ProfileBuilder(
    [
      ["samples", "count"],
      ["cpu", "nanoseconds"],
    ],
    [["cpu", "nanoseconds"], CPU_INTERVAL_US * 1000],
  );
  builder.durationMs = (profile.endTime - profile.startTime) / 1000;
  const nodes = new Map(profile.nodes.map((node) => [node.id, node]));
  const parents = new Map(profile.nodes.flatMap(({ id, children = [] }) => children.map((child) => [child, id])));
  const seen = new Map<number, { count: number; us: number }>();
  for (const [i, id] of (profile.samples ?? []).entries()) {
    const total = seen.get(id) ?? { count: 0, us: 0 };
    total.count += 1;
    total.us += profile.timeDeltas?.[i] ?? 0;
    seen.set(id, total);
  }
  for (const [id, { count, us }] of seen) {
    const stack: Frame[] = [];
    for (let node = nodes.get(id); node !== undefined; node = nodes.get(parents.get(node.id) ?? -1)) {
      stack.push(frameOf(node.callFrame));
    }
    // Time without work is no time on the processor.
    if (stack[0]?.name !== "(idle)") builder.add(withoutRoot(stack), [count, us * 1000]);
  }
  return builder.finish();
}

/** This writes where memory was allocated as one of Go's heap profiles. */
export function heapSitesToPprof(sites: readonly HeapSite[]): Uint8Array {
  const builder = new ProfileBuilder([["inuse_space", "bytes"]], [["space", "bytes"], HEAP_INTERVAL_BYTES]);
  for (const { stack, bytes } of sites) builder.add(stack, [bytes]);
  return builder.finish();
}

function heapSites(head: HeapProfiler.SamplingHeapProfileNode): HeapSite[] {
  const sites: HeapSite[] = [];
  const visit = (node: HeapProfiler.SamplingHeapProfileNode, above: readonly Frame[]): void => {
    const stack = [frameOf(node.callFrame), ...above];
    if (node.selfSize > 0) sites.push({ stack: withoutRoot(stack), bytes: node.selfSize });
    for (const child of node.children) visit(child, stack);
  };
  visit(head, []);
  return sites;
}

function frameOf({ functionName, url, lineNumber }: Runtime.CallFrame): Frame {
  return { name: functionName || "(anonymous)", file: url, line: lineNumber + 1 };
}

function withoutRoot(stack: readonly Frame[]): readonly Frame[] {
  return stack.length > 1 && stack.at(-1)?.name === "(root)" ? stack.slice(0, -1) : stack;
}

async function wait({ seconds, signal }: Span): Promise<void> {
  try {
    await sleep(seconds * 1000, undefined, { signal });
  } catch (error) {
    throw aborted("nobody waits for it any more", { cause: error });
  }
}

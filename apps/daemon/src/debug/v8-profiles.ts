import type { HeapProfiler, Profiler, Runtime } from "node:inspector";
import { Session } from "node:inspector/promises";
import { getHeapSnapshot } from "node:v8";
import type { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";

import { raceSignal } from "@berth/core/race-signal";
import { aborted, failedPrecondition } from "@berth/errors";

import type { Frame } from "./profile-builder.ts";
import { ProfileBuilder } from "./profile-builder.ts";

/** As Go: a hundred samples a second, and one allocation in 512 KiB. */
const CPU_INTERVAL_US = 10_000;
const HEAP_INTERVAL_BYTES = 512 * 1024;
/**
 * What Node can tell of what it does, but for async_hooks: where more than some ten thousand events a second are traced, Node 24 may abort
 * while it hands them out (a failed assertion in inspector_agent.cc), and each promise makes two of those.
 */
const TRACE_CATEGORIES = [
  "v8",
  "node.perf",
  "node.http",
  "node.net.native",
  "node.fs.sync",
  "node.fs.async",
  "node.threadpoolwork.async",
];

/** A trace is kept in memory until it is over; it ends early at this size. */
const MAX_TRACE_BYTES = 32 * 1024 * 1024;
/** Within this Node has handed out what it saw before the end of a trace. */
const TRACE_END_MS = 10_000;

/** How long to look, and whether anybody still waits for it. */
export interface Span {
  readonly seconds: number;
  readonly signal: AbortSignal;
}

/** What Node did. */
export interface Trace {
  /** Each as JSON. */
  readonly events: readonly string[];
  /** It was ended before its time, for it was too large. */
  readonly isCut: boolean;
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

  /**
   * This returns what Node does, as events that trace viewers understand, until there are `maxBytes` of them.
   * @throws failed_precondition - somebody is looking already
   */
  async trace(
    span: Span,
    { maxBytes = MAX_TRACE_BYTES }: { readonly maxBytes?: number | undefined } = {},
  ): Promise<Trace> {
    return await this.#alone(async () => {
      const collected = new CollectedTrace(maxBytes);
      const collect = ({ params }: TraceData): void => collected.add(params.value);
      const complete = Promise.withResolvers<void>();
      const session = this.#session;
      session.on("NodeTracing.dataCollected", collect);
      session.once("NodeTracing.tracingComplete", complete.resolve);
      try {
        await session.post("NodeTracing.start", { traceConfig: { includedCategories: TRACE_CATEGORIES } });
        const over = new AbortController();
        const signal = AbortSignal.any([span.signal, over.signal]);
        try {
          await Promise.race([wait({ ...span, signal }), collected.full]);
        } finally {
          over.abort();
          await session.post("NodeTracing.stop");
          await raceSignal(complete.promise, AbortSignal.timeout(TRACE_END_MS));
        }
      } finally {
        session.off("NodeTracing.dataCollected", collect);
        session.off("NodeTracing.tracingComplete", complete.resolve);
      }
      return collected;
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
    if (this.#isBusy) throw failedPrecondition("a profile or trace is being taken already");
    this.#isBusy = true;
    try {
      return await look();
    } finally {
      this.#isBusy = false;
    }
  }
}

interface TraceData {
  readonly params: { readonly value: readonly object[] };
}

class CollectedTrace implements Trace {
  readonly events: string[] = [];
  isCut = false;
  #left: number;
  readonly #full = Promise.withResolvers<void>();

  constructor(maxBytes: number) {
    this.#left = maxBytes;
  }

  /** Resolves when no more is taken. */
  get full(): Promise<void> {
    return this.#full.promise;
  }

  add(values: readonly object[]): void {
    for (const value of values) {
      if (this.isCut) return;
      const event = JSON.stringify(value);
      this.#left -= event.length;
      if (this.#left >= 0) this.events.push(event);
      else {
        this.isCut = true;
        this.#full.resolve();
      }
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

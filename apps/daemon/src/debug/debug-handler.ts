import type { IncomingMessage, ServerResponse } from "node:http";
import { pipeline } from "node:stream/promises";

import type { Logger } from "@berth/core/log";
import { invalidArgument, isAborted, isFailedPrecondition, isInvalidArgument, messageOf } from "@berth/errors";

import {
  countResources,
  countsToPprof,
  countThreads,
  formatCounts,
  formatHandles,
  loopTimeToPprof,
  processVariables,
} from "./process-state.ts";
import type { HeapSite } from "./v8-profiles.ts";
import { cpuProfileToPprof, heapSitesToPprof, V8Profiles } from "./v8-profiles.ts";

/** No profile takes longer than this. */
const MAX_SECONDS = 3600;
const SITES_SHOWN = 50;

/** What is asked of a path. */
interface Question {
  readonly query: URLSearchParams;
  readonly body: IncomingMessage;
  readonly signal: AbortSignal;
}

/** What is answered: bytes of a file with that name, or text. */
type Answer = { readonly file: string; readonly bytes: Uint8Array } | string;

/** Who may ask. */
export interface DebugHandlerOptions {
  /** Whether to hand out what is in the memory of the process: passwords are among it. */
  readonly allowSnapshots: boolean;
  readonly log: Logger;
}

/** Answers as `net/http/pprof` and `expvar` of Go do, with what V8 and Node know. Disposing it ends the sampling of allocations. */
export class DebugHandler implements Disposable {
  readonly #profiles: V8Profiles;
  readonly #options: DebugHandlerOptions;
  readonly #begin = performance.eventLoopUtilization();
  readonly #routes: ReadonlyMap<
    string,
    readonly [description: string, answer: (question: Question) => Promise<Answer> | Answer]
  >;

  private constructor(profiles: V8Profiles, options: DebugHandlerOptions) {
    this.#profiles = profiles;
    this.#options = options;
    this.#routes = new Map([
      ["/debug/pprof/block", ["time that the event loop was busy", (question) => this.#block(question)]],
      ["/debug/pprof/cmdline", ["the command line, its parts with NUL between", () => process.argv.join("\0")]],
      ["/debug/pprof/goroutine", ["what the process waits for; debug=2 shows each handle", goroutine]],
      [
        "/debug/pprof/heap",
        ["where memory in use was allocated; gc=1 collects garbage first", (question) => this.#heap(question)],
      ],
      ["/debug/pprof/profile", ["where the processor is for so many seconds (30)", (question) => this.#cpu(question)]],
      ["/debug/pprof/symbol", ["functions by address: there are none, profiles have names", () => "num_symbols: 0\n"]],
      ["/debug/pprof/threadcreate", ["threads of the process", threads]],
      ["/debug/v8/cpuprofile", ["as profile, in V8's format", (question) => this.#v8Cpu(question)]],
      ["/debug/vars", ["counters", () => `${JSON.stringify(processVariables(), undefined, 2)}\n`]],
    ]);
  }

  /** This begins to sample allocations. */
  static async start(options: DebugHandlerOptions): Promise<DebugHandler> {
    return new DebugHandler(await V8Profiles.start(), options);
  }

  [Symbol.dispose](): void {
    this.#profiles[Symbol.dispose]();
  }

  /** This answers a request. It does not throw. */
  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController();
    response.once("close", () => gone.abort());
    response.on("error", () => {});
    response.setHeader("X-Content-Type-Options", "nosniff");
    try {
      const { pathname, searchParams } = new URL(request.url ?? "/", "http://localhost");
      if (pathname === "/debug/v8/heapsnapshot" && this.#options.allowSnapshots) await this.#sendSnapshot(response);
      else await this.#answer(pathname, { query: searchParams, body: request, signal: gone.signal }, response);
    } catch (error) {
      this.#options.log.debug("debug request failed", { error: messageOf(error) });
      if (response.headersSent || isAborted(error)) response.destroy();
      else
        send(
          response,
          isInvalidArgument(error) ? 400 : isFailedPrecondition(error) ? 409 : 500,
          `${messageOf(error)}\n`,
        );
    }
  }

  async #answer(path: string, question: Question, response: ServerResponse): Promise<void> {
    const route = this.#routes.get(path);
    if (route !== undefined) send(response, 200, await route[1](question));
    else if (path === "/debug/pprof/") send(response, 200, this.#index());
    else if (path === "/debug/pprof") response.writeHead(301, { location: "/debug/pprof/" }).end();
    else send(response, 404, "unknown profile\n");
  }

  #index(): string {
    const lines = [...this.#routes].map(([path, [description]]) => `${path}\t${description}\n`);
    return (
      lines.join("") + (this.#options.allowSnapshots ? "/debug/v8/heapsnapshot\tall objects, in V8's format\n" : "")
    );
  }

  async #sendSnapshot(response: ServerResponse): Promise<void> {
    const snapshot = this.#profiles.snapshot();
    response.writeHead(200, headersOf("berthd.heapsnapshot"));
    await pipeline(snapshot, response);
  }

  async #cpu({ query, signal }: Question): Promise<Answer> {
    const profile = await this.#profiles.cpu({ seconds: secondsOf(query, 30), signal });
    return { file: "profile", bytes: cpuProfileToPprof(profile) };
  }

  async #v8Cpu({ query, signal }: Question): Promise<Answer> {
    const profile = await this.#profiles.cpu({ seconds: secondsOf(query, 30), signal });
    return { file: "berthd.cpuprofile", bytes: Buffer.from(JSON.stringify(profile)) };
  }

  async #heap({ query }: Question): Promise<Answer> {
    const sites = await this.#profiles.heap({ collect: numberOf(query, "gc", 0) > 0 });
    return isText(query) ? formatSites(sites) : { file: "heap", bytes: heapSitesToPprof(sites) };
  }

  #block({ query }: Question): Answer {
    const { active: busyMs, idle } = performance.eventLoopUtilization(this.#begin);
    const time = { busyMs, totalMs: busyMs + idle };
    if (!isText(query)) return { file: "block", bytes: loopTimeToPprof(time) };
    return `event loop: busy for ${busyMs.toFixed(3)} ms of ${time.totalMs.toFixed(3)} ms\n`;
  }
}

function goroutine({ query }: Question): Answer {
  const counts = countResources();
  if (!isText(query)) return { file: "goroutine", bytes: countsToPprof("goroutine", counts) };
  const text = formatCounts("goroutine", counts);
  return numberOf(query, "debug", 0) >= 2 ? `${text}\n${formatHandles()}` : text;
}

function threads({ query }: Question): Answer {
  const counts = countThreads();
  if (isText(query)) return formatCounts("threadcreate", counts);
  return { file: "threadcreate", bytes: countsToPprof("threadcreate", counts) };
}

function formatSites(sites: readonly HeapSite[]): string {
  const total = sites.reduce((sum, { bytes }) => sum + bytes, 0);
  const shown = sites.slice(0, SITES_SHOWN).map(({ stack, bytes }) => {
    const frames = stack.map(({ name, file, line }) => `#\t${name}\t${file}:${line}\n`).join("");
    return `${bytes} bytes\n${frames}`;
  });
  const usage = Object.entries(process.memoryUsage()).map(([name, bytes]) => `# ${name} = ${bytes}\n`);
  return [`heap profile: ${total} bytes in use, by samples\n`, ...shown, ...usage].join("\n");
}

function isText(query: URLSearchParams): boolean {
  return numberOf(query, "debug", 0) > 0;
}

function secondsOf(query: URLSearchParams, preset: number): number {
  const seconds = numberOf(query, "seconds", preset);
  if (seconds > MAX_SECONDS) throw invalidArgument(`seconds: at most ${MAX_SECONDS}`);
  return seconds > 0 ? seconds : preset;
}

function numberOf(query: URLSearchParams, name: string, preset: number): number {
  const text = query.get(name);
  const number = text === null || text === "" ? preset : Number(text);
  if (!Number.isFinite(number)) throw invalidArgument(`${name}: expected a number, got ${JSON.stringify(text)}`);
  return number;
}

function send(response: ServerResponse, status: number, answer: Answer): void {
  if (typeof answer === "string") {
    response.writeHead(status, { "content-type": "text/plain; charset=utf-8" }).end(answer);
  } else response.writeHead(status, headersOf(answer.file)).end(answer.bytes);
}

function headersOf(file: string): Record<string, string> {
  return { "content-type": "application/octet-stream", "content-disposition": `attachment; filename="${file}"` };
}

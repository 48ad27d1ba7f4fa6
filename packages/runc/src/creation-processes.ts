import { readdirSync, readFileSync, readlinkSync, realpathSync } from "node:fs";
import { basename, dirname, join } from "node:path";

/** What processes of a creation are known by. */
export interface CreationTraces {
  readonly bundle: string;
  /** Where the runtime keeps its state of the container; `undefined` where that was another's before. */
  readonly state: string | undefined;
  /** {@link clockTicks} before the runtime was started. */
  readonly since: number;
}

interface ProcessFacts {
  readonly parent: number;
  /** In ticks since the start of the machine. */
  readonly startedAt: number;
}

const TICKS_PER_SECOND = 100; // USER_HZ, on both architectures

/** This returns the time by which the kernel says when a process was started, never later than it is. */
export function clockTicks(): number {
  return Math.floor(Number.parseFloat(readFileSync("/proc/uptime", "utf8")) * TICKS_PER_SECOND);
}

/**
 * Tells the processes that one creation of a container has made from all others, by what the kernel says of them: commands that make a
 * container of this bundle, runc's `init` of this state before it becomes the container's program, and what descends from one of these.
 * A process that was known once is known as long as it lives, whatever becomes of its parents.
 */
export class CreationProcesses {
  readonly #traces: CreationTraces;
  readonly #fifo: string | undefined;
  /** Process id → when it was started. */
  readonly #known = new Map<number, number>();

  constructor(traces: CreationTraces) {
    this.#traces = traces;
    this.#fifo = traces.state === undefined ? undefined : join(resolveParent(traces.state), "exec.fifo");
  }

  /** This finds the commands of a runtime that make the container. */
  runtimes(): readonly number[] {
    const processes = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
    return processes.map(Number).filter((pid) => pid !== process.pid && this.#isRuntime(pid));
  }

  /** Whether this creation has made a process; one that cannot be told is another's. */
  isOwn(pid: number): boolean {
    const facts = processFacts(pid);
    if (facts === undefined) return false;
    if (this.#known.get(pid) === facts.startedAt) return true;
    const isOwn = this.#descends(pid, facts);
    if (isOwn) this.#known.set(pid, facts.startedAt);
    return isOwn;
  }

  #descends(pid: number, facts: ProcessFacts): boolean {
    // nothing of a creation is older than it
    if (pid === process.pid || !(facts.startedAt >= this.#traces.since)) return false;
    if (this.#isInit(pid) || this.#isRuntime(pid)) return true;
    return facts.parent > 1 && this.isOwn(facts.parent);
  }

  #isRuntime(pid: number): boolean {
    const words = commandLine(pid);
    const at = words.indexOf("--bundle");
    return (
      at !== -1 && words[at + 1] === this.#traces.bundle && words.some((word) => /^(?:create|restore)$/.test(word))
    );
  }

  /** All stages of runc's init hold the FIFO at which the last one waits for the start; the container's program never does. */
  #isInit(pid: number): boolean {
    const [, word, ...more] = commandLine(pid);
    if (this.#fifo === undefined || word !== "init" || more.length > 1) return false;
    const names = new Set([this.#fifo, `${this.#fifo} (deleted)`]);
    return openFiles(pid).some((name) => names.has(name));
  }
}

/** The kernel tells names without symbolic links; the state itself may be gone already. */
function resolveParent(path: string): string {
  try {
    return join(realpathSync(dirname(path)), basename(path));
  } catch {
    return path;
  }
}

function commandLine(pid: number): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    // it has ended
    return [];
  }
}

/** This returns when a process was started, in ticks since the start of the machine; `undefined` when there is none. */
export function processStart(pid: number): number | undefined {
  return processFacts(pid)?.startedAt;
}

function processFacts(pid: number): ProcessFacts | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    // the second field is a name, of any characters
    const fields = text.slice(text.lastIndexOf(") ") + 2).split(" ");
    return { parent: Number(fields[1]), startedAt: Number(fields[19]) };
  } catch {
    return undefined;
  }
}

function openFiles(pid: number): readonly string[] {
  const directory = `/proc/${pid}/fd`;
  try {
    return readdirSync(directory).map((name) => {
      try {
        return readlinkSync(join(directory, name));
      } catch {
        // closed meanwhile
        return "";
      }
    });
  } catch {
    return [];
  }
}

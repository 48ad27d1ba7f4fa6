import { readdir, readFile } from "node:fs/promises";

const TICKS_PER_SECOND = 100; // USER_HZ, the unit of /proc/<pid>/stat on every architecture of Linux
const KIB_PER_MIB = 1024;

/** This returns the processor seconds that a process, its threads, the children it has waited for and its living descendants have used. */
export async function cpuSeconds(pid: number): Promise<number> {
  let ticks = 0;
  for (const member of await familyOf(pid)) {
    const fields = await statFields(member);
    // utime, stime, cutime, cstime: fields 14 to 17, counted from the third.
    for (const value of fields.slice(11, 15)) ticks += Number(value);
  }
  return ticks / TICKS_PER_SECOND;
}

/** This returns the processor seconds of the children of this process that have ended. */
export async function childrenCpuSeconds(): Promise<number> {
  const fields = await statFields(process.pid);
  return (Number(fields[13]) + Number(fields[14])) / TICKS_PER_SECOND;
}

/** This returns the processes whose arguments contain `text`, which is how a shim shows whose it is. */
export async function processesWithArgument(text: string): Promise<number[]> {
  const found: number[] = [];
  for (const pid of await pids()) {
    const args = await readProc(pid, "cmdline");
    if (pid !== process.pid && args.split("\0").some((arg) => arg.startsWith(text))) found.push(pid);
  }
  return found;
}

/** Memory of a group of processes in MiB. */
export interface GroupMemory {
  readonly processes: number;
  /** Sum of the resident sets: what is shared counts once for each. */
  readonly rss: number;
  /** Proportional set: depends on who else on the machine runs the same program. */
  readonly pss: number;
  /** What the group would hold were it alone: own pages, and each shared file once. */
  readonly alone: number;
}

/** This measures processes together; one that ends meanwhile counts as nothing. */
export async function memoryOf(members: readonly number[]): Promise<GroupMemory> {
  let rss = 0;
  let pss = 0;
  let anonymous = 0;
  const files = new Map<string, number>();
  for (const pid of members) {
    for (const mapping of parseMappings(await readProc(pid, "smaps"))) {
      rss += mapping.rssKib;
      pss += mapping.pssKib;
      anonymous += mapping.anonymousKib;
      const pages = mapping.rssKib - mapping.anonymousKib;
      if (mapping.file !== "") files.set(mapping.file, Math.max(files.get(mapping.file) ?? 0, pages));
    }
  }
  const shared = files.values().reduce((sum, kib) => sum + kib, 0);
  const mib = (kib: number): number => kib / KIB_PER_MIB;
  return { processes: members.length, rss: mib(rss), pss: mib(pss), alone: mib(anonymous + shared) };
}

interface Mapping {
  /** Device, inode and offset of a mapped file; empty for memory that has none. */
  readonly file: string;
  rssKib: number;
  pssKib: number;
  anonymousKib: number;
}

function parseMappings(smaps: string): Mapping[] {
  const mappings: Mapping[] = [];
  for (const line of smaps.split("\n")) {
    const head = /^[0-9a-f]+-[0-9a-f]+ \S+ ([0-9a-f]+) (\S+) (\d+)/.exec(line);
    const last = mappings.at(-1);
    if (head) {
      const file = head[3] === "0" ? "" : `${head[2]}:${head[3]}:${head[1]}`;
      mappings.push({ file, rssKib: 0, pssKib: 0, anonymousKib: 0 });
    } else if (last) {
      const [, name, kib] = /^(\w+):\s+(\d+) kB/.exec(line) ?? [];
      if (name === "Rss") last.rssKib = Number(kib);
      else if (name === "Pss") last.pssKib = Number(kib);
      else if (name === "Anonymous") last.anonymousKib = Number(kib);
    }
  }
  return mappings;
}

async function familyOf(pid: number): Promise<number[]> {
  const children = new Map<number, number[]>();
  for (const member of await pids()) {
    const parent = Number((await statFields(member))[1]);
    children.set(parent, [...(children.get(parent) ?? []), member]);
  }
  const family = [pid];
  for (const member of family) family.push(...(children.get(member) ?? []));
  return family;
}

/** The fields of /proc/<pid>/stat from the third on: the second may itself contain spaces and brackets. */
async function statFields(pid: number): Promise<string[]> {
  const stat = await readProc(pid, "stat");
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

async function pids(): Promise<number[]> {
  return (await readdir("/proc")).map(Number).filter((pid) => pid > 0);
}

/** Processes end while one reads about them. */
function readProc(pid: number, name: string): Promise<string> {
  return readFile(`/proc/${pid}/${name}`, "utf8").catch(() => "");
}

/** What may be there: anything, values that a function approves, an object of such fields, or a list of such members. */
type Allowed =
  | typeof ANYTHING
  | ((value: unknown) => boolean)
  | { readonly [field: string]: Allowed }
  | readonly [Allowed];

const ANYTHING = "anything";

const isOneOf = (...values: readonly unknown[]): ((value: unknown) => boolean) => {
  const known = new Set(values);
  return (value) => known.has(value);
};

/** So many shares a container has that asks for none; more would be taken from its neighbours. */
const DEFAULT_SHARES = 1024;

/** None of them is above what a program could do that has no limit, as those of real time and of locked memory are. */
const LIMITS = ["AS", "CORE", "CPU", "DATA", "FSIZE", "NOFILE", "NPROC", "STACK"].map((name) => `RLIMIT_${name}`);

/** Read by no runtime, and by nerdctl's hooks alone, which no checkpoint brings. Others are orders: to CRIU (a file of settings, with programs that root runs), to systemd, to other runtimes. */
const ANNOTATION = /^(?:nerdctl\/|org\.opencontainers\.image\.)/;

/** Each calls what is in the filter's way only; none hands descriptors out. */
const SECCOMP: Allowed = {
  defaultAction: (action) => action !== "SCMP_ACT_NOTIFY",
  defaultErrnoRet: ANYTHING,
  architectures: ANYTHING,
  flags: ANYTHING,
  syscalls: [{ names: ANYTHING, action: (action) => action !== "SCMP_ACT_NOTIFY", errnoRet: ANYTHING, args: ANYTHING }],
};

/** They take from a container; where they could give, only what one has without them. */
const RESOURCES: Allowed = {
  devices: [{ allow: ANYTHING, type: ANYTHING, major: ANYTHING, minor: ANYTHING, access: ANYTHING }],
  memory: { limit: ANYTHING, reservation: ANYTHING, swap: ANYTHING },
  cpu: {
    shares: (shares) => typeof shares === "number" && shares <= DEFAULT_SHARES,
    quota: ANYTHING,
    burst: ANYTHING,
    period: ANYTHING,
    cpus: ANYTHING,
    mems: ANYTHING,
  },
  pids: { limit: ANYTHING },
};

/**
 * The fields of a spec that a container made without flags has, and those that take from it or are its own affair. Which mounts, namespaces, capabilities and devices are harmless
 * shows only beside the default spec, as does what must be there: `harmlessSpec` looks at these.
 */
const SPEC: Allowed = {
  ociVersion: ANYTHING,
  process: {
    terminal: ANYTHING,
    consoleSize: ANYTHING,
    user: { uid: ANYTHING, gid: ANYTHING, umask: ANYTHING, additionalGids: ANYTHING, username: ANYTHING },
    args: ANYTHING,
    env: ANYTHING,
    cwd: ANYTHING,
    capabilities: {
      bounding: ANYTHING,
      effective: ANYTHING,
      inheritable: ANYTHING,
      permitted: ANYTHING,
      ambient: ANYTHING,
    },
    rlimits: [{ type: isOneOf(...LIMITS), hard: ANYTHING, soft: ANYTHING }],
    // False, too: the bounding set is the border, and its processes may be root as they are.
    noNewPrivileges: ANYTHING,
    // Any profile confines more than none.
    apparmorProfile: ANYTHING,
    oomScoreAdj: (score) => typeof score === "number" && score >= 0,
  },
  root: { path: ANYTHING, readonly: ANYTHING },
  hostname: ANYTHING,
  domainname: ANYTHING,
  mounts: [{ destination: ANYTHING, type: ANYTHING, source: ANYTHING, options: ANYTHING }],
  annotations: (value) => Object.keys(Object(value)).every((name) => ANNOTATION.test(name)),
  linux: {
    uidMappings: ANYTHING,
    gidMappings: ANYTHING,
    // These two are what engines set for every container.
    sysctl: { "net.ipv4.ip_unprivileged_port_start": ANYTHING, "net.ipv4.ping_group_range": ANYTHING },
    resources: RESOURCES,
    // Two names, as are given unasked; the container gets its own.
    cgroupsPath: (path) => typeof path === "string" && /^\/\w[\w.-]*\/\w[\w.-]*$/.test(path),
    namespaces: [{ type: ANYTHING, path: ANYTHING }],
    devices: ANYTHING,
    seccomp: SECCOMP,
    rootfsPropagation: isOneOf("", "private", "rprivate", "slave", "rslave"),
    maskedPaths: ANYTHING,
    readonlyPaths: ANYTHING,
  },
};

/** This lists the fields of a spec that a container made without flags does not have, or not with such a value. A field that is not known is one, whatever its value. */
export function unknownFields(spec: unknown): readonly string[] {
  return refused(spec, SPEC, "");
}

function refused(value: unknown, allowed: Allowed, where: string): readonly string[] {
  // To Go it is not there. Of known fields only: Go takes names in any case, and so an unknown one may empty a known one.
  if (value === null || allowed === ANYTHING) return [];
  if (typeof allowed === "function") return allowed(value) ? [] : [told(where, value)];
  if (isList(allowed)) {
    return Array.isArray(value) ? value.flatMap((each) => refused(each, allowed[0], where)) : [told(where, value)];
  }
  if (typeof value !== "object" || Array.isArray(value)) return [told(where, value)];
  return Object.entries(value).flatMap(([name, each]) => {
    const path = where === "" ? quoted(name) : `${where}.${quoted(name)}`;
    const known = Object.hasOwn(allowed, name) ? allowed[name] : undefined;
    return known === undefined ? [told(path, each)] : refused(each, known, path);
  });
}

function isList(allowed: Exclude<Allowed, string | ((value: unknown) => boolean)>): allowed is readonly [Allowed] {
  return Array.isArray(allowed);
}

const VALUE_LENGTH = 100;

function told(where: string, value: unknown): string {
  return `${where}=${abridged(JSON.stringify(value), VALUE_LENGTH)}`;
}

/** What a checkpoint calls something: as it is where it is plainly a name, else so that it ends where it seems to end. */
export function quoted(name: string): string {
  return /^[\w./:+-]+$/.test(name) ? name : JSON.stringify(name);
}

/** The beginning of what a checkpoint says, which may be of any length. */
export function abridged(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length)}…`;
}

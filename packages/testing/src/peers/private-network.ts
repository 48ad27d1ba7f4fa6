import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { debianFile, debianLibraries, MULTIARCH } from "./debian-tools.ts";
import type { ProgramOptions, ProgramResult } from "../run-program.ts";
import { runProgram } from "../run-program.ts";

/** A network namespace that stands for a host, with Debian's CNI plugins and iptables at the places where others look for them. */
export interface PrivateNetwork extends AsyncDisposable {
  /** Programs with the names of the plugins: each runs in this network, whoever starts it. */
  readonly pluginDirectory: string;
  /** `/etc/cni/net.d` of {@link PrivateNetwork.run}. */
  readonly configDirectory: string;
  /** This runs a program in this network, with a tree of its own for `/etc`, `/opt` and `/var/lib`. */
  run(path: string, args: readonly string[], options?: ProgramOptions): Promise<ProgramResult>;
  /** This makes an empty network namespace, for a container, and returns its path. It ends with this one. */
  namespace(): Promise<string>;
}

/** Directories of the host that get a layer of their own. */
const OWN_TREES = ["etc", "opt", "var/lib"] as const;

/** This makes a network of its own below an empty directory. Nothing outside of it changes. */
export async function privateNetwork(directory: string): Promise<PrivateNetwork> {
  await using undo = new AsyncDisposableStack();
  const configDirectory = join(directory, "net.d");
  const [programs, pluginDirectory] = [join(directory, "bin"), join(directory, "plugins")];
  for (const path of [configDirectory, programs, pluginDirectory]) await mkdir(path);
  const plugins = debianFile("usr/lib/cni");
  await writeIptables(programs);
  const PATH = `${programs}:${process.env["PATH"] ?? ""}`;
  const host = await startHolder(undo, ["unshare", "--net", "--mount", "sh", "-c", script(directory, plugins)]);
  for (const name of await readdir(plugins)) {
    const line = `PATH='${PATH}' exec nsenter --net=/proc/${host}/ns/net '${join(plugins, name)}'`;
    await writeFile(join(pluginDirectory, name), `#!/bin/sh\n${line}\n`, { mode: 0o755 });
  }
  const owned = undo.move();
  return {
    pluginDirectory,
    configDirectory,
    run: (path, args, options = {}) =>
      runProgram("nsenter", [`--target=${host}`, "--net", "--mount", "--", path, ...args], {
        ...options,
        env: {
          ...options.env,
          PATH: options.env?.["PATH"] === undefined ? PATH : `${programs}:${options.env["PATH"]}`,
        },
      }),
    namespace: async () => {
      const pid = await startHolder(owned, ["unshare", "--net", "sh", "-c", "echo ready; exec sleep infinity"]);
      return `/proc/${pid}/ns/net`;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function script(directory: string, plugins: string): string {
  const layers = OWN_TREES.map((tree) => {
    const [upper, work] = [`${directory}/own/upper/${tree}`, `${directory}/own/work/${tree}`];
    return `mkdir -p ${upper} ${work}; mount -t overlay overlay -o lowerdir=/${tree},upperdir=${upper},workdir=${work} /${tree}`;
  });
  return [
    "set -e",
    `mkdir ${directory}/own`,
    `mount -t tmpfs tmpfs ${directory}/own`,
    ...layers,
    // Of the layers: what the machine has of the kind stays as it is.
    "mountpoint -q /etc\nrm -rf /etc/cni\nmkdir /etc/cni",
    "mountpoint -q /opt\nrm -rf /opt/cni\nmkdir /opt/cni",
    "mountpoint -q /var/lib\nrm -rf /var/lib/cni",
    `ln -s ${directory}/net.d /etc/cni/net.d`,
    `ln -s ${plugins} /opt/cni/bin`,
    "ip link set lo up",
    "echo ready",
    "exec sleep infinity",
  ].join("\n");
}

/** Debian has the names without `-nft` from its alternatives, which are made when a package is installed. */
async function writeIptables(programs: string): Promise<void> {
  const environment = `LD_LIBRARY_PATH='${debianLibraries()}' XTABLES_LIBDIR='${debianFile(`usr/lib/${MULTIARCH}/xtables`)}'`;
  for (const name of ["iptables", "ip6tables"]) {
    const line = `${environment} exec '${debianFile(`usr/sbin/${name}-nft`)}' "$@"`;
    await writeFile(join(programs, name), `#!/bin/sh\n${line}\n`, { mode: 0o755 });
    await symlink(name, join(programs, `${name}-nft`));
  }
}

/** The pid of a process that stays, and says that it is ready. */
async function startHolder(owned: AsyncDisposableStack, [program = "", ...args]: readonly string[]): Promise<number> {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
  owned.defer(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "close");
  });
  await Promise.race([
    once(child.stdout, "data"),
    once(child, "close").then(() => {
      throw new Error(`${program} ${args.join(" ")} ended at once`);
    }),
  ]);
  if (child.pid === undefined) throw new Error(`${program} did not start`);
  return child.pid;
}

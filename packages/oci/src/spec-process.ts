import type { ImageConfigDefaults } from "./image.ts";
import type { RuntimeSpec, SpecOption, SpecProcess, SpecRlimit } from "./spec-model.ts";
import { EMPTY_PROCESS, applySpecOptions, changeProcess } from "./spec-model.ts";
import type { UserFiles } from "./spec-user.ts";
import { withAdditionalGids, withUser } from "./spec-user.ts";

/** The environment of an image that has none. */
const DEFAULT_ENV: readonly string[] = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"];

/**
 * This sets arguments, environment, directory and user as the image says. Variables that the spec has win over those of the
 * image; `args` replaces the image's command, not its entrypoint.
 *
 * @throws invalid_argument, not_found - the image's user, see `resolveUser`
 * @see containerd pkg/oci/spec_opts.go, WithImageConfigArgs
 */
export function withImageConfig(
  config: ImageConfigDefaults,
  options: UserFiles & { readonly args?: readonly string[] } = {},
): SpecOption {
  const { Entrypoint = [], Cmd = [], Env = [], WorkingDir = "", User = "" } = config;
  const command = options.args === undefined || options.args.length === 0 ? Cmd : options.args;
  const change: SpecOption = (spec) =>
    changeProcess(spec, (process) => ({
      ...process,
      env: mergeEnv(Env.length === 0 ? DEFAULT_ENV : Env, process.env ?? []),
      args: [...Entrypoint, ...command],
      cwd: WorkingDir === "" ? "/" : WorkingDir,
    }));
  return (spec) => {
    const changed = change(spec);
    if (User === "") return withAdditionalGids("root", options)(changed);
    const owned = withUser(User, options)(changed);
    return withAdditionalGids(String(owned.process?.user.uid ?? 0), options)(owned);
  };
}

/** This replaces the arguments, the image's entrypoint included. */
export function withProcessArgs(...args: readonly string[]): SpecOption {
  return (spec) => changeProcess(spec, (process) => ({ ...process, args }));
}

/** This sets `NAME=value` variables, each in the place of an older one; a bare `NAME` removes it. */
export function withEnv(variables: readonly string[]): SpecOption {
  return (spec) =>
    variables.length === 0
      ? spec
      : changeProcess(spec, (process) => ({ ...process, env: mergeEnv(process.env ?? [], variables) }));
}

/** This sets the working directory. */
export function withCwd(cwd: string): SpecOption {
  return (spec) => changeProcess(spec, (process) => ({ ...process, cwd }));
}

/** This gives the process a terminal, and `TERM=xterm`. */
export const withTty: SpecOption = (spec) =>
  changeProcess(spec, (process) => ({ ...process, terminal: true, env: [...(process.env ?? []), "TERM=xterm"] }));

/** This sets the size that the terminal starts with. */
export function withTtySize(width: number, height: number): SpecOption {
  return (spec) => changeProcess(spec, (process) => ({ ...process, consoleSize: { width, height } }));
}

/** This sets a resource limit, in the place of an older one of the same type. */
export function withRlimit(rlimit: SpecRlimit): SpecOption {
  return (spec) =>
    changeProcess(spec, (process) => ({
      ...process,
      rlimits: [...(process.rlimits ?? []).filter(({ type }) => type !== rlimit.type), rlimit],
    }));
}

/** This says whether the process may gain privileges by setuid programs; by default it may not. */
export function withNoNewPrivileges(noNewPrivileges: boolean): SpecOption {
  return (spec) => changeProcess(spec, (process) => ({ ...process, noNewPrivileges }));
}

/**
 * This makes the process of an exec from the container's: same user, environment and rights, other arguments. Options
 * are applied to it as to the process of a container.
 */
export function execProcess(
  spec: RuntimeSpec,
  args: readonly string[],
  ...options: readonly SpecOption[]
): SpecProcess {
  const base: SpecProcess = { ...(spec.process ?? EMPTY_PROCESS), terminal: false, args };
  return applySpecOptions({ ...spec, process: base }, ...options).process ?? base;
}

function mergeEnv(defaults: readonly string[], overrides: readonly string[]): string[] {
  const result = [...defaults];
  const places = new Map(defaults.map((variable, index) => [nameOf(variable), index]));
  for (const variable of overrides) {
    const place = places.get(nameOf(variable));
    if (!variable.includes("=")) {
      if (place !== undefined) result[place] = "";
    } else if (place === undefined) {
      result.push(variable);
    } else {
      result[place] = variable;
    }
  }
  return result.filter((variable) => variable !== "");
}

function nameOf(variable: string): string {
  const [name = ""] = variable.split("=", 1);
  return name;
}

import { constants } from "node:os";

import { messageOf, systemErrorCode } from "@berth/errors";
import { Command, CommanderError, Option } from "commander";

import { LOG_LEVELS } from "./config/daemon-config.ts";
import type { ConfigOverrides, LoadedConfig } from "./config/load-config.ts";
import { loadConfig } from "./config/load-config.ts";
import { grpcAddress } from "./config/grpc-address.ts";
import { dbCommand } from "./db/db-command.ts";
import { ociHookCommand, publishCommand } from "./hooks/hook-commands.ts";
import { REVISION, VERSION } from "./version.ts";
import { writeOutput } from "./write-output.ts";

/** Where the configuration is when no flag says so; it need not be there. */
const DEFAULT_CONFIG = "/etc/berth/config.toml";

interface Flags {
  readonly config?: string;
  readonly logLevel?: string;
  readonly address?: string;
  readonly root?: string;
  readonly state?: string;
}

const { SIGPIPE } = constants.signals;

/** This runs `berthd` with its arguments and returns the exit code. */
export async function runCli(args: readonly string[]): Promise<number> {
  let exitCode = 0;
  const program = createProgram((code) => void (exitCode = code));
  try {
    await program.parseAsync(args, { from: "user" });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    // Whoever reads has had enough (`… | head`): what a program says that SIGPIPE ends.
    if (systemErrorCode(error) === "EPIPE") return 128 + SIGPIPE;
    process.stderr.write(`berthd: ${messageOf(error)}\n`);
    return 1;
  }
}

function createProgram(setExitCode: (code: number) => void): Command {
  const program = new Command("berthd")
    .description(
      "Container runtime daemon, compatible with containerd. Runs in the foreground until SIGTERM or SIGINT.",
    )
    .option("-c, --config <file>", `configuration file (default: ${DEFAULT_CONFIG})`)
    .addOption(new Option("-l, --log-level <level>", "least level that is logged").choices(LOG_LEVELS))
    .option("-a, --address <socket>", "unix socket of the gRPC server; ttrpc listens on <socket>.ttrpc")
    .option("--root <directory>", "where images and snapshots are kept")
    .option("--state <directory>", "where the state of running containers is kept")
    .version(`berthd github.com/containerd/containerd/v2 ${VERSION} ${REVISION}`.trimEnd(), "-v, --version")
    .exitOverride()
    .enablePositionalOptions()
    .action(async (flags: Flags) => {
      const { config, unknownKeys } = await load(flags);
      const [{ createLogger }, { runDaemon }] = await Promise.all([import("./logging.ts"), import("./run-daemon.ts")]);
      const log = createLogger(config.debug);
      for (const key of unknownKeys) log.warn("ignoring unknown key in the configuration", { key });
      await runDaemon(config, log);
    });
  const configuration = program.command("config").description("show the configuration");
  configuration
    .command("default")
    .description("print the configuration that is used when there is no file")
    .action(async () => print((await loadConfig("/nonexistent/berth.toml", { required: false })).config));
  configuration
    .command("dump")
    .description("print the configuration after file, imports and flags")
    .action(async () => print((await load(program.opts<Flags>())).config));
  configuration
    .command("migrate")
    .description("print the configuration in the newest version, with everything that it imports; no file is changed")
    .action(async () => print((await load(program.opts<Flags>())).config));
  const loadConfiguration = async () => (await load(program.opts<Flags>())).config;
  program.addCommand(
    publishCommand(async () => program.opts<Flags>().address ?? grpcAddress(await loadConfiguration())),
  );
  program.addCommand(ociHookCommand());
  program.addCommand(dbCommand({ loadConfig: loadConfiguration, setExitCode }));
  return program;
}

function load(flags: Flags): Promise<LoadedConfig> {
  const overrides: ConfigOverrides = {
    ...(flags.root === undefined ? {} : { root: flags.root }),
    ...(flags.state === undefined ? {} : { state: flags.state }),
    ...(flags.logLevel === undefined ? {} : { level: flags.logLevel }),
    ...(flags.address === undefined ? {} : { address: flags.address }),
  };
  return loadConfig(flags.config ?? DEFAULT_CONFIG, { required: flags.config !== undefined, overrides });
}

async function print(config: LoadedConfig["config"]): Promise<void> {
  const [{ printConfig }, { daemonPlugins }] = await Promise.all([
    import("./config/print-config.ts"),
    import("./plugins.ts"),
  ]);
  await writeOutput(printConfig(config, daemonPlugins(config)));
}

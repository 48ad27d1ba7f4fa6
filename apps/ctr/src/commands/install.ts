import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { booleanFlag, stringFlag } from "../cli/flags.ts";
import { print } from "../output/print.ts";
import { endOnSignals } from "../process/interrupts.ts";

/** Where the daemon's opt plugin looks for programs, unless it is configured otherwise. */
const OPT = "/opt/containerd";

export const install = defineCommand({
  usage: "<ref>",
  description:
    "Writes the programs of an image that is here, what it has in bin/, to a directory of this machine. Nothing else of the image is looked at, and no file is written outside of the directory.",
  examples: ["ctr install --path /opt/berth example.org/tools:1"],
  flags: {
    libs: booleanFlag("also what it has in lib/", { aliases: ["l"] }),
    replace: booleanFlag("replace files that are there", { aliases: ["r"] }),
    path: stringFlag("directory to write bin/ and lib/ to, instead of the one that the daemon tells"),
  },
  async run({ flags, args, session }) {
    const name = requireArgument(args, 0, "no image given");
    using _signals = endOnSignals(session);
    const client = await session.client();
    const { signal } = session;
    const { installImage } = await import("../install/install-image.ts");
    const { target } = await client.images.get(name, { signal });
    const directory = flags.path === "" ? await optDirectory() : flags.path;
    const written = await installImage(client.content, target, {
      directory,
      parts: flags.libs ? ["bin", "lib"] : ["bin"],
      replace: flags.replace,
      signal,
    });
    for (const path of written) print(`${path}\n`);

    async function optDirectory(): Promise<string> {
      const [opt] = await client.plugins({ filters: ["type==io.containerd.internal.v1,id==opt"], signal });
      return opt?.exports.get("path") ?? OPT;
    }
  },
});

import { Command, Option } from "commander";

/** This makes `berthd publish`, which old shims call to send an event; `address` says where to. */
export function publishCommand(address: () => Promise<string>): Command {
  return new Command("publish")
    .description("publish an event that is read from standard input, as old shims do")
    .addOption(new Option("--namespace <name>", "namespace of the event").default(""))
    .addOption(new Option("--topic <topic>", "topic of the event").default(""))
    .action(async (flags: { readonly namespace: string; readonly topic: string }) => {
      const { publish } = await import("./publish.ts");
      await publish({ ...flags, address: await address(), input: process.stdin });
    });
}

/** This makes `berthd oci-hook`, which becomes a hook with facts of the container filled in. */
export function ociHookCommand(): Command {
  return new Command("oci-hook")
    .description("run a hook of an OCI runtime with facts of the container, from standard input, filled in")
    .argument(
      "<program...>",
      'program and arguments; {{id}} {{bundle}} {{rootfs}} {{pid}} {{status}} {{annotation "key"}} are filled in',
    )
    .passThroughOptions()
    .action(async (args: readonly string[]) => {
      const [{ resolveHook }, { replaceProcess }] = await Promise.all([
        import("./oci-hook.ts"),
        import("@berth/linux/process"),
      ]);
      replaceProcess(await resolveHook({ args, env: process.env, input: process.stdin }));
    });
}

import { booleanFlag, durationFlag, stringFlag } from "./flags.ts";

/** The flags that stand before the command. */
export const GLOBAL_FLAGS = {
  debug: booleanFlag("print stack traces of errors"),
  address: stringFlag("socket of the daemon", {
    aliases: ["a"],
    env: "CONTAINERD_ADDRESS",
    initial: "/run/berth/berth.sock",
  }),
  timeout: durationFlag("give up after this time, e.g. 30s; 0 for never"),
  "connect-timeout": durationFlag("how long to wait for the connection; 0 for 10s"),
  namespace: stringFlag("namespace of every call", {
    aliases: ["n"],
    env: "CONTAINERD_NAMESPACE",
    names: "namespaces",
    initial: "default",
  }),
  version: booleanFlag("print the version", { aliases: ["v"] }),
};

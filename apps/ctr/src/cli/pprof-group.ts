import type { Group, Leaf } from "./command-entry.ts";

const profile = (name: string, summary: string, key: keyof typeof import("../commands/pprof.ts")): Leaf => ({
  name,
  summary,
  load: async () => (await import("../commands/pprof.ts"))[key],
});

export const pprof: Group = {
  name: "pprof",
  summary: "Take profiles of the daemon",
  sharedFlags: ["debug-socket", "d"],
  commands: [
    profile("block", "Show where the daemon waits", "block"),
    profile("goroutines", "Show what the daemon is at", "goroutines"),
    profile("heap", "Show what takes memory", "heap"),
    profile("profile", "Show what takes the processor's time", "profile"),
    profile("threadcreate", "Show the daemon's threads", "threadcreate"),
    profile("trace", "Record what happens", "trace"),
  ],
};

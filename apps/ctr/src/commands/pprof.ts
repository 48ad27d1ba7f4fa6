import { once } from "node:events";
import type { IncomingMessage } from "node:http";

import { unavailable, wrapError } from "@berth/errors";

import { defineCommand } from "../cli/command.ts";
import type { Flags, FlagValues } from "../cli/flags.ts";
import { durationFlag, integerFlag, stringFlag } from "../cli/flags.ts";
import type { Session } from "../cli/session.ts";
import { isOutputClosed, printAndWait } from "../output/print.ts";
import { endOnSignals } from "../process/interrupts.ts";

const SOCKET = {
  "debug-socket": stringFlag("socket of the daemon's debug server", {
    aliases: ["d"],
    initial: "/run/berth/debug.sock",
  }),
};
const DETAIL = { ...SOCKET, debug: integerFlag("how much is told, 0 for the form that tools read") };
const SECOND_MS = 1000;

/** A profile that is taken at once. */
function snapshotOf(profile: string) {
  return defineCommand({
    usage: "",
    description: "Written to standard output. The daemon has to be configured with a debug socket.",
    flags: DETAIL,
    run: ({ flags, session }) => printProfile(session, flags, profile, { debug: flags.debug }),
  });
}

export const block = snapshotOf("block");

export const heap = snapshotOf("heap");

export const threadcreate = snapshotOf("threadcreate");

export const goroutines = defineCommand({
  usage: "",
  description: "Written to standard output: what the daemon is at.",
  flags: { ...SOCKET, debug: integerFlag("how much is told", { initial: 2 }) },
  run: ({ flags, session }) => printProfile(session, flags, "goroutine", { debug: flags.debug }),
});

export const profile = defineCommand({
  usage: "",
  description: "Written to standard output when the time is over.",
  flags: {
    ...DETAIL,
    seconds: durationFlag("for how long the processor is watched", { aliases: ["s"], initial: 30 * SECOND_MS }),
  },
  run: ({ flags, session }) =>
    printProfile(session, flags, "profile", { debug: flags.debug, seconds: flags.seconds / SECOND_MS }),
});

export const trace = defineCommand({
  usage: "",
  description: "Written to standard output when the time is over.",
  flags: {
    ...DETAIL,
    seconds: durationFlag("for how long is recorded what happens", { aliases: ["s"], initial: 5 * SECOND_MS }),
  },
  run: ({ flags, session }) =>
    printProfile(session, flags, "trace", { debug: flags.debug, seconds: flags.seconds / SECOND_MS }),
});

async function printProfile(
  session: Session,
  flags: FlagValues<typeof SOCKET & Flags>,
  name: string,
  parameters: Readonly<Record<string, number>>,
): Promise<void> {
  const socketPath = flags["debug-socket"].replace(/^unix:\/\//, "");
  using _signals = endOnSignals(session);
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters)) query.set(key, String(value));
  const response = await request(socketPath, `/debug/pprof/${name}?${query}`, session.signal);
  if (response.statusCode !== 200) {
    const text = (await Array.fromAsync(response)).join("").trim().slice(0, 500);
    throw unavailable(`profile ${name} of ${socketPath}: ${response.statusCode} ${text}`);
  }
  for await (const chunk of response) {
    await printAndWait(chunk);
    if (isOutputClosed()) return;
  }
}

async function request(socketPath: string, path: string, signal: AbortSignal): Promise<IncomingMessage> {
  // Nothing that a start-up snapshot should hold.
  const { get } = process.getBuiltinModule("node:http");
  try {
    const asked = get({ socketPath, path, signal });
    // An answer is the only thing that this event tells of.
    const [response]: IncomingMessage[] = await once(asked, "response");
    if (response !== undefined) return response;
  } catch (error) {
    signal.throwIfAborted();
    throw wrapError(
      error,
      `debug server at ${socketPath} (the daemon has one if its configuration says [debug] address; --debug-socket names it)`,
    );
  }
  throw unavailable(`debug server at ${socketPath} gave no answer`);
}

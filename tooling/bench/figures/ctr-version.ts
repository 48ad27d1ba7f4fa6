import { debianTool, launcher } from "@berth/testing";

import { startMeasured } from "../daemons.ts";
import type { Figure } from "../figure.ts";
import { timeCommand } from "../time-command.ts";

/** What a command costs at the least: `ctr version` of berth, beside Node starting with nothing to do, and beside Go's `ctr`. All on berthd. */
export const ctrVersion: Figure = {
  name: "ctr-version",
  rounds: 30,
  async measure({ rounds, signal, progress }) {
    await using berth = await startMeasured("berth");
    const args = ["--address", berth.daemon.address, "version"];
    const commands = {
      own: () => timeCommand(launcher("ctr"), args),
      // As a checkout in which sources may be newer than the bundle starts it.
      checked: () => timeCommand(launcher("ctr"), args, { BERTH_NO_BUILD: "" }),
      node: () => timeCommand(process.execPath, ["-e", "0"]),
      go: () => timeCommand(debianTool("ctr"), args),
    };
    const names = ["own", "node", "checked", "go"] as const;
    for (const name of names.toReversed()) await commands[name]();
    const samples = { own: [] as number[], checked: [] as number[], node: [] as number[], go: [] as number[] };
    for (let round = 0; round < rounds; round += 1) {
      progress(`round ${round + 1} of ${rounds}`);
      for (const name of round % 2 === 0 ? names : names.toReversed()) {
        signal.throwIfAborted();
        samples[name].push(await commands[name]());
      }
    }
    const { own, checked, node, go } = samples;
    const target = { ratio: 2.5, bound: "at most" } as const;
    return [
      { label: "berth's ctr version", unit: "ms", berth: own, other: node, otherName: "node -e 0", target },
      { label: "  beside Go's ctr", unit: "ms", berth: own, other: go, otherName: "Go ctr" },
      { label: "  looking for newer sources first", unit: "ms", berth: checked, other: node, otherName: "node -e 0" },
    ];
  },
};

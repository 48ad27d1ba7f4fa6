import { dirname } from "node:path";

import type { PeerDaemon, ProgramOptions, ProgramResult } from "@berth/testing";
import { busyboxImage, startBerthd, startContainerd } from "@berth/testing";
import { expect } from "vitest";

/** What stands for a daemon's own container ids: cgroups are the machine's, so that the two must not share them. */
const ID = "ID";

/** berthd and containerd 2, each with the busybox image, asked the same by the same Go `ctr`. */
export class SideBySide implements AsyncDisposable {
  readonly berthd: PeerDaemon;
  readonly containerd: PeerDaemon;
  readonly #owned: AsyncDisposableStack;
  #words: Readonly<Record<string, string>> = {};

  private constructor(berthd: PeerDaemon, containerd: PeerDaemon, owned: AsyncDisposableStack) {
    this.berthd = berthd;
    this.containerd = containerd;
    this.#owned = owned;
  }

  static async start(): Promise<SideBySide> {
    await using stack = new AsyncDisposableStack();
    const berthd = stack.use(await startBerthd({ release: "2" }));
    const containerd = stack.use(await startContainerd({ release: "2" }));
    const pair = new SideBySide(berthd, containerd, stack.move());
    const { archive } = await busyboxImage();
    for (const daemon of [berthd, containerd]) {
      expect(await daemon.ctr(["images", "import", "--local", "-"], { input: archive })).toMatchObject({ code: 0 });
    }
    return pair;
  }

  /** Words of command lines, in capitals, and what they stand for. */
  define(words: Readonly<Record<string, string>>): void {
    this.#words = { ...this.#words, ...words };
  }

  /** This runs a command line on one of them; `ID` is an id of its own. */
  async run(daemon: PeerDaemon, line: string, options?: ProgramOptions): Promise<ProgramResult> {
    const own = this.idOf(daemon);
    const { code, stdout, stderr } = await daemon.ctr(
      wordsOf(line).map((word) =>
        word.replaceAll(/\b[A-Z]+(?=\d*\b)/g, (name) => (name === ID ? own : (this.#words[name] ?? name))),
      ),
      options,
    );
    const plain = (text: string): string =>
      text.replaceAll(own, ID).replaceAll(dirname(dirname(daemon.address)), "DIRECTORY");
    return { code, stdout: plain(stdout), stderr: plain(stderr) };
  }

  /** This runs a command line on both, expects that they give the same, apart from when, and returns that. */
  async same(line: string, options?: ProgramOptions): Promise<ProgramResult> {
    const [ours, theirs] = await Promise.all(
      [this.berthd, this.containerd].map(async (daemon) => await this.run(daemon, line, options)),
    );
    if (ours === undefined || theirs === undefined) throw new Error("two were asked");
    expect({ line, ...comparable(ours) }).toEqual({ line, ...comparable(theirs) });
    return ours;
  }

  /** What `ID` stands for on a daemon. */
  idOf(daemon: PeerDaemon): string {
    return daemon === this.berthd ? `b${daemon.pid}` : `c${daemon.pid}`;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#owned.disposeAsync();
  }
}

/** Words of a line, those in quotes whole. */
function wordsOf(line: string): string[] {
  return [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? "");
}

/** What Go's clients print of an error's class: it is part of the text. */
const CLASS = /(not found|already exists|failed precondition)\n?$/;

/** An error is its class: the words before that differ. */
function comparable({ code, stdout, stderr }: ProgramResult): Readonly<Record<"code" | "stdout" | "error", unknown>> {
  const failed = stderr.startsWith("ctr: ") || /level=error/.test(stderr);
  const error = failed ? (CLASS.exec(stderr)?.[1] ?? "another") : withoutTimes(stderr);
  return { code, stdout: withoutTimes(stdout), error };
}

/** What differs from one run to the next; labels come in the order of a Go map. */
function withoutTimes(text: string): string {
  return text
    .replaceAll(/\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z| \+0000 UTC)/g, "TIME")
    .replaceAll(/seconds:\d+( nanos:\d+)?/g, "TIME")
    .replaceAll(/\t(?:Less than a second|\d+ \w+|About a \w+)(\t+)/g, "\tAGE\t")
    .replaceAll(/(?<=\tAGE\t)\t+|(?<=AGE)\t+/g, "")
    .replaceAll(/^(ID\w*) +\d+ +(?=[A-Z]+)/gm, "$1 PID ")
    .replaceAll(/^\d+ +(?=-|exec_id)/gm, "PID ")
    .replaceAll(/done: [\d.]+m?s/g, "done")
    .replaceAll(/(?:[\w./-]+=[^,\s]*,)+[\w./-]+=[^,\s]*/g, (labels) => labels.split(",").sort().join(","));
}

import type { AttachedIo } from "@berth/client/run";
import { nullIo } from "@berth/client/run";
import { canceled, invalidArgument } from "@berth/errors";

import type { Session } from "../cli/session.ts";
import { DetachedPipes } from "./detached-pipes.ts";
import { makeFifos } from "./fifo-set.ts";
import { StandardStreams } from "./standard-streams.ts";

/** Where the streams of a new process go. */
export interface ProcessIoOptions {
  /** Id of the container, or of the exec. */
  readonly id: string;
  readonly terminal: boolean;
  /** Make the pipes and leave them to a later attach. */
  readonly detach: boolean;
  readonly fifoDir: string;
  readonly nullIo: boolean;
  /** A `file:`, `binary:` or other address that takes the output. */
  readonly logUri: string;
}

/** This makes what the flags ask for. @throws invalid_argument - flags that contradict each other */
export async function makeProcessIo(session: Session, options: ProcessIoOptions): Promise<AttachedIo> {
  const { id, terminal, detach, fifoDir, logUri } = options;
  if (options.nullIo) {
    if (terminal) throw invalidArgument("tty and null-io cannot be used together");
    return nullIo;
  }
  if (logUri !== "") {
    if (!/^[a-z][a-z0-9+.-]*:/i.test(logUri))
      throw invalidArgument(`log-uri ${JSON.stringify(logUri)} is no URI, e.g. file:///tmp/log`);
    const stderr = terminal ? "" : logUri;
    return { paths: { stdin: "", stdout: logUri, stderr, terminal }, async [Symbol.asyncDispose]() {} };
  }
  const fifos = await makeFifos({ directory: fifoDir, id, terminal });
  if (detach) return new DetachedPipes(fifos);
  return new StandardStreams({ paths: fifos.paths, owner: fifos, onReaderGone: () => endSession(session) });
}

/** This ends the session because nobody reads the output any more. */
export function endSession(session: Session): void {
  session.interrupt(canceled("standard output was closed"));
}

/** This lets go of the pipes of a process that was started to be attached to later. */
export function releaseDetached(io: AttachedIo): void {
  if (io instanceof DetachedPipes) io.release();
}

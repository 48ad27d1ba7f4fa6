import { closeSync, constants, existsSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";

import { type LogFields, type Logger, loggerOf, type LogLevel } from "@berth/core/log";
import { messageOf, systemErrorCode } from "@berth/errors";

const STDERR = 2;

function quote(value: unknown): string {
  const text = value instanceof Error ? messageOf(value) : typeof value === "string" ? value : JSON.stringify(value);
  return /^[\w./:@+-]+$/.test(text ?? "") ? String(text) : JSON.stringify(text ?? "");
}

/** Where the log of a shim goes: the `log` FIFO of the container that came last of those that are there, standard error otherwise. */
export class ShimLog implements Disposable {
  readonly #debug: boolean;
  /** By path, the one that came last at the end. */
  readonly #fifos = new Map<string, number>();

  constructor(options: { readonly debug: boolean }) {
    this.#debug = options.debug;
  }

  /** This sends the log to the daemon's end of a bundle's FIFO from now on, if anybody reads it. */
  attach(bundle: string): void {
    for (const path of this.#fifos.keys()) if (!existsSync(path)) this.#detach(path);
    const path = join(bundle, "log");
    try {
      const fifo = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
      this.#detach(path);
      this.#fifos.set(path, fifo);
    } catch {
      // no FIFO or no reader: the log stays where it goes
    }
  }

  logger(bound: LogFields = {}): Logger {
    return loggerOf((level, message, fields) => {
      if (this.#debug || (level !== "trace" && level !== "debug")) this.#write(level, message, fields);
    }, bound);
  }

  [Symbol.dispose](): void {
    for (const path of this.#fifos.keys()) this.#detach(path);
  }

  #detach(path: string): void {
    const fifo = this.#fifos.get(path);
    if (fifo !== undefined) closeSync(fifo);
    this.#fifos.delete(path);
  }

  #write(level: LogLevel, message: string, fields: LogFields): void {
    const pairs = Object.entries(fields).map(([name, value]) => ` ${name}=${quote(value)}`);
    const line = `time="${new Date().toISOString()}" level=${level === "warn" ? "warning" : level} msg=${JSON.stringify(message)}${pairs.join("")}\n`;
    for (const [path, fifo] of [...this.#fifos].toReversed()) {
      if (this.#writeTo(fifo, line)) return;
      // Those before it may have a reader; one whose container is there will have, when the daemon is there again.
      if (!existsSync(path)) this.#detach(path);
    }
    this.#writeTo(STDERR, line);
  }

  /** A full pipe drops the line: a shim must not wait for somebody to read its log. It returns whether there is a reader. */
  #writeTo(fd: number, line: string): boolean {
    try {
      writeSync(fd, line);
      return true;
    } catch (error) {
      return systemErrorCode(error) !== "EPIPE";
    }
  }
}

import { closeSync, constants, openSync, writeSync } from "node:fs";
import { join } from "node:path";

import { type LogFields, type Logger, loggerOf, type LogLevel } from "@berth/core/log";
import { messageOf } from "@berth/errors";

const STDERR = 2;

function quote(value: unknown): string {
  const text = value instanceof Error ? messageOf(value) : typeof value === "string" ? value : JSON.stringify(value);
  return /^[\w./:@+-]+$/.test(text ?? "") ? String(text) : JSON.stringify(text ?? "");
}

/** Where the log of a shim goes: the `log` FIFO of the container that came last, standard error otherwise. */
export class ShimLog implements Disposable {
  readonly #debug: boolean;
  #fifo: number | undefined;

  constructor(options: { readonly debug: boolean }) {
    this.#debug = options.debug;
  }

  /** This sends the log to the daemon's end of a bundle's FIFO from now on, if anybody reads it. */
  attach(bundle: string): void {
    try {
      const fifo = openSync(join(bundle, "log"), constants.O_WRONLY | constants.O_NONBLOCK);
      this[Symbol.dispose]();
      this.#fifo = fifo;
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
    if (this.#fifo !== undefined) closeSync(this.#fifo);
    this.#fifo = undefined;
  }

  #write(level: LogLevel, message: string, fields: LogFields): void {
    const pairs = Object.entries(fields).map(([name, value]) => ` ${name}=${quote(value)}`);
    const line = `time="${new Date().toISOString()}" level=${level === "warn" ? "warning" : level} msg=${JSON.stringify(message)}${pairs.join("")}\n`;
    try {
      writeSync(this.#fifo ?? STDERR, line);
    } catch {
      // a full pipe or an absent reader: a shim must not wait for somebody to read its log
    }
  }
}

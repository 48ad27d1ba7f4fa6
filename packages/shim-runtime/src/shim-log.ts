import { closeSync, constants, existsSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";

import { type LogFields, type Logger, loggerOf, type LogLevel } from "@berth/core/log";
import { messageOf, systemErrorCode } from "@berth/errors";

const STDERR = 2;

function quote(value: unknown): string {
  const text = value instanceof Error ? messageOf(value) : typeof value === "string" ? value : JSON.stringify(value);
  return /^[\w./:@+-]+$/.test(text ?? "") ? String(text) : JSON.stringify(text ?? "");
}

interface LogFifo {
  readonly path: string;
  readonly fd: number;
}

/** Where the log of a shim goes: the `log` FIFO of the container that came last of those that are there, standard error otherwise. */
export class ShimLog implements Disposable {
  readonly #debug: boolean;
  /** By container, the one that came last at the end. */
  readonly #fifos = new Map<string, LogFifo>();

  constructor(options: { readonly debug: boolean }) {
    this.#debug = options.debug;
  }

  /** This sends the log to the daemon's end of the FIFO in a container's bundle from now on, if anybody reads it. */
  attach(id: string, bundle: string): void {
    for (const [other, { path }] of this.#fifos) if (!existsSync(path)) this.#detach(other);
    const path = join(bundle, "log");
    try {
      const fd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
      this.#detach(id);
      this.#fifos.set(id, { path, fd });
    } catch {
      // no FIFO or no reader: the log stays where it goes
    }
  }

  /** The container is deleted, or was never made, and its FIFO will go. */
  release(id: string): void {
    this.#detach(id);
  }

  logger(bound: LogFields = {}): Logger {
    return loggerOf((level, message, fields) => {
      if (this.#debug || (level !== "trace" && level !== "debug")) this.#write(level, message, fields);
    }, bound);
  }

  [Symbol.dispose](): void {
    for (const id of this.#fifos.keys()) this.#detach(id);
  }

  #detach(id: string): void {
    const fifo = this.#fifos.get(id);
    if (fifo !== undefined) closeSync(fifo.fd);
    this.#fifos.delete(id);
  }

  #write(level: LogLevel, message: string, fields: LogFields): void {
    const pairs = Object.entries(fields).map(([name, value]) => ` ${name}=${quote(value)}`);
    const line = `time="${new Date().toISOString()}" level=${level === "warn" ? "warning" : level} msg=${JSON.stringify(message)}${pairs.join("")}\n`;
    for (const [id, { path, fd }] of [...this.#fifos].toReversed()) {
      if (this.#writeTo(fd, line)) return;
      // Those before it may have a reader; one whose container is there will have, when the daemon is there again.
      if (!existsSync(path)) this.#detach(id);
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

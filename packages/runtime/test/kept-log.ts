import type { LogFields, Logger } from "@berth/core/log";
import { messageOf } from "@berth/errors";

const MAX_LINES = 200;

function text(value: unknown): unknown {
  if (value instanceof Error) return messageOf(value);
  return typeof value === "bigint" ? String(value) : value;
}

/** The last lines of a log, for who asks why something failed. */
export class KeptLog {
  readonly #lines: string[] = [];

  get lines(): readonly string[] {
    return [...this.#lines];
  }

  clear(): void {
    this.#lines.length = 0;
  }

  logger(bound: LogFields = {}): Logger {
    const at = (level: string) => (message: string, fields?: LogFields) => {
      const all = Object.entries({ ...bound, ...fields });
      const told = all.map(([name, value]) => [name, text(value)] as const);
      this.#lines.push(`${new Date().toISOString()} ${level} ${message} ${JSON.stringify(Object.fromEntries(told))}`);
      if (this.#lines.length > MAX_LINES) this.#lines.shift();
    };
    return {
      trace: at("trace"),
      debug: at("debug"),
      info: at("info"),
      warn: at("warn"),
      error: at("error"),
      with: (fields) => this.logger({ ...bound, ...fields }),
    };
  }
}

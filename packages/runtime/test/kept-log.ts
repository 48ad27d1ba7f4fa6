import { type Logger, loggerOf } from "@berth/core/log";
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

  logger(): Logger {
    return loggerOf((level, message, fields) => {
      const told = Object.entries(fields).map(([name, value]) => [name, text(value)] as const);
      this.#lines.push(`${new Date().toISOString()} ${level} ${message} ${JSON.stringify(Object.fromEntries(told))}`);
      if (this.#lines.length > MAX_LINES) this.#lines.shift();
    });
  }
}

import type { Logger, LogFields } from "@berth/core/log";
import type { Logger as PinoLogger } from "pino";
import { destination, pino } from "pino";

/** How the daemon logs. */
export interface LogOptions {
  /** Least level that is written; `info` when empty. */
  readonly level: string;
  /** `text`: `time=… level=… msg=… key=value`; `json`: one object a line. `text` when empty. */
  readonly format: string;
}

/**
 * This makes the daemon's logger: to standard error, synchronously, so that the last lines before a crash are not lost.
 *
 * @see containerd log package; field names and the text form are logrus'
 */
export function createLogger({ level, format }: LogOptions): Logger {
  const stream = destination({ fd: 2, sync: true });
  const output = format === "json" ? stream : { write: (line: string) => stream.write(formatLine(JSON.parse(line))) };
  const logger = pino(
    {
      level: level === "panic" ? "fatal" : level || "info",
      base: null,
      messageKey: "msg",
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    output,
  );
  return adapt(logger);
}

function adapt(logger: PinoLogger): Logger {
  return {
    trace: (message, fields) => logger.trace(plain(fields), message),
    debug: (message, fields) => logger.debug(plain(fields), message),
    info: (message, fields) => logger.info(plain(fields), message),
    warn: (message, fields) => logger.warn(plain(fields), message),
    error: (message, fields) => logger.error(plain(fields), message),
    with: (fields) => adapt(logger.child(plain(fields))),
  };
}

/** Errors and big integers as text: JSON would lose the ones and refuse the others. */
function plain(fields: LogFields = {}): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([key, value]) => [
      key,
      value instanceof Error ? value.message : typeof value === "bigint" ? value.toString() : value,
    ]),
  );
}

function formatLine({ time, level, msg, ...fields }: Record<string, unknown>): string {
  const pairs = Object.entries({ time, level: level === "warn" ? "warning" : level, msg, ...fields });
  return `${pairs.map(([key, value]) => `${key}=${formatValue(value)}`).join(" ")}\n`;
}

function formatValue(value: unknown): string {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "");
  return /^[A-Za-z0-9._/@^+-]+$/.test(text) ? text : JSON.stringify(text);
}

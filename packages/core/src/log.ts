/** Fields of one log line; the names are containerd's (`namespace`, `id`, `key`, `digest`, `error`, …). */
export type LogFields = Readonly<Record<string, unknown>>;

/**
 * Where a component writes what an operator should know. Messages are constant texts, values go into the fields.
 *
 * Safe to call at any time, never throws and never blocks.
 */
export interface Logger {
  trace(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** This returns a logger that adds `fields` to each of its lines. */
  with(fields: LogFields): Logger;
}

/** How much a line matters. */
export type LogLevel = Exclude<keyof Logger, "with">;

/** This makes a logger that hands each line to `write`, with the fields of all that it was made from; `write` keeps the rules of {@link Logger}. */
export function loggerOf(
  write: (level: LogLevel, message: string, fields: LogFields) => void,
  bound: LogFields = {},
): Logger {
  const at = (level: LogLevel) => (message: string, fields?: LogFields) =>
    write(level, message, { ...bound, ...fields });
  return {
    trace: at("trace"),
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    with: (fields) => loggerOf(write, { ...bound, ...fields }),
  };
}

const ignore = (): void => {};

/** A logger that drops everything: the default of every option called `log`. */
export const silentLogger: Logger = {
  trace: ignore,
  debug: ignore,
  info: ignore,
  warn: ignore,
  error: ignore,
  with: () => silentLogger,
};

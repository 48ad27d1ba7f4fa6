import type { LogFields } from "@berth/core/log";

/** A line of a shim's log, as the daemon logs it. */
export interface LogLine {
  readonly level: "trace" | "debug" | "info" | "warn" | "error";
  readonly message: string;
  readonly fields: LogFields;
}

const LEVELS: ReadonlyMap<string, LogLine["level"]> = new Map([
  ["trace", "trace"],
  ["debug", "debug"],
  ["info", "info"],
  ["warn", "warn"],
  ["warning", "warn"],
  ["error", "error"],
  ["fatal", "error"],
  ["panic", "error"],
] as const);

const PAIR = /([A-Za-z_][\w.-]*)=(?:"((?:[^"\\]|\\.)*)"|(\S*))\s*/y;

/** This reads a line as logfmt (`level=info msg="…" key=value`) or JSON; any other text is a message of level info. */
export function parseLogLine(line: string): LogLine {
  const values = line.startsWith("{") ? parseJsonLine(line) : parseLogfmt(line);
  if (values === undefined) return { level: "info", message: line, fields: {} };
  const { level, msg, time: _time, ...fields } = values;
  return { level: LEVELS.get(level ?? "") ?? "info", message: msg ?? "", fields };
}

function parseLogfmt(line: string): Record<string, string> | undefined {
  const values: Record<string, string> = Object.create(null);
  PAIR.lastIndex = 0;
  while (PAIR.lastIndex < line.length) {
    const [, key = "", quoted, bare] = PAIR.exec(line) ?? [];
    if (key === "") return undefined;
    values[key] = quoted === undefined ? (bare ?? "") : unquote(quoted);
  }
  return "msg" in values ? values : undefined;
}

function unquote(text: string): string {
  return text.replaceAll(/\\(.)/g, (_, escaped: string) => ESCAPES.get(escaped) ?? escaped);
}

const ESCAPES: ReadonlyMap<string, string> = new Map([
  ["n", "\n"],
  ["t", "\t"],
  ["r", "\r"],
]);

function parseJsonLine(line: string): Record<string, string> | undefined {
  try {
    const parsed: unknown = JSON.parse(line);
    if (typeof parsed !== "object" || parsed === null || !("msg" in parsed)) return undefined;
    const values: Record<string, string> = Object.create(null);
    for (const [key, value] of Object.entries(parsed)) {
      values[key] = typeof value === "string" ? value : (JSON.stringify(value) ?? "");
    }
    return values;
  } catch {
    return undefined;
  }
}

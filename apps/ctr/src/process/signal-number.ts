import { constants } from "node:os";

import { invalidArgument } from "@berth/errors";

const MAX_SIGNAL = 64;

/** This reads `9`, `KILL`, `sigkill` or `RTMIN+3`. @throws invalid_argument - no such signal */
export function signalNumber(text: string): number {
  const number = parseNumber(text);
  if (number === undefined || number > MAX_SIGNAL) throw invalidArgument(`invalid signal: ${text}`);
  return number;
}

function parseNumber(text: string): number | undefined {
  if (/^\d{1,3}$/.test(text)) return Number(text);
  const name = text.toUpperCase().replace(/^SIG/, "");
  const realtime = /^RT(MIN|MAX)(?:([+-])(\d{1,2}))?$/.exec(name);
  if (realtime !== null) return realtimeNumber(realtime);
  return new Map<string, number>(Object.entries(constants.signals)).get(`SIG${name}`);
}

function realtimeNumber([, end, sign, offset = "0"]: RegExpExecArray): number | undefined {
  const base = end === "MIN" ? 34 : MAX_SIGNAL;
  const number = base + (sign === "-" ? -1 : 1) * Number(offset);
  return number >= 34 && number <= MAX_SIGNAL ? number : undefined;
}

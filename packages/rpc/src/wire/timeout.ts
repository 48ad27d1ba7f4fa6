import { invalidArgument } from "@berth/errors";

const UNIT_MS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 };

/**
 * This parses a `grpc-timeout` header into milliseconds.
 * @throws invalid_argument - it is not one to eight digits and a unit
 */
export function parseGrpcTimeout(text: string): number {
  const match = /^(\d{1,8})([HMSmun])$/.exec(text);
  const unit = UNIT_MS[match?.[2] ?? ""];
  if (match === null || unit === undefined) throw invalidArgument(`grpc-timeout ${JSON.stringify(text)} is malformed`);
  return Number(match[1]) * unit;
}

/** This writes milliseconds as a `grpc-timeout` header, rounded up; the inverse of {@link parseGrpcTimeout}. */
export function formatGrpcTimeout(timeoutMs: number): string {
  if (timeoutMs <= 0) return "0m";
  const wholeMs = Math.ceil(timeoutMs);
  if (wholeMs < 1e8) return `${wholeMs}m`;
  const seconds = Math.ceil(timeoutMs / 1000);
  return seconds < 1e8 ? `${seconds}S` : `${Math.min(Math.ceil(seconds / 3600), 99_999_999)}H`;
}

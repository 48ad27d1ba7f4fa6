import { invalidArgument } from "@berth/errors";

/** Where an image runs: operating system, architecture and, where these are not enough, more. */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
  readonly osVersion?: string;
  readonly osFeatures?: readonly string[];
}

/** Decides which of several platforms to take. */
export interface PlatformMatcher {
  /** This says whether something made for `platform` can run here. */
  matches(platform: Platform): boolean;
  /** This orders two matching platforms, the better one first. */
  compare(a: Platform, b: Platform): number;
}

const OS_ALIASES: ReadonlyMap<string, string> = new Map([["macos", "darwin"]]);

const ARCHITECTURE_ALIASES: ReadonlyMap<string, readonly [architecture: string, variant?: string]> = new Map([
  ["i386", ["386"]],
  ["x86_64", ["amd64"]],
  ["x86-64", ["amd64"]],
  ["x64", ["amd64"]],
  ["aarch64", ["arm64"]],
  ["armhf", ["arm", "v7"]],
  ["armel", ["arm", "v6"]],
]);

const KNOWN_OS = new Set(
  "aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9 solaris windows zos".split(
    " ",
  ),
);
const KNOWN_ARCHITECTURES = new Set(
  "386 amd64 amd64p32 arm armbe arm64 arm64be loong64 mips mipsle mips64 mips64le mips64p32 mips64p32le ppc ppc64 ppc64le riscv riscv64 s390 s390x sparc sparc64 wasm".split(
    " ",
  ),
);

/** This returns the platform that this process runs on. */
export function hostPlatform(): Platform {
  const architecture = { x64: "amd64", arm64: "arm64", arm: "arm", ia32: "386" }[String(process.arch)] ?? process.arch;
  return normalizePlatform({
    os: process.platform === "win32" ? "windows" : process.platform,
    architecture,
  });
}

/** This spells a platform the way OCI does: lower case, no aliases, no default variant. Idempotent. */
export function normalizePlatform(platform: Platform): Platform {
  const os = platform.os.toLowerCase();
  const architecture = platform.architecture.toLowerCase();
  const alias = ARCHITECTURE_ALIASES.get(architecture);
  let variant = platform.variant?.toLowerCase() || alias?.[1] || "";
  const resolved = alias?.[0] ?? architecture;
  if (resolved === "arm64" && (variant === "8" || variant === "v8")) variant = "";
  if (resolved === "amd64" && variant === "v1") variant = "";
  if (resolved === "arm") variant = { "": "v7", "5": "v5", "6": "v6", "7": "v7", "8": "v8" }[variant] ?? variant;
  return {
    os: OS_ALIASES.get(os) ?? os,
    architecture: resolved,
    ...(variant === "" ? {} : { variant }),
    ...(platform.osVersion ? { osVersion: platform.osVersion } : {}),
    ...(platform.osFeatures?.length ? { osFeatures: platform.osFeatures } : {}),
  };
}

/**
 * This reads `os`, `architecture`, `os/architecture` or `os/architecture/variant`; what is left out is taken from the host.
 *
 * @throws invalid_argument - unknown single word, wildcard, or a part with other characters than letters, digits, `_`, `-`, `.`
 * @see containerd platforms, Parse
 */
export function parsePlatform(text: string): Platform {
  const parts = text.split("/");
  if (parts.length > 3 || !parts.every((part) => /^[A-Za-z0-9_.-]+$/.test(part))) {
    throw invalidArgument(`invalid platform ${JSON.stringify(text)}: expected os[/architecture[/variant]]`);
  }
  const [first = "", second, third] = parts;
  if (second !== undefined) {
    return normalizePlatform({
      os: first,
      architecture: second,
      ...(third === undefined ? {} : { variant: third }),
    });
  }
  const os = OS_ALIASES.get(first.toLowerCase()) ?? first.toLowerCase();
  if (KNOWN_OS.has(os)) return { ...hostPlatform(), os };
  const guess = normalizePlatform({ os: hostPlatform().os, architecture: first });
  if (KNOWN_ARCHITECTURES.has(guess.architecture)) return guess;
  throw invalidArgument(`unknown operating system or architecture ${JSON.stringify(text)}`);
}

/** This writes `os/architecture[/variant]`; `"unknown"` for a platform without an operating system. */
export function formatPlatform(platform: Platform): string {
  if (platform.os === "") return "unknown";
  const os = platform.osVersion ? `${platform.os}(${platform.osVersion})` : platform.os;
  return [os, platform.architecture, platform.variant].filter((part) => part).join("/");
}

/** This matches exactly the platform given, after normalisation. */
export function onlyStrict(wanted: Platform): PlatformMatcher {
  return ordered([normalizePlatform(wanted)]);
}

/** This matches the platform given and those that it can also run, the nearest first (arm64 → arm/v8 … v5, amd64 → 386). */
export function only(wanted: Platform): PlatformMatcher {
  return ordered(compatible(normalizePlatform(wanted)));
}

/** This matches everything and prefers nothing. */
export const allPlatforms: PlatformMatcher = { matches: () => true, compare: () => 0 };

function ordered(list: readonly Platform[]): PlatformMatcher {
  const rank = (platform: Platform): number => {
    const key = formatPlatform({ ...normalizePlatform(platform), osVersion: "" });
    return list.findIndex((candidate) => formatPlatform(candidate) === key);
  };
  return { matches: (platform) => rank(platform) >= 0, compare: (a, b) => rank(a) - rank(b) };
}

function compatible(platform: Platform): readonly Platform[] {
  const { os, architecture, variant = "" } = platform;
  const arm = (highest: number): Platform[] =>
    Array.from({ length: Math.max(highest - 4, 0) }, (_, step) => ({
      os,
      architecture: "arm",
      variant: `v${highest - step}`,
    }));
  if (architecture === "arm64") return [platform, ...(variant ? [{ os, architecture }] : []), ...arm(8)];
  if (architecture === "arm") return arm(Number(variant.slice(1)) || 7);
  if (architecture === "amd64") {
    const level = variant ? Number(variant.slice(1)) : 1;
    const lower = Array.from({ length: Math.max(level - 2, 0) }, (_, step) => ({
      os,
      architecture,
      variant: `v${level - 1 - step}`,
    }));
    return [platform, ...lower, ...(variant ? [{ os, architecture }] : []), { os, architecture: "386" }];
  }
  return [platform];
}

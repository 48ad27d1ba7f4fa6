import type { PlatformMatcher } from "@berth/oci";
import { allPlatforms, hostPlatform, only, parsePlatform } from "@berth/oci";

import { invalidArgument } from "@berth/errors";

/** This returns which platforms a command is about: all, those named, or the host's. */
export function platformsOf(flags: {
  readonly platform: readonly string[];
  readonly "all-platforms": boolean;
}): PlatformMatcher {
  if (flags["all-platforms"]) {
    if (flags.platform.length > 0) throw invalidArgument("--platform and --all-platforms exclude each other");
    return allPlatforms;
  }
  const [first, ...more] = flags.platform.map((text) => only(parsePlatform(text)));
  if (first === undefined) return only(hostPlatform());
  const matchers = [first, ...more];
  return {
    matches: (platform) => matchers.some((each) => each.matches(platform)),
    compare: (one, other) => first.compare(one, other),
  };
}

import type { Platform, PlatformMatcher } from "@berth/oci";
import { allPlatforms, only } from "@berth/oci";

/** This makes a matcher of any of the platforms, the first of them being the best; of all platforms where there are none. */
export function matchPlatforms(platforms: readonly Platform[]): PlatformMatcher {
  const matchers = platforms.map((platform) => only(platform));
  const [single] = matchers;
  if (single === undefined) return allPlatforms;
  if (matchers.length === 1) return single;
  const rank = (platform: Platform): number => matchers.findIndex((each) => each.matches(platform));
  return {
    matches: (platform) => rank(platform) >= 0,
    compare: (one, other) => rank(one) - rank(other) || (matchers[rank(one)]?.compare(one, other) ?? 0),
  };
}

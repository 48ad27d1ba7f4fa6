import { codeName, codeOf, deadlineExceeded, unavailable } from "@berth/errors";
import { afterEach, beforeEach, expect, it, vi } from "vitest";

import { TokenCache } from "./token-cache.ts";

beforeEach(() => void vi.useFakeTimers({ toFake: ["Date"] }));
afterEach(() => void vi.useRealTimers());

it.each([
  ["asks again", unavailable("refused"), 0],
  ["asks again after a while when the token was late", deadlineExceeded("late"), 30_000],
])("TokenCache after a failure, %s", async (_which, error, ms) => {
  const cache = new TokenCache();
  const fetch = vi.fn(() => Promise.reject(error));
  const code = async (): Promise<string> => codeName(codeOf(await cache.get("x", fetch).catch((why: unknown) => why)));
  expect([await code(), await code()]).toEqual([codeName(codeOf(error)), codeName(codeOf(error))]);
  expect(fetch).toHaveBeenCalledTimes(ms > 0 ? 1 : 2);
  vi.setSystemTime(Date.now() + ms);
  expect(await cache.get("x", async () => ({ value: "token", expiresAt: Infinity }))).toMatchObject({ value: "token" });
});

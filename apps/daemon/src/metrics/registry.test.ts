import { expect, it } from "vitest";

import { createRegistry, gauge } from "./registry.ts";

it("createRegistry makes one that shares nothing with others of the process", async () => {
  const [first, second] = [createRegistry(), createRegistry()];
  for (const [index, registry] of [first, second].entries()) gauge(registry, "shown", "A number", () => index);
  for (const [index, registry] of [first, second].entries()) {
    expect(await registry.metrics()).toContain(`\nshown ${index}\n`);
    expect(await registry.metrics()).toContain("\nprocess_start_time_seconds 1");
  }
});

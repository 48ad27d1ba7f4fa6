import { expect, it } from "vitest";

import { apparmorProfile, profileOf } from "./apparmor.ts";

it.each([
  ["unconfined\n", "unconfined"],
  ["berthd (enforce)\n", "berthd"],
  ["/usr/bin/berthd (complain)\n\0", "/usr/bin/berthd"],
  ["/opt/my programs/{a,b} (enforce)", "/opt/my programs/{a,b}"],
  ["", "unconfined"],
  ["two\nlines (enforce)", "unconfined"],
])("profileOf(%j) is %j", (current, expected) => expect(profileOf(current)).toBe(expected));

it.each([
  ["berthd", "berthd"],
  ["/usr/bin/berthd", '"/usr/bin/berthd"'],
  ['/a "b" {c,*}', '"/a \\"b\\" \\{c,\\*\\}"'],
])("apparmorProfile lets a manager of profile %s send signals", (manager, peer) => {
  const parts = { abi: false, tunables: false, base: false, manager };
  expect(apparmorProfile("own", parts).split("\n")).toContain(`  signal (receive) peer=${peer},`);
});

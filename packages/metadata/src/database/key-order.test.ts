import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { compareBytes, KeyOrder } from "./key-order.ts";

describe("KeyOrder", () => {
  it("has the keys in byte order, whatever was added, removed and asked for before", () => {
    const key = fc.string({ unit: "binary", maxLength: 2 });
    const step = fc.oneof(fc.record({ add: key }), fc.record({ remove: key }), fc.constant({ ask: true }));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const order = new KeyOrder();
        const model = new Set<string>();
        for (const each of steps) {
          if ("add" in each && !model.has(each.add)) {
            order.add(each.add);
            model.add(each.add);
          } else if ("remove" in each && model.delete(each.remove)) order.delete(each.remove);
          else if ("ask" in each) expect(order.keys()).toEqual([...model].sort(compareBytes));
        }
        expect(order.keys()).toEqual([...model].sort(compareBytes));
      }),
    );
  });

  it("stays right where many keys come and go before it is asked", () => {
    const order = new KeyOrder();
    order.add("stays");
    for (let round = 0; round < 5000; round++) {
      order.add(`k${round}`);
      order.delete(`k${round}`);
    }
    expect(order.keys()).toEqual(["stays"]);
  });
});

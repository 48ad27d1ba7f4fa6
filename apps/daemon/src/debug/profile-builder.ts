import { gzipSync } from "node:zlib";

import type { Profile } from "@berth/api/perftools/profiles/profile";
import {
  FunctionSchema,
  LocationSchema,
  ProfileSchema,
  SampleSchema,
  ValueTypeSchema,
} from "@berth/api/perftools/profiles/profile";
import { create, toBinary } from "@bufbuild/protobuf";

/** A place in the program. */
export interface Frame {
  readonly name: string;
  readonly file: string;
  /** From 1; 0 where it is not known. */
  readonly line: number;
}

/** What is measured, `["cpu", "nanoseconds"]` for one. */
export type Measure = readonly [type: string, unit: string];

/** Puts a profile together as pprof reads it. */
export class ProfileBuilder {
  readonly #profile: Profile;
  readonly #strings = new Map<string, bigint>();
  readonly #locations = new Map<string, bigint>();

  /** @param period the measure that is sampled, and how much of it lies between two samples */
  constructor(measures: readonly Measure[], period?: readonly [Measure, number]) {
    this.#profile = create(ProfileSchema, { timeNanos: BigInt(Date.now()) * 1_000_000n });
    this.#string("");
    for (const measure of measures) this.#profile.sampleType.push(this.#measure(measure));
    if (period !== undefined) {
      this.#profile.periodType = this.#measure(period[0]);
      this.#profile.period = BigInt(period[1]);
    }
  }

  set durationMs(value: number) {
    this.#profile.durationNanos = BigInt(Math.round(value * 1e6));
  }

  /** This adds values, one for each measure, seen at a stack, whose innermost frame comes first. */
  add(stack: readonly Frame[], values: readonly number[]): void {
    this.#profile.sample.push(
      create(SampleSchema, {
        locationId: stack.map((frame) => this.#location(frame)),
        value: values.map((value) => BigInt(Math.round(value))),
      }),
    );
  }

  /** This returns the profile as it is written into files: compressed. */
  finish(): Uint8Array {
    return gzipSync(toBinary(ProfileSchema, this.#profile));
  }

  #measure([type, unit]: Measure) {
    return create(ValueTypeSchema, { type: this.#string(type), unit: this.#string(unit) });
  }

  /** Each place is a function of its own: V8 tells where functions begin, not which of their lines runs. */
  #location(frame: Frame): bigint {
    const key = JSON.stringify([frame.name, frame.file, frame.line]);
    const known = this.#locations.get(key);
    if (known !== undefined) return known;
    const id = BigInt(this.#locations.size + 1);
    const [name, filename] = [this.#string(frame.name), this.#string(frame.file)];
    const line = BigInt(frame.line);
    this.#profile.function.push(create(FunctionSchema, { id, name, systemName: name, filename, startLine: line }));
    this.#profile.location.push(create(LocationSchema, { id, line: [{ functionId: id, line }] }));
    this.#locations.set(key, id);
    return id;
  }

  #string(text: string): bigint {
    const known = this.#strings.get(text);
    if (known !== undefined) return known;
    const index = BigInt(this.#strings.size);
    this.#strings.set(text, index);
    this.#profile.stringTable.push(text);
    return index;
  }
}

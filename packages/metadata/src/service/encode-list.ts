import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { AnyValue } from "@berth/core/any";
import { withEncoding } from "@berth/rpc";

/** Encodes messages of one kind of record; what has been encoded once is kept as long as the record. */
export interface RecordEncoder<R extends object, M extends DescMessage> {
  /** This makes the whole message. */
  toMessage(record: R): MessageShape<M>;
  /** This returns the parts of the message's binary form, which follow one another. */
  encode(record: R): readonly Uint8Array[];
}

/** What a {@link RecordEncoder} is made of. */
export interface RecordEncoding<R extends object, M extends DescMessage> {
  readonly schema: M;
  toMessage(record: R): MessageShape<M>;
  /** A big field that is not kept a second time: its number and value; `toHead` leaves it out. */
  readonly bulk?: {
    readonly field: number;
    valueOf(record: R): AnyValue | undefined;
    toHead(record: R): MessageShape<M>;
  };
}

const LIST_FIELD = 1;
const ANY_TYPE_URL = 1;
const ANY_VALUE = 2;

/** This makes an encoder for records that are never changed, only replaced. */
export function recordEncoder<R extends object, M extends DescMessage>(
  encoding: RecordEncoding<R, M>,
): RecordEncoder<R, M> {
  const { schema, toMessage, bulk } = encoding;
  const heads = new WeakMap<R, Uint8Array>();
  const encodeAny = anyEncoder(bulk?.field ?? 0);
  const headOf = (record: R): Uint8Array => {
    const kept = heads.get(record);
    if (kept !== undefined) return kept;
    const head = toBinary(schema, bulk === undefined ? toMessage(record) : bulk.toHead(record));
    heads.set(record, head);
    return head;
  };
  return {
    toMessage,
    encode(record) {
      const value = bulk?.valueOf(record);
      // The order of fields is free.
      return value === undefined ? [headOf(record)] : [headOf(record), ...encodeAny(value)];
    },
  };
}

/** This makes an answer whose field 1, called `name`, holds a list of records; its fields are made when somebody reads them. */
export function listAnswer<R extends object, M extends DescMessage, A extends MessageShape<DescMessage>>(
  answer: A,
  name: keyof A & string,
  records: readonly R[],
  encoder: RecordEncoder<R, M>,
): A {
  return lazyAnswer(answer, name, () => records.map((record) => encoder.toMessage(record)), records, encoder);
}

/** The same for an answer whose field 1 holds one record. */
export function singleAnswer<R extends object, M extends DescMessage, A extends MessageShape<DescMessage>>(
  answer: A,
  name: keyof A & string,
  record: R,
  encoder: RecordEncoder<R, M>,
): A {
  return lazyAnswer(answer, name, () => encoder.toMessage(record), [record], encoder);
}

function lazyAnswer<R extends object, M extends DescMessage, A extends MessageShape<DescMessage>>(
  answer: A,
  name: keyof A & string,
  make: () => unknown,
  records: readonly R[],
  encoder: RecordEncoder<R, M>,
): A {
  let made: unknown;
  Object.defineProperty(answer, name, { enumerable: true, configurable: true, get: () => (made ??= make()) });
  return withEncoding(answer, () => encodeRecords(records, encoder));
}

/** This makes the binary form of a message whose field 1 is repeated, or there once. */
export function encodeRecords<R extends object, M extends DescMessage>(
  records: readonly R[],
  encoder: RecordEncoder<R, M>,
): Uint8Array {
  const parts: Uint8Array[] = [];
  let size = 0;
  const add = (part: Uint8Array): void => {
    parts.push(part);
    size += part.length;
  };
  for (const record of records) {
    const encoded = encoder.encode(record);
    const length = encoded.reduce((sum, part) => sum + part.length, 0);
    add(fieldHead(LIST_FIELD, length));
    encoded.forEach(add);
  }
  return concatenate(parts, size);
}

/** Specs have the same type, one after the other. */
function anyEncoder(field: number): (value: AnyValue) => readonly Uint8Array[] {
  let last = { typeUrl: "", encoded: new Uint8Array(0) };
  return ({ typeUrl, value }) => {
    if (typeUrl !== last.typeUrl) {
      const writer = new BinaryWriter().tag(ANY_TYPE_URL, WireType.LengthDelimited).string(typeUrl);
      last = { typeUrl, encoded: writer.finish() };
    }
    const valueHead = fieldHead(ANY_VALUE, value.length);
    const length = last.encoded.length + valueHead.length + value.length;
    return [fieldHead(field, length), last.encoded, valueHead, value];
  };
}

/** Tag and length of a field of bytes. Made by hand: an answer has one for each record. */
function fieldHead(field: number, length: number): Uint8Array {
  const bytes = [(field << 3) | WireType.LengthDelimited];
  let rest = length;
  for (; rest > 0x7f; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  bytes.push(rest);
  return Uint8Array.from(bytes);
}

function concatenate(parts: readonly Uint8Array[], size: number): Uint8Array {
  // Not zeroed: every byte is written over. Not from the pool: it goes out at once.
  const { buffer } = Buffer.allocUnsafeSlow(size);
  const result = new Uint8Array(buffer);
  let offset = 0;
  for (const part of parts) {
    result.set(part, offset);
    offset += part.length;
  }
  return result;
}

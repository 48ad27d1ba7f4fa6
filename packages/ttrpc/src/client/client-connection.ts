import type { Duplex } from "node:stream";

import { create, toBinary } from "@bufbuild/protobuf";
import { RequestSchema } from "@berth/api/ttrpc/ttrpc";
import type { Logger } from "@berth/core/log";
import { messageOf, resourceExhausted, unavailable } from "@berth/errors";

import type { Frame } from "../wire/frame.ts";
import { Flag, MessageType } from "../wire/frame.ts";
import { FrameConnection } from "../wire/frame-connection.ts";
import type { MetadataPair } from "../wire/metadata.ts";

const LAST_STREAM_ID = 0xffffffff;
const NOTHING = new Uint8Array(0);

/** One call in progress, as the connection sees it. */
export interface ClientCall {
  onFrame(frame: Frame & { readonly payload: Uint8Array }): void;
  fail(error: Error): void;
}

/** What opens a call. */
export interface CallOpening {
  readonly service: string;
  readonly method: string;
  readonly metadata: MetadataPair[];
  readonly timeoutMs: number | undefined;
  readonly payload: Uint8Array;
  readonly flags: number;
}

/** The client's end of one ttrpc connection: it numbers the calls and hands each frame to the call it belongs to. */
export class ClientConnection {
  readonly frames: FrameConnection;
  readonly #log: Logger;
  readonly #calls = new Map<number, ClientCall>();
  readonly #onClose: (error: Error | undefined) => void;
  #nextId = 1;

  constructor(socket: Duplex, log: Logger, onClose: (error: Error | undefined) => void) {
    this.#log = log;
    this.#onClose = onClose;
    this.frames = new FrameConnection(socket, {
      onFrame: (frame) => this.#route(frame),
      onClose: (error) => this.#lose(error),
    });
  }

  /** Whether a further call can be made on it. */
  get isUsable(): boolean {
    return !this.frames.isClosed && this.#nextId < LAST_STREAM_ID;
  }

  /**
   * This sends a request and returns the id of its stream.
   * @throws resource_exhausted - the request is larger than 4 MiB; nothing is sent
   * @throws unavailable - the connection is closed
   */
  open(opening: CallOpening, call: ClientCall): number {
    if (!this.isUsable) throw closedError();
    const { service, method, metadata, timeoutMs, payload } = opening;
    const timeoutNano = timeoutMs === undefined ? 0n : BigInt(Math.ceil(timeoutMs * 1e6));
    const request = create(RequestSchema, { service, method, payload, timeoutNano, metadata });
    const id = this.#nextId;
    this.frames.send(id, MessageType.request, opening.flags, toBinary(RequestSchema, request));
    // Counted up only now: a request too large to be sent uses no id.
    this.#nextId += 2;
    this.#calls.set(id, call);
    return id;
  }

  sendData(id: number, payload: Uint8Array): boolean {
    return this.frames.send(id, MessageType.data, 0, payload);
  }

  sendEnd(id: number): void {
    this.frames.send(id, MessageType.data, Flag.remoteClosed | Flag.noData, NOTHING);
  }

  /** This forgets a call: frames that still come for it are dropped. ttrpc has no way to tell the server. */
  forget(id: number): void {
    this.#calls.delete(id);
  }

  close(): void {
    this.frames.close();
  }

  #route(frame: Frame): void {
    const call = this.#calls.get(frame.streamId);
    if (call === undefined) {
      this.#log.debug("frame for unknown stream dropped", { stream: frame.streamId, type: frame.type });
      return;
    }
    const { payload } = frame;
    if (payload === undefined) {
      this.forget(frame.streamId);
      call.fail(resourceExhausted(`received message of ${frame.size} bytes is larger than the limit of 4 MiB`));
      return;
    }
    call.onFrame({ ...frame, payload });
  }

  #lose(error: Error | undefined): void {
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    const reason = closedError(error);
    for (const call of calls) call.fail(reason);
    this.#onClose(error);
  }
}

/** The error of calls on a connection that is gone. */
export function closedError(cause?: Error): Error {
  return unavailable(cause === undefined ? "ttrpc: closed" : `ttrpc: closed: ${messageOf(cause)}`, { cause });
}

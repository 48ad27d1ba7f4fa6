import type { Duplex } from "node:stream";

import type { Request } from "@berth/api/ttrpc/ttrpc";
import { RequestSchema } from "@berth/api/ttrpc/ttrpc";
import type { Logger } from "@berth/core/log";
import { canceled, invalidArgument, messageOf, resourceExhausted, toConnectError } from "@berth/errors";

import type { Frame } from "../wire/frame.ts";
import { MAX_PAYLOAD_BYTES, MessageType } from "../wire/frame.ts";
import { FrameConnection } from "../wire/frame-connection.ts";
import { decodeMessage } from "../wire/message.ts";
import { serverClosing } from "../wire/server-closing.ts";
import { sendStatus, ServerCall } from "./server-call.ts";
import type { ServiceTable } from "./service-table.ts";

/** The server's end of one connection: its rules for stream ids, and the calls that run on it. */
export class ServerConnection {
  readonly #frames: FrameConnection;
  readonly #services: ServiceTable;
  readonly #calls = new Map<number, ServerCall>();
  readonly #log: Logger;
  #lastId = 0;
  #draining = false;

  constructor(socket: Duplex, services: ServiceTable, log: Logger, onClose: () => void) {
    this.#services = services;
    this.#log = log;
    this.#frames = new FrameConnection(socket, {
      onFrame: (frame) => this.#take(frame),
      onClose: (error) => {
        if (error !== undefined) log.debug("ttrpc connection failed", { error: messageOf(error) });
        this.#cutAll();
        onClose();
      },
    });
  }

  /** This closes the connection as soon as no call runs on it, and refuses further ones. */
  drain(): void {
    this.#draining = true;
    if (this.#calls.size === 0) this.#frames.close();
  }

  close(): void {
    this.#frames.close();
  }

  #take(frame: Frame): void {
    try {
      this.#handle(frame);
    } catch (error) {
      sendStatus(this.#frames, frame.streamId, toConnectError(error));
    }
  }

  #handle(frame: Frame): void {
    const { streamId, payload } = frame;
    if (payload === undefined) {
      this.#refuseOversize(frame);
      return;
    }
    if (streamId % 2 !== 1) throw invalidArgument("StreamID must be odd for client initiated streams");
    if (frame.type === MessageType.data) {
      const call = this.#calls.get(streamId);
      if (call === undefined) throw invalidArgument("StreamID is no longer active");
      call.takeData(frame.flags, payload);
    } else if (frame.type === MessageType.request) this.#open(streamId, payload);
    // Other types are none of a client's; they are ignored as containerd does.
  }

  /** Its stream has lost a message: a call that runs on it is ended with that error, too. */
  #refuseOversize(frame: Frame): void {
    const error = resourceExhausted(`message length ${frame.size} exceeds maximum of ${MAX_PAYLOAD_BYTES}`);
    const call = this.#calls.get(frame.streamId);
    if (call === undefined) throw error;
    call.cut(error);
  }

  #open(id: number, payload: Uint8Array): void {
    if (id <= this.#lastId) throw invalidArgument("StreamID cannot be re-used and must increment");
    this.#lastId = id;
    if (this.#draining) throw serverClosing();
    const request = decodeRequest(payload);
    const spec = this.#services.get(request.service, request.method);
    const call = new ServerCall(this.#frames, id, spec, request, () => this.#forget(id));
    this.#calls.set(id, call);
    this.#log.trace("ttrpc call", { service: request.service, method: request.method });
    call.start(request.payload);
  }

  #forget(id: number): void {
    this.#calls.delete(id);
    if (this.#draining && this.#calls.size === 0) this.#frames.close();
  }

  #cutAll(): void {
    if (this.#calls.size === 0) return;
    const reason = canceled("ttrpc: closed");
    for (const call of this.#calls.values()) call.cut(reason);
  }
}

function decodeRequest(payload: Uint8Array): Request {
  try {
    return decodeMessage(RequestSchema, payload);
  } catch (error) {
    throw invalidArgument(`unmarshal request error: ${messageOf(error)}`, { cause: error });
  }
}

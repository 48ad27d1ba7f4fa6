import type { DescMessage, DescMethodUnary, DescService, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import type { Response } from "@berth/api/ttrpc/ttrpc";
import { ResponseSchema } from "@berth/api/ttrpc/ttrpc";
import type { UnaryResponse } from "@connectrpc/connect";
import type { CallLimits } from "@berth/core/call-limits";
import { internal } from "@berth/errors";

import { MessageType } from "../wire/frame.ts";
import { decodeMessage, encodeMessage } from "../wire/message.ts";
import type { MetadataPair } from "../wire/metadata.ts";
import { fromProtoStatus } from "../wire/status.ts";
import type { ClientConnection } from "./client-connection.ts";
import { watchLimits } from "./watch-limits.ts";

/** What one call needs to be made. */
export interface CallPlan<M> {
  readonly connection: ClientConnection;
  readonly method: M;
  readonly metadata: MetadataPair[];
  readonly limits: CallLimits;
}

/** This makes a unary call and resolves with its answer. Cancelling it tells the server nothing: ttrpc has no word for it. */
export async function callUnary<I extends DescMessage, O extends DescMessage>(
  plan: CallPlan<DescMethodUnary<I, O>>,
  input: MessageInitShape<I>,
): Promise<UnaryResponse<I, O>> {
  const { method } = plan;
  const response = await exchange(plan, encodeMessage(method.input, input));
  const error = fromProtoStatus(response.status);
  if (error !== undefined) throw error;
  return new TtrpcUnaryResponse(method, decodeMessage(method.output, response.payload));
}

function exchange(plan: CallPlan<DescMethodUnary>, payload: Uint8Array): Promise<Response> {
  const { connection, method, metadata, limits } = plan;
  const { timeoutMs } = limits;
  return new Promise((resolve, reject) => {
    const service = method.parent.typeName;
    const opening = { service, method: method.name, metadata, timeoutMs, payload, flags: 0 };
    const id = connection.open(opening, {
      fail(error) {
        stop();
        reject(error);
      },
      onFrame(frame) {
        stop();
        connection.forget(id);
        try {
          if (frame.type !== MessageType.response)
            throw internal(`peer answers a unary call with a frame of type ${frame.type}`);
          resolve(decodeMessage(ResponseSchema, frame.payload));
        } catch (error) {
          reject(error as Error); // `throw` above and decodeMessage throw ConnectError
        }
      },
    });
    const stop = watchLimits(limits, (error) => {
      connection.forget(id);
      reject(error);
    });
  });
}

/** The answer of a unary call; ttrpc knows no headers of answers. */
class TtrpcUnaryResponse<I extends DescMessage, O extends DescMessage> implements UnaryResponse<I, O> {
  readonly stream = false;
  readonly method: DescMethodUnary<I, O>;
  readonly message: MessageShape<O>;

  constructor(method: DescMethodUnary<I, O>, message: MessageShape<O>) {
    this.method = method;
    this.message = message;
  }

  get service(): DescService {
    return this.method.parent;
  }

  get header(): Headers {
    return new Headers();
  }

  get trailer(): Headers {
    return new Headers();
  }
}

import { create } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import type { Status } from "@berth/api/google/rpc/status";
import { StatusSchema } from "@berth/api/google/rpc/status";
import { withClass } from "@berth/errors";
import { Code, ConnectError } from "@connectrpc/connect";

/** This writes an error as the status of a response, with its details. */
export function toProtoStatus(error: ConnectError): Status {
  return create(StatusSchema, {
    code: error.code,
    message: withClass(error.rawMessage, error.code),
    details: error.details.map((detail) =>
      "desc" in detail
        ? anyPack(detail.desc, create(detail.desc, detail.value))
        : { typeUrl: `type.googleapis.com/${detail.type}`, value: detail.value },
    ),
  });
}

/** This reads the status of a response: an error, or `undefined` when there is none or it says OK. */
export function fromProtoStatus(status: Status | undefined): ConnectError | undefined {
  if (status === undefined || status.code === 0) return undefined;
  const error = new ConnectError(status.message, status.code in Code ? status.code : Code.Unknown);
  error.details = status.details.map(({ typeUrl, value }) => ({
    type: typeUrl.slice(typeUrl.lastIndexOf("/") + 1),
    value,
  }));
  error.isWireError = true;
  return error;
}

import type {
  DescMethodBiDiStreaming,
  DescMethodClientStreaming,
  DescMethodServerStreaming,
  DescMethodUnary,
} from "@bufbuild/protobuf";
import { create, createFileRegistry } from "@bufbuild/protobuf";
import type { GenService } from "@bufbuild/protobuf/codegenv2";
import type { BytesValue } from "@bufbuild/protobuf/wkt";
import { BytesValueSchema, file_google_protobuf_wrappers, FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";

const method = (name: string, clientStreaming: boolean, serverStreaming: boolean) => ({
  name,
  inputType: ".google.protobuf.BytesValue",
  outputType: ".google.protobuf.BytesValue",
  clientStreaming,
  serverStreaming,
});

const files = createFileRegistry(
  create(FileDescriptorProtoSchema, {
    name: "berth/test/echo.proto",
    package: "berth.test",
    syntax: "proto3",
    dependency: ["google/protobuf/wrappers.proto"],
    service: [
      {
        name: "Echo",
        method: [
          method("Unary", false, false),
          method("Collect", true, false),
          method("Repeat", false, true),
          method("Talk", true, true),
        ],
      },
    ],
  }),
  () => file_google_protobuf_wrappers,
);

type Bytes = typeof BytesValueSchema;

/** A service with a method of each kind: no service of containerd has a client-streaming one. */
export const Echo = files.getService("berth.test.Echo") as unknown as GenService<{
  unary: DescMethodUnary<Bytes, Bytes> & { methodKind: "unary" };
  collect: DescMethodClientStreaming<Bytes, Bytes> & { methodKind: "client_streaming" };
  repeat: DescMethodServerStreaming<Bytes, Bytes> & { methodKind: "server_streaming" };
  talk: DescMethodBiDiStreaming<Bytes, Bytes> & { methodKind: "bidi_streaming" };
}>; // made above with exactly these methods

export function bytes(text: string): BytesValue {
  return create(BytesValueSchema, { value: new TextEncoder().encode(text) });
}

export function textOf(message: BytesValue): string {
  return new TextDecoder().decode(message.value);
}

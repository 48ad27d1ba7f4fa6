import type { DescMessage, Message } from "@bufbuild/protobuf";
import { createRegistry, fromBinary, isMessage, ScalarType } from "@bufbuild/protobuf";
import type { AnyValue } from "@berth/core/any";
import { reflect, type ReflectMessage } from "@bufbuild/protobuf/reflect";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import { file_containerd_events_container } from "@berth/api/containerd/events/container";
import { file_containerd_events_content } from "@berth/api/containerd/events/content";
import { file_containerd_events_namespace } from "@berth/api/containerd/events/namespace";
import { file_containerd_events_sandbox } from "@berth/api/containerd/events/sandbox";
import { file_containerd_events_snapshot } from "@berth/api/containerd/events/snapshot";
import { file_containerd_events_task } from "@berth/api/containerd/events/task";
import { file_containerd_services_images_v1_events } from "@berth/api/containerd/services/images/v1/events";

/** Every message that containerd sends as an event. */
const registry = createRegistry(
  file_containerd_events_container,
  file_containerd_events_content,
  file_containerd_events_namespace,
  file_containerd_events_sandbox,
  file_containerd_events_snapshot,
  file_containerd_events_task,
  file_containerd_services_images_v1_events,
);

/** How deep an event may hold other events; deeper fields are absent. */
const MAX_NESTING = 8;

/** This decodes an event once and reads its fields by their protobuf names; an unknown or broken event has none. */
export class EventFields {
  readonly #event: AnyValue;
  #decoded: ReflectMessage | undefined;
  #tried = false;

  constructor(event: AnyValue) {
    this.#event = event;
  }

  /** This returns the field as text: `container_id`, `io.stdin`, `runtime.options.x`, `labels.<key with dots>`. */
  find(path: readonly string[]): string | undefined {
    if (!this.#tried) {
      this.#tried = true;
      this.#decoded = decode(this.#event);
    }
    return this.#decoded === undefined ? undefined : findIn(this.#decoded, path, 0);
  }
}

function decode(value: AnyValue): ReflectMessage | undefined {
  const schema = registry.getMessage(value.typeUrl.slice(value.typeUrl.lastIndexOf("/") + 1));
  if (schema === undefined) return undefined;
  try {
    return reflect(schema, fromBinary<DescMessage>(schema, value.value));
  } catch {
    // A shim may send anything as an event; one that does not decode is passed on, and matches no field.
    return undefined;
  }
}

function findIn(message: ReflectMessage, path: readonly string[], depth: number): string | undefined {
  const [name, ...rest] = path;
  const field = message.fields.find((each) => each.name === name);
  if (field === undefined || depth > MAX_NESTING) return undefined;
  switch (field.fieldKind) {
    case "scalar":
      if (rest.length > 0 || field.scalar === ScalarType.BYTES) return undefined;
      // An empty text counts as absent, as in containerd.
      return String(message.get(field)) || undefined;
    case "message": {
      if (!message.isSet(field)) return undefined;
      const inner = message.get(field);
      return findInInner(inner.message, inner, rest, depth + 1);
    }
    case "map": {
      const value: unknown = message.get(field).get(rest.join("."));
      return typeof value === "string" ? value : undefined;
    }
    default:
      return undefined;
  }
}

function findInInner(
  message: Message,
  inner: ReflectMessage,
  path: readonly string[],
  depth: number,
): string | undefined {
  if (!isMessage(message, AnySchema)) return findIn(inner, path, depth);
  const any: Any = message;
  const decoded = decode(any);
  return decoded === undefined ? undefined : findIn(decoded, path, depth);
}

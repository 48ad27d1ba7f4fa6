import { file_containerd_events_container } from "@berth/api/containerd/events/container";
import { file_containerd_events_content } from "@berth/api/containerd/events/content";
import { file_containerd_events_namespace } from "@berth/api/containerd/events/namespace";
import { file_containerd_events_sandbox } from "@berth/api/containerd/events/sandbox";
import { file_containerd_events_snapshot } from "@berth/api/containerd/events/snapshot";
import { file_containerd_events_task } from "@berth/api/containerd/events/task";
import { file_containerd_runc_v1_options } from "@berth/api/containerd/runc/v1/options";
import { file_containerd_services_images_v1_events } from "@berth/api/containerd/services/images/v1/events";
import { file_io_containerd_cgroups_v1_metrics } from "@berth/api/io/containerd/cgroups/v1/metrics";
import { file_io_containerd_cgroups_v2_metrics } from "@berth/api/io/containerd/cgroups/v2/metrics";
import { createRegistry } from "@bufbuild/protobuf";

/** Messages that travel inside `google.protobuf.Any` and are shown as themselves in JSON. */
export const messageRegistry = createRegistry(
  file_containerd_events_container,
  file_containerd_events_content,
  file_containerd_events_namespace,
  file_containerd_events_sandbox,
  file_containerd_events_snapshot,
  file_containerd_events_task,
  file_containerd_runc_v1_options,
  file_containerd_services_images_v1_events,
  file_io_containerd_cgroups_v1_metrics,
  file_io_containerd_cgroups_v2_metrics,
);

import type { DescService } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";

/** A service and its handlers, as servers take them; made by {@link serviceRegistration}. */
export interface ServiceRegistration {
  readonly service: DescService;
  readonly implementation: Partial<ServiceImpl<DescService>>;
}

/** This pairs a service with handlers of its type; methods left out answer unimplemented. */
export function serviceRegistration<S extends DescService>(
  service: S,
  implementation: Partial<ServiceImpl<S>>,
): ServiceRegistration {
  // Checked against S here; servers dispatch by the descriptor that travels with it.
  return { service, implementation: implementation as Partial<ServiceImpl<DescService>> };
}

export { Containers } from "@berth/api/containerd/services/containers/v1/containers";
export { Images } from "@berth/api/containerd/services/images/v1/images";
export { Leases } from "@berth/api/containerd/services/leases/v1/leases";
export { Namespaces } from "@berth/api/containerd/services/namespaces/v1/namespaces";
export { createContainersService } from "./service/containers.ts";
export { createImagesService } from "./service/images.ts";
export { createLeasesService } from "./service/leases.ts";
export { createNamespacesService } from "./service/namespaces.ts";
export type { StoresOf } from "./service/scope.ts";

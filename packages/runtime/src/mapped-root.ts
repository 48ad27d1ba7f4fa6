import { z } from "zod";

const mappingsJson = z.object({
  linux: z
    .object({
      gidMappings: z
        .array(z.object({ containerID: z.number(), hostID: z.number().int().min(0), size: z.number() }))
        .nullish(),
    })
    .nullish(),
});

/** This returns the group on the host of a container's root, `undefined` without a user namespace or for a spec that is no JSON. */
export function mappedRootGid(spec: Uint8Array): number | undefined {
  const text = new TextDecoder().decode(spec);
  // Most specs have no mappings, and reading one whole costs more than making the bundle.
  if (!text.includes('"gidMappings"')) return undefined;
  try {
    const mappings = mappingsJson.parse(JSON.parse(text)).linux?.gidMappings ?? [];
    return mappings.find(({ containerID, size }) => containerID === 0 && size > 0)?.hostID || undefined;
  } catch {
    // The shim is the judge of specs; it says what is wrong with this one.
    return undefined;
  }
}

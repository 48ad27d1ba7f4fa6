import { Containers } from "@berth/api/containerd/services/containers/v1/containers";
import { Images } from "@berth/api/containerd/services/images/v1/images";

import { startMeasured } from "../daemons.ts";
import type { Figure, FigureContext, Row, Side } from "../figure.ts";
import { alternate } from "../figure.ts";
import type { RawConnection } from "../raw-call.ts";
import { connectRaw } from "../raw-call.ts";
import { timed } from "../time-command.ts";

const OBJECTS = 10_000;
const AT_ONCE = 64;
/** Of so many objects, one has the label that is filtered by. */
const EVERY = 100;
const FULL = { ratio: 1, bound: "at most" } as const;
const FILTERED = { ratio: 0.5, bound: "at most" } as const;

/** One list call over 10,000 images and 10,000 containers, whole and filtered by a label; answers are received, not decoded. */
export const lists: Figure = {
  name: "lists",
  rounds: 15,
  async measure(context) {
    await using berth = await startMeasured("berth");
    await using containerd = await startMeasured("containerd");
    using berthCalls = await connectRaw(berth.daemon.address);
    using containerdCalls = await connectRaw(containerd.daemon.address);
    const connections = { berth: berthCalls, containerd: containerdCalls };
    for (const [side, connection] of Object.entries(connections)) {
      context.progress(`making ${OBJECTS} images and ${OBJECTS} containers in ${side}`);
      await fill(connection, context);
    }
    const rows: Row[] = [];
    const filters = ["labels.rare==yes"];
    for (const [label, call, target] of [
      [`list of ${OBJECTS} images`, (to: RawConnection) => to.call(Images.method.list, {}), FULL],
      ["  filtered by a label", (to: RawConnection) => to.call(Images.method.list, { filters }), FILTERED],
      [`list of ${OBJECTS} containers`, (to: RawConnection) => to.call(Containers.method.list, {}), FULL],
      ["  filtered by a label", (to: RawConnection) => to.call(Containers.method.list, { filters }), FILTERED],
    ] as const) {
      const sizes: Record<Side, number> = { berth: 0, containerd: 0 };
      const samples = await alternate(context, async (side) => {
        const { ms, value } = await timed(() => call(connections[side]));
        sizes[side] = value;
        return ms;
      });
      if (Math.abs(sizes.berth - sizes.containerd) > sizes.containerd / 10) {
        throw new Error(
          `${label}: answers of ${sizes.berth} and ${sizes.containerd} bytes are not of the same objects`,
        );
      }
      rows.push({ label, unit: "ms", berth: samples.berth, other: samples.containerd, target });
    }
    return rows;
  },
};

async function fill(connection: RawConnection, { signal }: FigureContext): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let index = next++; index < OBJECTS; index = next++) {
      signal.throwIfAborted();
      await makeImage(connection, index);
      await makeContainer(connection, index);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

function labelsOf(index: number): Record<string, string> {
  return { "example.org/number": String(index), ...(index % EVERY === 0 && { rare: "yes" }) };
}

async function makeImage(connection: RawConnection, index: number): Promise<void> {
  await connection.call(Images.method.create, {
    image: {
      name: `registry.example.org/group-${index % 10}/image-${index}:latest`,
      labels: labelsOf(index),
      target: {
        mediaType: "application/vnd.oci.image.manifest.v1+json",
        digest: `sha256:${index.toString(16).padStart(64, "0")}`,
        size: 1234n,
      },
    },
  });
}

async function makeContainer(connection: RawConnection, index: number): Promise<void> {
  const spec = JSON.stringify({
    ociVersion: "1.0.2",
    process: { args: ["sleep", String(index)] },
    hostname: "x".repeat(200),
  });
  await connection.call(Containers.method.create, {
    container: {
      id: `container-${index}`,
      labels: labelsOf(index),
      image: `registry.example.org/group-${index % 10}/image-${index}:latest`,
      runtime: { name: "io.containerd.runc.v2" },
      spec: {
        typeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Spec",
        value: new TextEncoder().encode(spec),
      },
    },
  });
}

import { invalidArgument } from "@berth/errors";

import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { booleanFlag, listFlag, stringFlag, unsupportedFlag } from "../cli/flags.ts";
import { oneOf } from "../cli/one-of.ts";
import { platformsOf } from "../cli/platform-flags.ts";
import { print } from "../output/print.ts";
import { ProgressLines } from "../output/progress.ts";
import { endOnSignals } from "../process/interrupts.ts";

const EROFS_FORMS = ["raw", "zstd"];
const NOT_BUILT_IN = "this format of layers is not built in";

export const convert = defineCommand({
  usage: "<source_ref> <target_ref>",
  description:
    "Makes another image with the same files: its layers recompressed or made EROFS images, its types renamed, or for fewer platforms. Each layer is read to its end and compared with the digest in the image's configuration.",
  examples: [
    "ctr images convert --zstd --oci example.org/app:1 example.org/app:1-zstd",
    "ctr images convert --erofs raw example.org/app:1 example.org/app:1-erofs",
    "ctr images convert --uncompress --platform linux/arm64 example.org/app:1 example.org/app:arm",
  ],
  flags: {
    uncompress: booleanFlag("do not compress layers"),
    zstd: booleanFlag("compress layers by zstd"),
    gzip: booleanFlag("compress layers by gzip"),
    oci: booleanFlag("replace Docker's media types by those of OCI"),
    platform: listFlag("convert for this platform, e.g. linux/arm64, instead of the host's"),
    "all-platforms": booleanFlag("convert every platform, all of which must have been fetched"),
    erofs: stringFlag(
      "make EROFS images of layers by mkfs.erofs: raw, which the erofs snapshotter mounts as they are, or zstd",
      {
        values: EROFS_FORMS,
      },
    ),
    "erofs-compressors": stringFlag("how mkfs.erofs compresses blocks, e.g. lz4 or zstd; not at all when empty"),
    "erofs-mkfs-options": stringFlag("further options of mkfs.erofs, e.g. -Efragments,dedupe"),
    estargz: unsupportedFlag(NOT_BUILT_IN, "boolean"),
    zstdchunked: unsupportedFlag(NOT_BUILT_IN, "boolean"),
    overlaybd: unsupportedFlag(NOT_BUILT_IN, "boolean"),
    nydus: unsupportedFlag(NOT_BUILT_IN, "boolean"),
  },
  async run({ flags, args, session }) {
    const source = requireArgument(args, 0, "no image given: name the one to convert, and what it is to become");
    const target = requireArgument(args, 1, "no name given for the converted image");
    // Several exclude each other, as forms of layers do.
    const form = oneOf({ uncompress: flags.uncompress, zstd: flags.zstd, gzip: flags.gzip, erofs: flags.erofs !== "" });
    const compression = form === "erofs" ? undefined : form === "uncompress" ? "none" : form;
    const erofs = erofsOf(flags);
    const platform = platformsOf(flags);
    const { convertImage } = await import("@berth/client/convert");
    using _signals = endOnSignals(session);
    using progress = new ProgressLines();
    let layers = 0;
    const image = await convertImage(await session.client(), source, target, {
      signal: session.signal,
      oci: flags.oci,
      ...(compression && { compression }),
      ...(erofs && { erofs }),
      ...(!flags["all-platforms"] && { platform }),
      onLayer: () => {
        layers += 1;
        progress.update(() => `converting: ${layers} layers done`);
      },
    });
    progress.clear();
    print(`${image.target.digest}\n`);
  },
});

interface ErofsFlags {
  readonly erofs: string;
  readonly "erofs-compressors": string;
  readonly "erofs-mkfs-options": string;
}

function erofsOf(flags: ErofsFlags) {
  const { erofs, "erofs-compressors": compressors, "erofs-mkfs-options": mkfsOptions } = flags;
  if (erofs === "") {
    if (compressors !== "" || mkfsOptions !== "")
      throw invalidArgument("--erofs-compressors and --erofs-mkfs-options are of --erofs");
    return undefined;
  }
  if (!EROFS_FORMS.includes(erofs))
    throw invalidArgument(`unsupported erofs format ${JSON.stringify(erofs)}, supported: ${EROFS_FORMS.join(", ")}`);
  return { zstd: erofs === "zstd", compressors, mkfsOptions: words(mkfsOptions) };
}

/** The options in a text, which spaces part. */
export function words(text: string): readonly string[] {
  return text.split(/\s+/).filter(Boolean);
}

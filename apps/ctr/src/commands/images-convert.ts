import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { booleanFlag, listFlag, unsupportedFlag } from "../cli/flags.ts";
import { oneOf } from "../cli/one-of.ts";
import { platformsOf } from "../cli/platform-flags.ts";
import { print } from "../output/print.ts";
import { ProgressLines } from "../output/progress.ts";
import { endOnSignals } from "../process/interrupts.ts";

const NOT_BUILT_IN = "this format of layers is not built in";
const NO_EROFS = "the erofs snapshotter makes its images of any layer when it unpacks it";

export const convert = defineCommand({
  usage: "<source_ref> <target_ref>",
  description:
    "Makes another image with the same files: its layers recompressed, its types renamed, or for fewer platforms. Each layer is read to its end and compared with the digest in the image's configuration.",
  examples: [
    "ctr images convert --zstd --oci example.org/app:1 example.org/app:1-zstd",
    "ctr images convert --uncompress --platform linux/arm64 example.org/app:1 example.org/app:arm",
  ],
  flags: {
    uncompress: booleanFlag("do not compress layers"),
    zstd: booleanFlag("compress layers by zstd"),
    gzip: booleanFlag("compress layers by gzip"),
    oci: booleanFlag("replace Docker's media types by those of OCI"),
    platform: listFlag("convert for this platform, e.g. linux/arm64, instead of the host's"),
    "all-platforms": booleanFlag("convert every platform, all of which must have been fetched"),
    erofs: unsupportedFlag(NO_EROFS),
    "erofs-compressors": unsupportedFlag(NO_EROFS),
    "erofs-mkfs-options": unsupportedFlag(NO_EROFS),
    estargz: unsupportedFlag(NOT_BUILT_IN, "boolean"),
    zstdchunked: unsupportedFlag(NOT_BUILT_IN, "boolean"),
    overlaybd: unsupportedFlag(NOT_BUILT_IN, "boolean"),
    nydus: unsupportedFlag(NOT_BUILT_IN, "boolean"),
  },
  async run({ flags, args, session }) {
    const source = requireArgument(args, 0, "no image given: name the one to convert, and what it is to become");
    const target = requireArgument(args, 1, "no name given for the converted image");
    const compression = oneOf({ none: flags.uncompress, zstd: flags.zstd, gzip: flags.gzip });
    const platform = platformsOf(flags);
    const { convertImage } = await import("@berth/client/convert");
    using _signals = endOnSignals(session);
    using progress = new ProgressLines();
    let layers = 0;
    const image = await convertImage(await session.client(), source, target, {
      signal: session.signal,
      oci: flags.oci,
      ...(compression && { compression }),
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

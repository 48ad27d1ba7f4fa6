import type { Image, ImageSpec, ImageStore, ImageWriteOptions } from "@berth/core/images";
import { isAlreadyExists } from "@berth/errors";

/** This names an image; a name that is taken stands for the new target from now on. */
export async function storeImage(images: ImageStore, image: ImageSpec, options: ImageWriteOptions): Promise<Image> {
  try {
    return await images.create(image, options);
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
    return await images.update(image, options);
  }
}

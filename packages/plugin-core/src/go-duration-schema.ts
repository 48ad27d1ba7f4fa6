import { parseGoDuration } from "@berth/core/go-duration";
import { messageOf } from "@berth/errors";
import { z } from "zod";

/** Schema of a duration in a table of the configuration: text that `parseGoDuration` reads. */
export const goDuration = z.string().superRefine((text, context) => {
  try {
    parseGoDuration(text);
  } catch (error) {
    context.addIssue({ code: "custom", message: messageOf(error) });
  }
});

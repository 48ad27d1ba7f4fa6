import { Code, codeOf, wrapError } from "@berth/errors";

/** What to try next, by the class of a registry's answer. */
const ADVICE: ReadonlyMap<Code, string> = new Map([
  [Code.Unauthenticated, "who you are is told by --user name:password, or by docker login"],
  [
    Code.PermissionDenied,
    "if the registry refused you: another user is given by --user name:password, or by docker login",
  ],
  [Code.NotFound, "are repository, tag and platform right, and is it readable for you?"],
  [
    Code.Unavailable,
    "is the host right? --plain-http is for registries without TLS, --tlscacert or --hosts-dir for an authority of their own",
  ],
]);

/** This runs what speaks to a registry about an image; a failure then tells what was done to which image, and what to try. */
export async function withRegistryAdvice<T>(doing: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const advice = ADVICE.get(codeOf(error));
    throw wrapError(error, advice === undefined ? doing : `${doing} (${advice})`);
  }
}

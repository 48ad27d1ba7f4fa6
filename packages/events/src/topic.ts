import { validateIdentifier } from "@berth/core/namespaces";
import { invalidArgument } from "@berth/errors";

/**
 * This checks the form of a topic: `/` and identifiers joined by `/`.
 *
 * @throws invalid_argument
 * @see containerd core/events/exchange/exchange.go, validateTopic
 */
export function validateTopic(topic: string): void {
  if (topic === "") throw invalidArgument("topic must not be empty");
  if (!topic.startsWith("/")) throw invalidArgument(`topic ${JSON.stringify(topic)} must start with "/"`);
  if (topic === "/") throw invalidArgument(`topic ${JSON.stringify(topic)} must have a component`);
  for (const component of topic.slice(1).split("/")) {
    validateIdentifier(component, `component of topic ${JSON.stringify(topic)}`);
  }
}

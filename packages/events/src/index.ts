export type { EventExchangeOptions } from "./event-exchange.ts";
export { createEventExchange } from "./event-exchange.ts";
export { validateTopic } from "./topic.ts";

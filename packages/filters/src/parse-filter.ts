import { invalidArgument, wrapError } from "@berth/errors";
import { RE2JS } from "re2js";

import type { Adaptor, Filter } from "./filter.ts";
import { matchAll } from "./filter.ts";
import type { Operator } from "./scanner.ts";
import { Scanner } from "./scanner.ts";

/** The most bytes of one filter. */
const MAX_FILTER_LENGTH = 64 * 1024;

/**
 * This parses one filter: conditions joined by commas, all of which must hold. A condition is a field path alone (the field is
 * there) or a path, `==`, `!=` or `~=`, and a value; `!=` holds for a missing field. The empty text matches everything.
 *
 * Regular expressions have RE2's syntax and take linear time.
 *
 * @throws invalid_argument - the text is not a filter; the message has the position
 * @see containerd pkg/filters, Parse
 */
export function parseFilter(text: string): Filter {
  if (text.length > MAX_FILTER_LENGTH) throw invalidArgument(`filter of ${text.length} characters is too long`);
  const scanner = new Scanner(text);
  if (scanner.atEnd) return matchAll;
  const conditions: Filter[] = [];
  do {
    conditions.push(parseCondition(scanner));
  } while (scanner.take(","));
  if (!scanner.atEnd) throw scanner.unexpected("a comma or the end");
  return { matches: (adaptor) => conditions.every((condition) => condition.matches(adaptor)) };
}

/** This parses several filters, any of which may match; none at all match everything. @throws invalid_argument */
export function parseFilters(texts: readonly string[]): Filter {
  const filters = texts.map(parseFilter);
  if (filters.length === 0) return matchAll;
  return { matches: (adaptor) => filters.some((filter) => filter.matches(adaptor)) };
}

function parseCondition(scanner: Scanner): Filter {
  const path = [scanner.readField()];
  while (scanner.take(".")) path.push(scanner.readField());
  const operator = scanner.takeOperator();
  if (operator === undefined) return { matches: (adaptor) => adaptor.field(path) !== undefined };
  return { matches: comparison(path, operator, scanner.readValue(operator)) };
}

function comparison(path: readonly string[], operator: Operator, value: string): (adaptor: Adaptor) => boolean {
  switch (operator) {
    case "==":
      return (adaptor) => adaptor.field(path) === value;
    case "!=":
      return (adaptor) => adaptor.field(path) !== value;
    case "~=": {
      const expression = compile(value);
      return (adaptor) => {
        const field = adaptor.field(path);
        return field !== undefined && expression.matcher(field).find();
      };
    }
  }
}

function compile(expression: string): RE2JS {
  try {
    return RE2JS.compile(expression);
  } catch (error) {
    throw invalidArgument(wrapError(error, `filter expression ${JSON.stringify(expression)}`).rawMessage, {
      cause: error,
    });
  }
}

import { runConformance } from "@berth/conformance";
import { mountCases } from "@berth/conformance/mounts";
import * as vitest from "vitest";

import { openSubject } from "./mount-subject.ts";

runConformance(vitest, "local mount manager", mountCases, openSubject);

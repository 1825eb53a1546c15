// People at work on the API, for `cargo xtask bench api`: everybody asks, thinks for a while, and asks again.
// What is to be done comes in the file that PLAN names, the figures go into the file that FIGURES names.

import http from "k6/http";
import exec from "k6/execution";
import { sleep } from "k6";

const plan = JSON.parse(open(__ENV.PLAN));
const MEASURED = { phase: "measured" };
const STATISTICS = ["count", "avg", "med", "p(95)", "p(99)", "max"];

// Only what a threshold names is summed up on its own.
const thresholds = { "http_req_failed{phase:measured}": ["rate>=0"] };
for (const kind of Object.keys(plan.shares)) {
  thresholds[`http_req_duration{phase:measured,kind:${kind}}`] = ["max>=0"];
}
thresholds["http_req_duration{phase:measured}"] = ["max>=0"];
for (const status of plan.refusals) {
  thresholds[`http_reqs{phase:measured,status:${status}}`] = ["count>=0"];
}

export const options = {
  scenarios: {
    people: {
      executor: "constant-vus",
      vus: plan.tokens.length,
      duration: `${plan.warmUpSeconds + plan.seconds}s`,
      gracefulStop: "30s",
    },
  },
  thresholds,
  summaryTrendStats: STATISTICS,
  discardResponseBodies: true,
};

const REQUESTS = {
  "list actions": () => ["GET", "/api/v1/actions?limit=20"],
  "read an action": () => ["GET", `/api/v1/actions/${any(plan.actions)}`],
  "read a decision": () => ["GET", `/api/v1/decisions/${any(plan.decisions)}`],
  "search the audit log": () => ["GET", `/api/v1/audit/entries?principal=${plan.principal}&limit=20`],
  "list policies": () => ["GET", "/api/v1/policies"],
  "who am I": () => ["GET", "/api/v1/whoami"],
  evaluate: () => ["POST", "/api/v1/policy/evaluate", any(plan.questions)],
  heal: () => ["POST", "/api/v1/actions", any(plan.heals), { "Idempotency-Key": crypto.randomUUID() }],
  "change a profile": () => ["PATCH", "/api/v1/users/me", { name: crypto.randomUUID() }],
};

export default function () {
  sleep(-plan.meanThinkSeconds * Math.log(1 - Math.random()));
  const kind = draw();
  const [method, path, body, headers] = REQUESTS[kind]();
  const measured = Date.now() - exec.scenario.startTime >= plan.warmUpSeconds * 1000;
  http.request(method, plan.url + path, body && JSON.stringify(body), {
    headers: {
      Authorization: `Bearer ${plan.tokens[exec.vu.idInTest - 1]}`,
      ...(body && { "Content-Type": "application/json" }),
      ...headers,
    },
    tags: { kind, name: kind, ...(measured && MEASURED) },
    responseCallback: http.expectedStatuses(200, 202),
  });
}

export function handleSummary(data) {
  return { [__ENV.FIGURES]: JSON.stringify(data.metrics) };
}

function draw() {
  let left = Math.random();
  for (const [kind, share] of Object.entries(plan.shares)) {
    left -= share;
    if (left < 0) return kind;
  }
  return "who am I";
}

function any(items) {
  return items[Math.floor(Math.random() * items.length)];
}

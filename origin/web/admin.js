// Administration: loaded for administrators only. The server alone decides who may do what.

import { makeAuditPanel } from "./admin-audit.js";
import { makeEdgesPanel } from "./admin-edges.js";
import { makeInvitationsPanel } from "./admin-invitations.js";
import { makePolicyPanel } from "./admin-policy.js";
import { makeRevocationsPanel } from "./admin-revocations.js";
import { makeUsersPanel } from "./admin-users.js";
import { Pages } from "./pages.js";

export function makeAdmin(root, { onProblem }) {
  return new Pages(root, "admin", {
    users: [makeUsersPanel({ onProblem })],
    invitations: [makeInvitationsPanel({ onProblem })],
    audit: [makeAuditPanel({ onProblem })],
    policy: [makePolicyPanel({ onProblem })],
    edges: [makeEdgesPanel({ onProblem })],
    revocations: [makeRevocationsPanel({ onProblem })],
  });
}

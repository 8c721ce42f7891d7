// The HTTP API of administration (docs/API.md).

import { exchange, fetchBlob, read, send } from "./api.js";

const at = (path, id) => `/api/admin/${path}/${encodeURIComponent(id)}`;

const queryOf = (members) => {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(members)) if (value) query.set(name, value);
  return query.size > 0 ? `?${query}` : "";
};

export async function users(search, after) {
  const { users: entries, next } = await read(`/api/admin/users${queryOf({ search, after, limit: 50 })}`);
  return { entries, next };
}

export const changeUser = (id, change) => send("PATCH", at("users", id), change);
export const offerReset = (id) => send("POST", `${at("users", id)}/reset`);

export const invitations = async () => (await read("/api/admin/invitations")).invitations;
export const invite = (terms) => send("POST", "/api/admin/invitations", terms);
export const uninvite = (id) => send("DELETE", at("invitations", id));

export const edges = () => read("/api/admin/edges");

export const revocations = async () => (await read("/api/admin/revocations")).revocations;
export const revoke = (what) => send("POST", "/api/admin/revocations", what);

export const policy = () => read("/api/admin/policy");
export const policies = async () => (await read("/api/admin/policy/history")).revisions;

/** The roles that somebody can be given: `enrol` is for whoever still has to set something up. */
export async function roles() {
  return Object.keys((await policy()).document.roles).filter((role) => role !== "enrol");
}

/** Publishes `document` (a text) in place of the revision `rev`. */
export function publish(document, rev, reason) {
  const headers = { "content-type": "application/json", "if-match": `"${rev}"` };
  return exchange(`/api/admin/policy${queryOf({ reason })}`, { method: "PUT", headers, body: document });
}

/** `wanted` may have `since`, `user`, `action` and `request_id`. */
export const audit = (wanted, before) => read(`/api/admin/audit${queryOf({ ...wanted, before, limit: 50 })}`);

/** All such rows as JSON lines. */
export const exportAudit = (wanted) => fetchBlob(`/api/admin/audit${queryOf(wanted)}`, { accept: "application/jsonl" });

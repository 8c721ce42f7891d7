// The HTTP API as the page uses it (docs/API.md).
//
// The login lives in HttpOnly cookies, so no code here ever sees a token. The
// browser adds them and `Sec-Fetch-Site` to same-origin requests by itself.

import { begun, over, renew } from "./session.js";

const usualTimeoutMs = 30_000;
const uploadTimeoutMs = 120_000;
const exportTimeoutMs = 600_000;
// A request that changes nothing when it is repeated waits out a rate limit by itself, so
// that a quick hand on the page is not punished with messages about things it did not do.
const patienceMs = 20_000;
// Requests that were held back together do not come back together.
const spreadMs = 500;
// Why a request is refused that a renewed token may get through.
const renewable = ["token_missing", "token_expired", "token_revoked"];

/** A request that brought nothing: refused by the server, or never answered. */
export class Problem extends Error {
  /**
   * `status` is 0 when no answer came. `code` is the server's, or one of `network`,
   * `timeout`, `dropped`, `unreadable`, `passkey`. `retryAfter` is in seconds, 0 when not given.
   * `passkey` is what one would have to sign, if that would help.
   */
  constructor({ status = 0, code, detail = "", requestId = "", retryAfter = 0, passkey = null }) {
    super(detail || code);
    Object.assign(this, { status, code, detail, requestId, retryAfter, passkey });
  }
}

let session = new AbortController();
let stepUpByReader = async () => false;

/** `ask` has the reader prove again who they are; it tells whether they did. */
export function onStepUp(ask) {
  stepUpByReader = ask;
}

/** Gives up every request under way: its answer belongs to a login that is over. */
export function dropRequests() {
  session.abort();
  session = new AbortController();
}

export const audioPath = (id) => `/download/${encodeURIComponent(id)}`;
export const downloadPath = (id) => `${audioPath(id)}?download=1`;

export const logins = async () => (await read("/api/logins")).logins;
export const endLogin = (id) => send("DELETE", `/api/logins/${encodeURIComponent(id)}`);
export const register = (username, password, invitation) =>
  send("POST", "/register", invitation ? { username, password, invitation } : { username, password });
/** Sets the password of whoever the link was made for; `username` of the answer says who. */
export const resetPassword = (token, password) => send("POST", "/reset", { token, password, cookie: true });
export const me = () => read("/api/me");
export const usage = () => read("/api/me/usage");
export const voices = () => read("/api/voices");
/** Answers with the job at once; `job.js` follows it. */
export const generate = (speech) => send("POST", "/api/generate", speech, { prefer: "respond-async" });
export const job = (id) => read(`/api/jobs/${encodeURIComponent(id)}`);
export const cancelJob = (id) => send("DELETE", `/api/jobs/${encodeURIComponent(id)}`);
export const output = (id) => read(`/api/outputs/${encodeURIComponent(id)}`);
export const addVoice = (form) => exchange("/api/voices", { method: "POST", body: form }, uploadTimeoutMs);
export const deleteVoice = (id) => patiently(() => send("DELETE", `/api/voices/${encodeURIComponent(id)}`));
export const deleteOutput = (id) => patiently(() => send("DELETE", `/api/outputs/${encodeURIComponent(id)}`));

/** Sets up a second factor: the secret is in the answer and nowhere else. */
export const offerSecondFactor = (password, proof) => send("POST", "/api/me/totp", { password, ...proof });
export const confirmSecondFactor = (totp) => send("POST", "/api/me/totp/confirm", { totp });
export const removeSecondFactor = (password, code) => send("DELETE", "/api/me/totp", { password, ...code });

export const passkeys = async () => (await read("/api/me/passkeys")).passkeys;
export const offerPasskey = (password, proof) => send("POST", "/api/me/passkeys", { password, ...proof });
export const addPasskey = (name, credential) => send("POST", "/api/me/passkeys/confirm", { name, credential });
export const removePasskey = (id, password, proof) =>
  send("DELETE", `/api/me/passkeys/${encodeURIComponent(id)}`, { password, ...proof });

/** What was typed, by what it looks like: a code of the app, or a recovery code; nothing if nothing was. */
export function codeOf(typed) {
  const text = typed.replace(/\s/g, "");
  if (text === "") return {};
  return /^\d{6}$/.test(text) ? { totp: text } : { recovery_code: text };
}

/** `proof` is `{password}`, what `codeOf` makes, or `{passkey}`. */
export async function stepUp(proof) {
  const account = await send("POST", "/api/me/step-up", { ...proof, cookie: true });
  begun(account.expires_in);
}

export const share = (id, wanted) => send("POST", `/api/outputs/${encodeURIComponent(id)}/share`, wanted);
export const shares = async () => (await read("/api/shares")).shares;
export const endShare = (id) => send("DELETE", `/api/shares/${encodeURIComponent(id)}`);

/** Tokens for programs; the one that is made is in the answer and nowhere else. */
export const tokens = async () => (await read("/api/tokens")).tokens;
export const makeToken = (wanted) => send("POST", "/api/tokens", wanted);
export const revokeToken = (id) => send("DELETE", `/api/tokens/${encodeURIComponent(id)}`);

/** Ends every login, this one too. */
export async function changePassword(current, next) {
  await send("POST", "/api/me/password", { current, new: next, cookie: true });
  over();
}

export const lookAtExport = () => read("/api/me/export");
export const beginExport = () => send("POST", "/api/me/export");
export const ownAudit = (before) => read(`/api/me/audit?limit=30${before ? `&before=${before}` : ""}`);

export async function eraseMe(proof) {
  await send("DELETE", "/api/me", proof);
  over();
}

/** `proof` is what `codeOf` makes, or `{passkey}`, for an account that has a second factor. */
export async function login(username, password, proof = {}) {
  const account = await send("POST", "/login", { username, password, ...proof, cookie: true });
  begun(account.expires_in);
  return account;
}

/** Who may be logged in with, and who one is there. */
export const providers = async () => (await read("/login/oidc")).providers;
export const identities = () => read("/api/me/identities");
/** Each answers with the `url` at which it goes on. */
export const linkProvider = (id) => send("POST", `/api/me/identities/${encodeURIComponent(id)}`);
export const stepUpWith = (id) => send("POST", `/api/me/step-up/${encodeURIComponent(id)}`);
export const unlinkProvider = (id) => send("DELETE", `/api/me/identities/${encodeURIComponent(id)}`);

/** Ends a login that a provider vouches for; `code` is what `codeOf` makes. */
export async function finishLogin(code) {
  const account = await send("POST", "/login/oidc", code);
  begun(account.expires_in);
  return account;
}

export async function logout() {
  try {
    await send("POST", "/logout");
  } catch (problem) {
    // Whose login is over is out already.
    if (problem.status !== 401) throw problem;
  }
  over();
}

export async function endAllLogins() {
  await send("DELETE", "/api/logins?all=true");
  over();
}

/** One page of the history, newest first; `before` is the `next` of the page above, `q` a part of the text. */
export function outputs(before, q) {
  const query = new URLSearchParams({ limit: 20 });
  if (before) query.set("before", before);
  if (q) query.set("q", q);
  return read(`/api/outputs?${query}`);
}

/** Recordings as one archive: `{blob, name}`. */
export const archive = (ids) =>
  patiently(() => exchange("/api/outputs/zip", carrying("POST", { ids }), exportTimeoutMs, async (response) => ({
    blob: await response.blob(),
    name: /filename="([^"]*)"/.exec(response.headers.get("content-disposition"))?.[1] ?? "",
  })));

/** Asks for one byte of a recording, to learn why an audio element could not play it. */
export const probeAudio = (id) => read(audioPath(id), { range: "bytes=0-0" });

export function read(path, headers = {}) {
  return patiently(() => exchange(path, { headers }, usualTimeoutMs));
}

async function patiently(request) {
  const { signal } = session;
  const giveUpAt = Date.now() + patienceMs;
  for (;;) {
    try {
      return await request();
    } catch (problem) {
      const pauseMs = problem.retryAfter * 1000 + Math.random() * spreadMs;
      if (problem.retryAfter === 0 || Date.now() + pauseMs > giveUpAt) throw problem;
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
      if (signal.aborted) throw new Problem({ code: "dropped" });
    }
  }
}

export function send(method, path, body, headers = {}) {
  return exchange(path, body === undefined ? { method, headers } : carrying(method, body, headers), usualTimeoutMs);
}

const carrying = (method, body, headers) => ({
  method,
  headers: { "content-type": "application/json", ...headers },
  body: JSON.stringify(body),
});

/** What comes back, whole, to be kept as a file. */
export const fetchBlob = (path, headers) => exchange(path, { headers }, exportTimeoutMs, (response) => response.blob());

/** One request; `take` makes of a good answer what is wanted of it. */
export async function exchange(path, options, timeoutMs = usualTimeoutMs, take = contentOf) {
  const { signal } = session;
  let deadline;
  // A person may have taken their time before the second attempt.
  const ask = () => {
    deadline = AbortSignal.timeout(timeoutMs);
    return fetch(path, { ...options, cache: "no-store", credentials: "same-origin", signal: AbortSignal.any([signal, deadline]) });
  };
  try {
    let response = await ask();
    if (response.status === 401) {
      const problem = await problemOf(response);
      if (problem.code === "step_up_required" && !path.startsWith("/login")) {
        if (!(await stepUpByReader())) throw new Problem({ code: "dropped" });
      } else if (!renewable.includes(problem.code) || !(await renew())) throw problem;
      response = await ask();
    }
    if (!response.ok) throw await problemOf(response);
    return await take(response);
  } catch (error) {
    if (signal.aborted) throw new Problem({ code: "dropped" });
    if (error instanceof Problem) throw error;
    if (deadline.aborted) throw new Problem({ code: "timeout" });
    if (error instanceof SyntaxError) throw new Problem({ code: "unreadable" });
    throw new Problem({ code: "network" });
  }
}

async function contentOf(response) {
  if (response.headers.get("content-type")?.includes("json")) return response.json();
  await response.body?.cancel();
  return null;
}

// A proxy on the way may answer in plain text; then the status has to say it all.
async function problemOf(response) {
  const told = await response.json().catch(() => ({}));
  const retryAfter = Number.parseInt(response.headers.get("retry-after") ?? "", 10);
  return new Problem({
    status: response.status,
    code: typeof told?.code === "string" ? told.code : "unreadable",
    detail: typeof told?.detail === "string" ? told.detail : "",
    requestId: response.headers.get("x-request-id") ?? "",
    retryAfter: retryAfter > 0 ? retryAfter : 0,
    passkey: told?.passkey ?? null,
  });
}

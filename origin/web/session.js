// The login of this browser, kept fresh.
//
// The tokens are in HttpOnly cookies, out of reach here. All that is kept is when to renew
// them; it lies in the browser's storage, where every tab of the page sees it.

const key = "cosygate-renew-at";
const timeoutMs = 30_000;
// Renewed when this much of the time is over, so that no request meets the end of it.
const share = 0.9;
const longestTimerMs = 2 ** 31 - 1;

let kept = null;
let timer = 0;
let renewal = null;

/** A login was begun or renewed; its access token holds for so long. */
export function begun(expiresInS) {
  const at = String(Date.now() + expiresInS * 1000 * share);
  kept = at;
  store((storage) => storage.setItem(key, at));
  schedule();
}

/** Somebody is logged in who did not do it here, but came back from a provider: renews in a moment. */
export function adopt() {
  if (renewAt() === null) begun(0);
}

/** Nobody is logged in any more. */
export function over() {
  kept = null;
  store((storage) => storage.removeItem(key));
  clearTimeout(timer);
}

/**
 * Has the server renew the tokens; false if there is no login left. However many ask at once,
 * in however many tabs, one request is made.
 */
export function renew() {
  renewal ??= alone(exchange, renewAt()).finally(() => {
    renewal = null;
  });
  return renewal;
}

// Without locks (a page over plain HTTP) tabs may ask at once; the server gives all the same answer.
function alone(work, before) {
  return navigator.locks ? navigator.locks.request(key, () => work(before)) : work(before);
}

async function exchange(before) {
  const now = renewAt();
  if (now === null) return false;
  // Another tab was faster.
  if (now !== before) return true;
  const options = { method: "POST", cache: "no-store", credentials: "same-origin", signal: AbortSignal.timeout(timeoutMs) };
  const response = await fetch("/refresh", options);
  if (response.ok) {
    begun((await response.json()).expires_in);
    return true;
  }
  await response.body?.cancel();
  if (response.status === 401 || response.status === 404) over();
  return false;
}

function renewAt() {
  let found = kept;
  store((storage) => {
    found = storage.getItem(key);
  });
  return found;
}

function schedule() {
  clearTimeout(timer);
  const at = renewAt();
  if (at === null) return;
  const pauseMs = Math.min(Math.max(Number(at) - Date.now(), 1000), longestTimerMs);
  // What goes wrong here shows when the next request is refused.
  timer = setTimeout(() => renew().catch(() => {}), pauseMs);
}

// A browser may keep its storage shut.
function store(use) {
  try {
    use(localStorage);
  } catch {
    // Then this tab remembers by itself.
  }
}

addEventListener("storage", (event) => {
  if (event.key === key) schedule();
});
schedule();

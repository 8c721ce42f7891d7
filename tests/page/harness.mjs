// What the tests of the page share: a real Chromium on what scripts/up serves.
//
//   BASE_URL=http://localhost:10000 COSYGATE_TEST_USER=… COSYGATE_TEST_PASSWORD=… npm test
//
// The account of the environment must exist and administer; others are registered through the
// page. CHROMIUM names the browser (default /usr/bin/chromium). The tests of one file tell one
// story and run in order: a later one goes on where an earlier one stopped.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after } from "node:test";
import { chromium } from "playwright-core";

export const base = new URL(needed("BASE_URL"));
export const known = { username: needed("COSYGATE_TEST_USER"), password: needed("COSYGATE_TEST_PASSWORD") };
/** Markup that would show, and do something, if a text were taken for markup. */
export const hostile = `<img src=x data-evil onerror="window.evil=1"><script>window.evil=1</script>`;

// A speech engine takes its time, and a rate limit may ask the page to wait a little.
const patienceMs = 60_000;

const seen = { requests: [], violations: [], complaints: [] };
let launched = null;

function needed(name) {
  const value = process.env[name];
  if (!value) throw new Error(`set ${name}`);
  return value;
}

// Every file has a browser of its own.
function browser() {
  launched ??= chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--disable-gpu", "--disable-quic"],
  });
  return launched;
}

after(async () => (await launched)?.close());

/** An account that nobody has yet. */
export const someone = () => ({
  username: `page-${randomBytes(6).toString("hex")}`,
  password: `pw ${randomBytes(12).toString("hex")}`,
});

export const requests = () => seen.requests;

/** A browser context that notes every request, policy violation and complaint of its pages. */
export async function open(options = {}) {
  const context = await (await browser()).newContext({ locale: "en-US", viewport: { width: 1280, height: 800 }, ...options });
  context.setDefaultTimeout(patienceMs);
  await context.exposeBinding("noteViolation", (_source, directive) => seen.violations.push(directive));
  await context.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => {
      window.noteViolation(`${event.violatedDirective} ${event.blockedURI}`);
    });
  });
  context.on("request", (request) => seen.requests.push(request.url()));
  context.on("weberror", (error) => seen.complaints.push(String(error.error())));
  context.on("console", (message) => {
    if (["error", "warning"].includes(message.type()) && !isExpected(message)) seen.complaints.push(`${message.text()} ${message.location().url}`);
  });
  return context;
}

/** A page in a context of its own, at the door unless `options` bring a login. */
export async function openPage(options = {}, hash = "") {
  const page = await (await open(options)).newPage();
  await page.goto(new URL(hash, base).href);
  return page;
}

// Chromium reports every refused request. These are refused by design: asking who one is without
// a login, wrong and common passwords, a limit that was reached, an export that is not there, an
// archive of what is gone, an invalid or overtaken policy, and what asks for a recent login.
const refusals = {
  "/api/me": [401, 400, 409],
  "/login": [401],
  "/refresh": [401],
  "/logout": [401],
  "/register": [400],
  "/api/me/password": [400],
  "/api/me/step-up": [400],
  "/api/me/passkeys": [400],
  "/api/me/passkeys/": [400],
  "/api/logins": [401],
  "/api/me/export": [404],
  "/api/tokens": [401, 409],
  "/api/generate": [400],
  "/api/outputs/zip": [404, 503],
  "/api/admin/policy": [400, 412],
  "/api/admin/users/": [409],
};

function isExpected(message) {
  const status = Number(/responded with a status of (\d+)/.exec(message.text())?.[1]);
  const path = message.location().url.replace(base.origin, "").split("?")[0];
  // A connection that a test has cut.
  if (message.text().endsWith("net::ERR_FAILED") && ["/api/me/audit", "/api/outputs/zip"].includes(path)) return true;
  const named = Object.keys(refusals).find((name) => (name.endsWith("/") ? path.startsWith(name) : path === name));
  return status === 429 || Boolean(refusals[named]?.includes(status));
}

export const hook = (page, name) => page.locator(`[data-test="${name}"]`);
export const itemOf = (page, list, text) => hook(page, list).filter({ hasText: text });
export const focused = (page) => page.evaluate(() => document.activeElement.dataset.test ?? document.activeElement.id);
export const hasText = (page, name, text) => hook(page, name).filter({ hasText: text }).waitFor();

export async function logIn(page, { username, password }) {
  await hook(page, "username").fill(username);
  await hook(page, "password").fill(password);
  await hook(page, "login-submit").click();
}

export async function logInTo(page, account) {
  await logIn(page, account);
  await hook(page, "logout").waitFor();
}

export async function register(page, { username, password }) {
  await hook(page, "register-tab").click();
  await hook(page, "username").fill(username);
  await hook(page, "password").fill(password);
  await hook(page, "register-submit").click();
  await hook(page, "logout").waitFor();
}

/** Follows the links of the page to one of its pages, for example `account`, `tokens`. */
export async function visit(page, view, name) {
  await hook(page, `to-${view}`).click();
  if (name) await hook(page, `to-${name}`).click();
}

/** A request of the page's own login. */
export const asPage = (page, method, path, body) =>
  page.evaluate(async ([method, path, body]) => {
    const headers = body ? { "content-type": "application/json" } : {};
    const response = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
    return response.status === 204 ? null : response.json();
  }, [method, path, body]);

/** A request with a token, or without one, from outside of any browser. */
export async function asProgram(method, path, { token, body, headers = {} } = {}) {
  const response = await fetch(new URL(path, base), {
    method,
    headers: { ...(token && { authorization: `Bearer ${token}` }), ...(body && { "content-type": "application/json" }), ...headers },
    body: body && JSON.stringify(body),
  });
  const text = await response.text();
  return { status: response.status, body: text && JSON.parse(text) };
}

export async function tokenOf(account) {
  const { status, body } = await asProgram("POST", "/login", { body: account });
  assert.equal(status, 200, JSON.stringify(body));
  return body.token;
}

/** Tries until `look` gives something true. */
export async function until(look) {
  const end = Date.now() + patienceMs;
  for (;;) {
    const found = await look();
    if (found) return found;
    assert.ok(Date.now() < end, `waited in vain for ${look}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

export const scrollsSideways = (page) =>
  page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);

/** What can be pressed but is too small for a finger. */
export const smallTargets = (page) =>
  page.locator("button:visible, a:visible, select:visible, input:visible").evaluateAll((elements) =>
    elements
      // A link within a sentence is as high as its line, and a box is pressed by its label.
      .filter((element) => !element.matches(".skip, .meta a, [type=checkbox], [type=radio]"))
      .map((element) => ({ name: element.dataset.test || element.id, box: element.getBoundingClientRect() }))
      .filter(({ box }) => box.height < 44 || box.width < 44)
      .map(({ name }) => name),
  );

/** Controls that nothing names for somebody who cannot see them. */
export const namelessControls = (page) =>
  page.locator("button:visible, a:visible, select:visible, input:visible, textarea:visible").evaluateAll((elements) =>
    elements
      .filter((element) => !(element.getAttribute("aria-label") || element.labels?.length > 0 || element.textContent.trim()))
      .map((element) => element.dataset.test || element.id),
  );

/** How much of the page has jumped about by itself since it was loaded (Layout Instability: below 0.1 is good). */
export const shiftOf = (page) =>
  page.evaluate(() => new Promise((resolve) => {
    let sum = 0;
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) if (!entry.hadRecentInput) sum += entry.value;
    }).observe({ type: "layout-shift", buffered: true });
    // Entries come before the frame after the next.
    requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => resolve(sum), 100)));
  }));

/** Foreign text is on the page as text, and nothing of it came alive. */
export async function assertHarmless(page) {
  const found = await page.evaluate(() => ({
    evil: window.evil ?? null,
    elements: document.querySelectorAll("[data-evil]").length,
    shown: document.body.innerText.includes("<script>window.evil=1</script>"),
  }));
  assert.deepEqual(found, { evil: null, elements: 0, shown: true });
}

/** Answers requests to `path` with `body`, as a server would that holds what is hostile. */
export const answer = (page, path, body) =>
  page.route((url) => url.pathname === path, (route) => route.fulfill({ json: body }));

/** The last test of every file. */
export function assertNothingLeft() {
  const strangers = seen.requests.filter((url) => !/^(data|blob):/.test(url) && new URL(url).origin !== base.origin);
  assert.deepEqual(strangers, []);
  assert.deepEqual(seen.violations, []);
  assert.deepEqual(seen.complaints, []);
}

// Sign-in with a real provider (provider.js), which for a browser is another site: the session and what it is worth, roles, the end of a
// session, and everything that is refused.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { after, test } from "node:test";
import { accessible, api, browser, clean, open, url, watched } from "./browser.js";

const provider = process.env.CAIRN_STUDIO_PROVIDER;
const database = join(process.env.CAIRN_STUDIO_DATA, "cairn.db");

after(() => browser.close());

/** A browser in which nobody is signed in. */
async function signedOut(options) {
  const page = await open({ credential: null, also: provider, ...options });
  // The provider's pages would like a font.
  await page.context().route("https://fonts.googleapis.com/**", (route) => route.abort());
  return page;
}

/** To the provider and, there, in, up to its last question. */
async function nearlyIn(page, who) {
  await page.getByRole("link", { name: "Continue with Test Provider" }).click();
  await page.getByPlaceholder("Enter any login").fill(who);
  await page.getByPlaceholder("and password").fill("any");
  await page.getByRole("button", { name: "Sign-in" }).click();
  await page.getByRole("button", { name: "Continue" }).waitFor();
}

async function signIn(page, who) {
  await nearlyIn(page, who);
  await page.getByRole("button", { name: "Continue" }).click();
}

/** The provider's real answer to this browser, which the browser does not follow. */
async function answerFor(page, who) {
  await nearlyIn(page, who);
  const { request } = page.context();
  const action = await page.locator("form").getAttribute("action");
  let next = await request.post(action, { form: { prompt: "consent" }, maxRedirects: 0 });
  for (let steps = 0; steps < 5; steps++) {
    const to = new URL(next.headers().location, provider).href;
    if (to.startsWith(url)) return to;
    next = await request.get(to, { maxRedirects: 0 });
  }
  throw new Error("the provider does not answer");
}

async function signedIn(who, path = "/") {
  const page = await signedOut();
  await page.goto(`${url}/studio${path}`);
  await signIn(page, who);
  await page.locator(".side-who").getByText(`oidc:${who}`).waitFor();
  return page;
}

async function sessionOf(page) {
  const cookies = await page.context().cookies(url);
  return cookies.find(({ name }) => name === "cairn_session");
}

/** What the gateway says to a request with these headers, outside of a browser. */
async function status(headers, path = "/v1/me", method = "GET") {
  return (await fetch(`${url}${path}`, { method, headers })).status;
}

/** Runs SQL on the gateway's database: there is no other way to make a session old. */
function sql(statement, ...values) {
  const script = "import sqlite3,sys; c=sqlite3.connect(sys.argv[1],timeout=10); c.execute(sys.argv[2],sys.argv[3:]); c.commit()";
  execFileSync("python3", ["-c", script, database, statement, ...values]);
}

async function until(what, holds) {
  for (const end = Date.now() + 20_000; Date.now() < end; ) {
    if (await holds()) return;
    await new Promise((done) => setTimeout(done, 200));
  }
  assert.fail(`it did not come to be that ${what}`);
}

test("one signs in, comes back to the page that was open, and stays signed in", async () => {
  const page = await signedOut();
  await page.goto(`${url}/studio/datanets`);
  await page.getByRole("heading", { name: "Sign in to Cairn" }).waitFor();
  await accessible(page, "sign-in");
  await signIn(page, "auth0|ada");
  await page.getByRole("heading", { name: "Datanets", level: 1 }).waitFor();
  assert.equal(page.url(), `${url}/studio/datanets`);
  await page.locator(".side-who").getByText("oidc:auth0|ada").waitFor();
  await page.locator(".side-who").getByText("admin").waitFor();

  // The cookie is out of scripts' reach, and nothing else was kept.
  const session = await sessionOf(page);
  assert.equal(session.httpOnly, true);
  assert.equal(session.sameSite, "Strict");
  assert.ok(Math.abs(session.expires - Date.now() / 1000 - 8 * 3600) < 300);
  const kept = await page.evaluate(() => document.cookie + JSON.stringify({ ...sessionStorage, ...localStorage }));
  assert.ok(!kept.includes("cairn_session") && !kept.includes("cairn.credential"), kept);
  assert.ok(!(await page.context().cookies(url)).some(({ name }) => name === "cairn_login"));

  await page.reload();
  await page.getByRole("heading", { name: "Datanets", level: 1 }).waitFor();
  const other = watched(await page.context().newPage());
  await other.goto(`${url}/studio/audit`);
  await other.locator(".side-who").getByText("oidc:auth0|ada").waitFor();
  // Also by a link on another site's page, with which the browser sends no such cookie.
  await other.goto(`${provider}/.well-known/openid-configuration`);
  await other.setContent(`<a href="${url}/studio/">to the studio</a>`);
  await other.getByRole("link").click();
  await other.locator(".side-who").getByText("oidc:auth0|ada").waitFor();
  clean(page);
});

test("what a role may not do is not offered, and refused all the same", async () => {
  const page = await signedIn("auth0|grace");
  await page.locator(".side-who").getByText("trainer", { exact: true }).waitFor();
  const navigation = page.locator(".side").getByRole("navigation");
  await navigation.getByRole("link", { name: "Train" }).waitFor();
  assert.equal(await navigation.getByRole("link", { name: "Admin" }).count(), 0);
  const refused = await page.evaluate(async () => {
    const headers = { "x-cairn-studio": "1", "content-type": "application/json" };
    const body = JSON.stringify({ subject: "x", roles: ["admin"] });
    return (await fetch("/v1/keys", { method: "POST", headers, body })).status;
  });
  assert.equal(refused, 403);

  // She can be granted things by her name.
  await api("POST", "/v1/datanets", { name: "for-grace", title: "For Grace", licence: "CC0-1.0" });
  await navigation.getByRole("link", { name: "Datanets" }).click();
  await page.getByRole("heading", { name: "Datanets", level: 1 }).waitFor();
  assert.equal(await page.getByText("For Grace").count(), 0);
  await api("PUT", `/v1/datanets/for-grace/grants/${encodeURIComponent("oidc:auth0|grace")}`);
  await page.reload();
  await page.getByText("For Grace").waitFor();
  clean(page);
});

test("a cookie counts in the studio's own requests alone", async () => {
  const page = await signedIn("auth0|ada");
  const cookie = `cairn_session=${(await sessionOf(page)).value}`;
  assert.equal(await status({ cookie, "x-cairn-studio": "1" }), 200);
  assert.equal(await status({ cookie }), 401);
  assert.equal(await status({ cookie, "x-cairn-studio": "1", "sec-fetch-site": "cross-site" }), 401);
  assert.equal(await status({ cookie }, "/auth/logout", "POST"), 401);
  assert.equal(await page.evaluate(async () => (await fetch("/v1/me")).status), 401);
  // A page of another site, in the same browser: neither its scripts nor its forms get anywhere.
  const evil = await page.context().newPage();
  await evil.goto(`${provider}/.well-known/openid-configuration`);
  const read = (headers) =>
    evil.evaluate(
      async ([to, sent]) => {
        const answer = await fetch(to, { credentials: "include", headers: sent }).catch(() => null);
        return answer && answer.status;
      },
      [`${url}/v1/me`, headers],
    );
  assert.equal(await read({}), null);
  assert.equal(await read({ "x-cairn-studio": "1" }), null);
  const [answer] = await Promise.all([
    evil.waitForResponse((response) => response.url().endsWith("/auth/logout")),
    evil.setContent(`<form method="post" action="${url}/auth/logout"></form><script>document.forms[0].submit()</script>`),
  ]);
  assert.ok(answer.status() === 200 || answer.status() === 401);
  assert.equal(await status({ cookie, "x-cairn-studio": "1" }), 200, "another site signed somebody out");
  clean(page);
});

test("signing out reaches the other tabs and the provider", async () => {
  const page = await signedIn("auth0|ada");
  const cookie = `cairn_session=${(await sessionOf(page)).value}`;
  const other = watched(await page.context().newPage());
  await other.goto(`${url}/studio/datanets`);
  await other.getByRole("heading", { name: "Datanets", level: 1 }).waitFor();

  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("button", { name: "Yes, sign me out" }).click();
  await page.getByRole("heading", { name: "Sign in to Cairn" }).waitFor();
  assert.equal(page.url(), `${url}/studio/`);
  await other.getByRole("heading", { name: "Sign in to Cairn" }).waitFor();
  assert.equal(await sessionOf(page), undefined);
  assert.equal(await status({ cookie, "x-cairn-studio": "1" }), 401);
  // The provider has forgotten too: it asks who is there.
  await page.getByRole("link", { name: "Continue with Test Provider" }).click();
  await page.getByPlaceholder("Enter any login").waitFor();
  clean(page);
  clean(other);
});

test("a key that is kept on this device is forgotten in every tab", async () => {
  const secret = (await api("POST", "/v1/keys", { subject: "two-tabs", roles: ["app"] })).secret;
  const page = await signedOut();
  await page.goto(`${url}/studio/`);
  await page.getByLabel("API key or token").fill(secret);
  await page.getByText("Remember on this device").click();
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.locator(".side-who").getByText("two-tabs").waitFor();
  const other = watched(await page.context().newPage());
  await other.goto(`${url}/studio/`);
  await other.locator(".side-who").getByText("two-tabs").waitFor();
  await other.getByRole("button", { name: "Sign out" }).click();
  await other.getByRole("heading", { name: "Sign in to Cairn" }).waitFor();
  await page.getByRole("heading", { name: "Sign in to Cairn" }).waitFor();
  clean(page);
  clean(other);
});

for (const [how, statement] of [
  ["is over", "UPDATE sessions SET expires_at = '2020-01-01T00:00:00.000Z' WHERE hash = ?"],
  ["was ended by the operator", "DELETE FROM sessions WHERE hash = ?"],
]) {
  test(`a session that ${how} opens nothing, and the studio says so`, async () => {
    const page = await signedIn("auth0|ada", "/admin?tab=keys");
    await page.getByRole("tab", { name: "Health" }).waitFor();
    const { value } = await sessionOf(page);
    sql(statement, createHash("sha256").update(value).digest("hex"));
    // The gateway asks its database anew within seconds.
    await until("it is refused", async () => (await status({ cookie: `cairn_session=${value}`, "x-cairn-studio": "1" })) === 401);
    // Only the request that is made without the typed client gets through.
    await page.route("**/v1/**", () => {});
    await page.getByRole("tab", { name: "Health" }).click();
    await page.getByText("Your session has ended").waitFor();
    await page.getByRole("link", { name: "Continue with Test Provider" }).waitFor();
    await accessible(page, "sign-in, the session has ended");
    await page.unroute("**/v1/**");
    await page.reload();
    await page.getByRole("heading", { name: "Sign in to Cairn" }).waitFor();
    clean(page);
  });
}

test("a session that is over ends in requests of the typed client too", async () => {
  const page = await signedIn("auth0|ada");
  const { value } = await sessionOf(page);
  sql("DELETE FROM sessions WHERE hash = ?", createHash("sha256").update(value).digest("hex"));
  await until("it is refused", async () => (await status({ cookie: `cairn_session=${value}`, "x-cairn-studio": "1" })) === 401);
  await page.route("**/metrics", () => {});
  // The page asks for itself now and then, and may have found out before the click.
  const told = page.getByText("Your session has ended");
  await told.or(page.locator(".side").getByRole("link", { name: "Admin" })).first().click();
  await told.waitFor();
  clean(page);
});

test("an answer of the provider serves the browser that asked for it, once", async () => {
  const page = await signedOut();
  const said = (text) => page.getByRole("alert").getByText(text).waitFor();
  await page.goto(`${url}/auth/callback?code=invented&state=invented`);
  await said("began in another browser");
  assert.equal(page.url(), `${url}/studio/`);
  await accessible(page, "sign-in, refused");

  // The provider's real answer to this browser, brought by another.
  const callback = await answerFor(page, "auth0|ada");
  const other = await signedOut();
  await other.goto(callback);
  await other.getByRole("alert").getByText("began in another browser").waitFor();
  assert.equal(await sessionOf(other), undefined);
  await page.goto(callback);
  await said("began in another browser");
  assert.equal(await sessionOf(page), undefined);
  // Left alone it would have served, as the next does: the provider knows her by now.
  await page.getByRole("link", { name: "Continue with Test Provider" }).click();
  await page.locator(".side-who").getByText("oidc:auth0|ada").waitFor();

  // One that has served.
  const third = await signedOut();
  let served;
  third.on("request", (request) => {
    if (request.url().includes("/auth/callback")) served = request.url();
  });
  await third.goto(`${url}/studio/`);
  await signIn(third, "auth0|ada");
  await third.locator(".side-who").getByText("oidc:auth0|ada").waitFor();
  await third.context().clearCookies({ name: "cairn_session" });
  await third.goto(served);
  await third.getByRole("alert").getByText("was used before").waitFor();
  assert.equal(await sessionOf(third), undefined);
});

test("who has no role, no fit name or no wish to is told so", async () => {
  for (const [who, told] of [
    ["nobody", "you have no role here"],
    ["not/a/subject", "could not accept what Test Provider sent"],
  ]) {
    const page = await signedOut();
    await page.goto(`${url}/studio/`);
    await signIn(page, who);
    await page.getByRole("alert").getByText(told).waitFor();
    assert.equal(await sessionOf(page), undefined);
    clean(page);
  }
  const page = await signedOut();
  await page.goto(`${url}/studio/`);
  await page.getByRole("link", { name: "Continue with Test Provider" }).click();
  await page.getByRole("link", { name: "Cancel" }).click();
  await page.getByRole("alert").getByText("did not let you in").waitFor();
  clean(page);
});

test("a sign-in ends in the studio and nowhere else", async () => {
  for (const elsewhere of ["https://evil.example/studio/", "//evil.example/studio/", "/v1/keys", "/studio/../v1/keys", "/\\evil.example"]) {
    const answer = await fetch(`${url}/auth/login?return_to=${encodeURIComponent(elsewhere)}`, { redirect: "manual" });
    assert.equal(answer.status, 400, elsewhere);
    assert.equal(answer.headers.get("location"), null);
  }
});

for (const [width, height, scheme] of [
  [1440, 900, "dark"],
  [390, 844, "light"],
]) {
  test(`the sign-in page at ${width} px, ${scheme}`, async () => {
    const page = await signedOut({ width, height, scheme });
    await page.goto(`${url}/studio/?sign_in=no_roles`);
    await page.getByRole("link", { name: "Continue with Test Provider" }).waitFor();
    await accessible(page, "sign-in");
    const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    assert.ok(over <= 0, `it is ${over} px too wide`);
    if (process.env.CAIRN_PICTURES) await page.screenshot({ path: join(process.env.CAIRN_PICTURES, `sign-in-${width}-${scheme}.png`) });
    clean(page);
  });
}

// Signing in with the organisation's provider, and out again. The way there is a link that the browser follows: no script talks to
// another origin.
import { api, body } from "./client";
import { credential, dropCookie, dropKey, learn } from "./session";

/** Why the last sign-in came to nothing, as the gateway put it into the address: `?sign_in=…`. */
export type Failure = "unavailable" | "stale" | "declined" | "refused" | "no_roles";

const FAILURES: readonly string[] = ["unavailable", "stale", "declined", "refused", "no_roles"];

/** Read once, and taken out of the address, where a reload or a bookmark would repeat it. */
export const failure = takeFailure();

function takeFailure(): Failure | null {
  const address = new URL(window.location.href);
  const given = address.searchParams.get("sign_in");
  if (given === null) return null;
  address.searchParams.delete("sign_in");
  window.history.replaceState(window.history.state, "", address);
  return FAILURES.includes(given) ? (given as Failure) : null;
}

let asking: Promise<void> | undefined;

/** Asks the gateway whether this browser is signed in, and what the provider is called. */
export function ask(): Promise<void> {
  asking ??= look().finally(() => {
    asking = undefined;
  });
  return asking;
}

async function look(): Promise<void> {
  try {
    const { oidc, signed_in } = body(await api.GET("/auth/session"));
    learn({ cookie: signed_in ? "cookie" : "none", provider: oidc?.name ?? null });
  } catch (trouble) {
    learn({ cookie: "none", provider: null, trouble });
  }
}

/** Where the link to the provider leads; one comes back to the page that is open now. */
export function providerLink(): string {
  const { pathname, search } = window.location;
  return `/auth/login?return_to=${encodeURIComponent(pathname + search)}`;
}

/** Signs out: of the key in this tab, or of the browser's session in every tab and with the provider. */
export async function leave(): Promise<void> {
  if (credential()) return dropKey();
  const { end_session_url } = body(await api.POST("/auth/logout"));
  dropCookie();
  if (end_session_url) window.location.assign(end_session_url);
}

// An OpenID Connect provider for the tests: node-oidc-provider with its own pages for signing in and consenting. Whoever signs in is
// whom they say; any password does. Clients must use PKCE, and roles are told at the UserInfo endpoint alone, as it has it by default.
//
//   node provider.js PORT GATEWAY_URL
//
// It calls itself http://localhost:PORT while the gateway is http://127.0.0.1:…: for a browser, two different sites.
import { Provider } from "oidc-provider";

const [port, gateway] = process.argv.slice(2);
const issuer = `http://localhost:${port}`;

/** Their groups, which tests/studio/run maps to roles. */
const GROUPS = {
  "auth0|ada": ["Cairn Admins"],
  "auth0|grace": ["research", "chess"],
  nobody: ["chess"],
  "not/a/subject": ["Cairn Admins"],
};

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "cairn",
      client_secret: "a secret: of the+client",
      token_endpoint_auth_method: "client_secret_basic",
      redirect_uris: [`${gateway}/auth/callback`],
      post_logout_redirect_uris: [`${gateway}/studio/`],
      response_types: ["code"],
      grant_types: ["authorization_code"],
    },
  ],
  scopes: ["openid", "profile", "groups"],
  claims: { openid: ["sub"], profile: ["name"], groups: ["groups"] },
  pkce: { required: () => true },
  features: { devInteractions: { enabled: true }, rpInitiatedLogout: { enabled: true } },
  findAccount: (_context, id) => ({
    accountId: id,
    claims: () => ({ sub: id, name: `${id} by name`, groups: GROUPS[id] ?? [] }),
  }),
  cookies: { keys: ["of the tests"] },
});

provider.on("server_error", (_context, error) => console.error(error));
provider.listen(Number(port), "localhost", () => console.log(`serving ${issuer}`));

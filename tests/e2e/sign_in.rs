//! Sign-in by OpenID Connect against a provider that lies: every ID token that was not made for the sign-in is refused, and
//! sessions count in the studio's own requests alone. `tests/studio/sign-in.test.js` has a provider that is real, and a browser.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use cairn_tests::{Gateway, Setup, free_port, unique};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::{Response, Url, header::HeaderMap};
use serde_json::{Value, json};

const CLIENT: &str = "cairn";
/// Of [`ACCESS_TOKEN`]: OpenID Connect Core 1.0, appendix A.3.
const AT_HASH: &str = "77QmUPtjPfzWtF2AnpK9RQ";
const ACCESS_TOKEN: &str = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";

#[tokio::test]
async fn a_session_is_made_and_counts_in_the_studio_alone() {
    let provider = Provider::start();
    let gateway = setup(&provider).start();
    let subject = unique("auth0|person");
    let before = state(&gateway, &[]).await;
    assert_eq!(before, json!({"oidc": {"name": "127.0.0.1"}, "signed_in": false}));
    let login = Login::begin(&gateway, "/studio/datanets?x=1").await;
    assert_eq!(login.query["scope"], "openid profile");
    assert_eq!(
        (login.query["code_challenge_method"].as_str(), login.query["response_type"].as_str()),
        ("S256", "code")
    );
    provider.plan(&login, json!({"sub": subject, "at_hash": AT_HASH}));
    let ended = login.end(&gateway).await;
    assert_eq!(ended.location, "/studio/datanets?x=1");
    let set = ended.session.as_deref().expect("a session cookie");
    assert!(set.contains("; HttpOnly; SameSite=Strict") && !set.contains("Secure"), "{set}");
    let form = provider.seen.lock().expect("no test panicked").clone();
    assert!(form.contains("grant_type=authorization_code") && form.contains("code_verifier="), "{form}");

    let cookie = ended.cookie();
    let cookie = cookie.as_str();
    let own = [("cookie", cookie), ("x-cairn-studio", "1")];
    let me = get(&gateway, "/v1/me", &own).await;
    assert_eq!(me.status(), 200);
    let me: Value = me.json().await.expect("JSON");
    let me_before = me.clone();
    assert_eq!(me["subject"], json!(format!("oidc:{subject}")));
    assert_eq!((&me["roles"], &me["credential"]), (&json!(["trainer", "app"]), &json!("oidc")));
    assert_eq!(state(&gateway, &own).await["signed_in"], true);
    // Roles and grants hold as for keys.
    assert_eq!(get(&gateway, "/v1/keys", &own).await.status(), 403);
    gateway.admin().datanet("granted", &[("one", "Granted to a person.")]).await;
    assert_eq!(get(&gateway, "/v1/datanets/granted", &own).await.status(), 404);
    let grant = format!("/v1/datanets/granted/grants/oidc:{}", subject.replace('|', "%7C"));
    gateway.admin().put(&grant).await.ok();
    assert_eq!(get(&gateway, "/v1/datanets/granted", &own).await.status(), 200);

    // What another site can make a browser send.
    for (why, headers) in [
        ("no header", vec![("cookie", cookie)]),
        ("a form", vec![("cookie", cookie), ("content-type", "application/x-www-form-urlencoded")]),
        ("another site", vec![("cookie", cookie), ("x-cairn-studio", "1"), ("sec-fetch-site", "cross-site")]),
        ("a sibling", vec![("cookie", cookie), ("x-cairn-studio", "1"), ("sec-fetch-site", "same-site")]),
        ("another cookie", vec![("cookie", "cairn_session=AAAA"), ("x-cairn-studio", "1")]),
    ] {
        let refused = get(&gateway, "/v1/me", &headers).await;
        assert_eq!(refused.status(), 401, "{why}");
        assert!(refused.headers().get("access-control-allow-origin").is_none());
    }
    let forged = post(&gateway, "/auth/logout", &[("cookie", cookie)]).await;
    assert_eq!(forged.status(), 401, "nobody is signed out by another site");
    // A bearer wins over a cookie.
    let mut both = own.to_vec();
    let admin = format!("Bearer {}", gateway.admin().credential());
    both.push(("authorization", admin.as_str()));
    let me: Value = get(&gateway, "/v1/me", &both).await.json().await.expect("JSON");
    assert_eq!(me["credential"], "api_key");

    // The operator sees and ends sessions.
    let second = Login::begin(&gateway, "/studio/").await;
    provider.plan(&second, json!({"sub": "leaver"}));
    let second = second.end(&gateway).await.cookie();
    let listed = gateway.cli(&["sessions", "list", "--json"]).json();
    let subjects: Vec<&Value> = listed.as_array().expect("a list").iter().map(|session| &session["subject"]).collect();
    assert_eq!(subjects, [&json!("oidc:leaver"), &me_before["subject"]]);
    assert!(gateway.cli(&["sessions", "end", "oidc:leaver"]).ok());
    assert_eq!(gateway.cli(&["sessions", "end", "oidc:leaver"]).code(), 2);
    let leaver = get(&gateway, "/v1/me", &[("cookie", &second), ("x-cairn-studio", "1")]).await;
    assert_eq!(leaver.status(), 401);

    let out = post(&gateway, "/auth/logout", &own).await;
    assert!(set_cookie(out.headers(), "cairn_session").is_some_and(|set| set.contains("Max-Age=0")));
    let out: Value = out.json().await.expect("JSON");
    let end = out["end_session_url"].as_str().expect("the provider has such a place");
    assert!(end.starts_with(&format!("{}/end?client_id=cairn", provider.url)), "{end}");
    assert_eq!(get(&gateway, "/v1/me", &own).await.status(), 401);
    assert_eq!(state(&gateway, &own).await["signed_in"], false);
}

#[tokio::test]
async fn what_was_not_made_for_the_sign_in_is_refused() {
    let provider = Provider::start();
    let gateway = setup(&provider).start();
    for (why, change) in [
        ("made for another sign-in", json!({"nonce": "another"})),
        ("made for no sign-in", json!({"nonce": null})),
        ("for another client", json!({"aud": "another"})),
        ("for nobody", json!({"aud": null})),
        ("for several, given to nobody", json!({"aud": [CLIENT, "another"]})),
        ("given to another", json!({"azp": "another"})),
        ("by another issuer", json!({"iss": "https://id.test"})),
        ("expired", json!({"exp": now() - 3600})),
        ("for ever", json!({"exp": null})),
        ("not yet", json!({"nbf": now() + 3600})),
        ("about nobody", json!({"sub": null})),
        ("beside another access token", json!({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"})),
        ("about somebody with a path for a name", json!({"sub": "../../keys"})),
    ] {
        let login = Login::begin(&gateway, "/studio/").await;
        provider.plan(&login, change);
        login.end(&gateway).await.refused(why, "refused");
    }
    for (why, forge) in [
        ("signed by nobody", Forgery::Unsigned),
        ("signed with the client's secret", Forgery::Symmetric),
        ("signed with a key that is not published", Forgery::UnknownKey),
        ("changed after signing", Forgery::Changed),
    ] {
        let login = Login::begin(&gateway, "/studio/").await;
        provider.plan(&login, json!({}));
        provider.set(|plan| plan.forge(forge));
        login.end(&gateway).await.refused(why, "refused");
    }

    let login = Login::begin(&gateway, "/studio/").await;
    provider.plan(&login, json!({"roles": null}));
    provider.set(|plan| plan.userinfo = json!({"sub": "another", "roles": ["admin"]}));
    login.end(&gateway).await.refused("roles of somebody else", "refused");

    let login = Login::begin(&gateway, "/studio/").await;
    provider.plan(&login, json!({"roles": ["superuser"]}));
    login.end(&gateway).await.refused("no role", "no_roles");

    // The token endpoint sends the code and the secret elsewhere.
    let elsewhere = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    elsewhere.set_nonblocking(true).expect("a listener can be asked without waiting");
    let login = Login::begin(&gateway, "/studio/").await;
    provider.plan(&login, json!({}));
    let address = format!("http://{}/", elsewhere.local_addr().expect("an address"));
    provider.set(|plan| plan.redirect = Some(address));
    login.end(&gateway).await.refused("redirected", "refused");
    assert!(elsewhere.accept().is_err(), "the code went elsewhere");
}

#[tokio::test]
async fn an_answer_serves_the_browser_that_asked_for_it_once() {
    let provider = Provider::start();
    let gateway = setup(&provider).start();
    let login = Login::begin(&gateway, "/studio/").await;
    provider.plan(&login, json!({}));
    let mut other = login.clone();
    other.cookie = "cairn_login=AAAA".into();
    other.end(&gateway).await.refused("another browser", "stale");
    login.end(&gateway).await.refused("a state that was tried in another browser", "stale");

    let login = Login::begin(&gateway, "/studio/").await;
    provider.plan(&login, json!({}));
    assert!(login.end(&gateway).await.session.is_some());
    login.end(&gateway).await.refused("a replay", "stale");

    let login = Login::begin(&gateway, "/studio/").await;
    login.answered(&gateway, "state=invented&code=x").await.refused("an invented state", "stale");
    login.answered(&gateway, "code=x").await.refused("no state", "stale");
    let state = &login.query["state"];
    let mixed = format!("state={state}&code=x&iss=https%3A%2F%2Fid.test");
    login.answered(&gateway, &mixed).await.refused("another provider's answer", "refused");

    let login = Login::begin(&gateway, "/studio/").await;
    let declined = format!("state={}&error=access_denied&error_description=no", login.query["state"]);
    login.answered(&gateway, &declined).await.refused("declined", "declined");

    for elsewhere in ["https://evil.example/", "//evil.example/studio/", "/v1/keys", "/studio/../v1/keys", "/%5Cevil"] {
        let path = format!("/auth/login?return_to={}", elsewhere.replace('%', "%25").replace('/', "%2F"));
        let answer = get(&gateway, &path, &[]).await;
        assert_eq!((answer.status().as_u16(), answer.headers().get("location")), (400, None), "{elsewhere}");
    }
}

#[tokio::test]
async fn the_gateway_runs_without_its_provider_and_without_any() {
    let away = format!("http://{}", free_port());
    let gateway = Setup::new().set("oidc.issuer", &away).set("oidc.client_id", CLIENT).set("oidc.name", "Away").start();
    assert_eq!(state(&gateway, &[]).await, json!({"oidc": {"name": "Away"}, "signed_in": false}));
    let answer = get(&gateway, "/auth/login", &[]).await;
    assert_eq!(location(answer.headers()), "/studio/?sign_in=unavailable");
    gateway.admin().get("/v1/me").await.ok();

    let gateway = Setup::new().start();
    assert_eq!(state(&gateway, &[]).await, json!({"oidc": null, "signed_in": false}));
    gateway.anonymous().get("/auth/login").await.error(404, "not_found");
    gateway.anonymous().get("/auth/callback?state=a&code=b").await.error(404, "not_found");
}

#[tokio::test]
async fn a_sign_in_that_protects_nothing_is_not_configured() {
    for (settings, named) in [
        (vec![("oidc.issuer", "http://id.test"), ("oidc.client_id", "x")], "oidc.issuer"),
        (vec![("oidc.issuer", "https://id.test")], "oidc.client_id"),
        (
            vec![("oidc.issuer", "https://id.test"), ("oidc.client_id", "x"), ("server.public_url", "http://10.0.0.1")],
            "server.public_url",
        ),
        (
            vec![("oidc.issuer", "https://id.test"), ("oidc.client_id", "x"), ("oidc.client_secret_file", "/nowhere")],
            "oidc.client_secret_file",
        ),
    ] {
        let mut gateway = Setup::new().prepare();
        for (key, value) in &settings {
            gateway.set(key, value);
        }
        assert!(gateway.try_start().is_err(), "{settings:?} was accepted");
        assert!(gateway.log_tail().contains(named), "{settings:?}: {}", gateway.log_tail());
    }
}

fn setup(provider: &Provider) -> Setup {
    Setup::new().set("oidc.issuer", &provider.url).set("oidc.client_id", CLIENT)
}

/// A sign-in under way, as the browser knows it.
#[derive(Clone)]
struct Login {
    query: HashMap<String, String>,
    cookie: String,
}

/// Where the browser was sent in the end.
struct Ended {
    location: String,
    session: Option<String>,
}

impl Login {
    async fn begin(gateway: &Gateway, return_to: &str) -> Self {
        let return_to = return_to.replace('?', "%3F").replace('=', "%3D");
        let answer = get(gateway, &format!("/auth/login?return_to={return_to}"), &[]).await;
        assert_eq!(answer.status(), 303);
        let url = Url::parse(&location(answer.headers())).expect("a URL");
        let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
        assert_eq!((query["client_id"].as_str(), url.path()), (CLIENT, "/authorize"), "{url}");
        assert_eq!(query["redirect_uri"], format!("{}/auth/callback", gateway.url()));
        let set = set_cookie(answer.headers(), "cairn_login").expect("a cookie for the sign-in");
        assert!(set.contains("; HttpOnly; SameSite=Lax"), "{set}");
        Self { query, cookie: pair(&set) }
    }

    async fn end(&self, gateway: &Gateway) -> Ended {
        self.answered(gateway, &format!("state={}&code=a-code", self.query["state"])).await
    }

    async fn answered(&self, gateway: &Gateway, answer: &str) -> Ended {
        let path = format!("/auth/callback?{answer}");
        let answer = get(gateway, &path, &[("cookie", self.cookie.as_str()), ("sec-fetch-site", "cross-site")]).await;
        assert_eq!(answer.status(), 303);
        Ended { location: location(answer.headers()), session: set_cookie(answer.headers(), "cairn_session") }
    }
}

impl Ended {
    fn cookie(&self) -> String {
        pair(self.session.as_deref().expect("a session"))
    }

    #[track_caller]
    fn refused(&self, why: &str, code: &str) {
        assert_eq!(self.location, format!("/studio/?sign_in={code}"), "{why}");
        assert_eq!(self.session, None, "{why}");
    }
}

async fn state(gateway: &Gateway, headers: &[(&str, &str)]) -> Value {
    get(gateway, "/auth/session", headers).await.json().await.expect("JSON")
}

async fn get(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Response {
    send(gateway, reqwest::Method::GET, path, headers).await
}

async fn post(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Response {
    send(gateway, reqwest::Method::POST, path, headers).await
}

async fn send(gateway: &Gateway, method: reqwest::Method, path: &str, headers: &[(&str, &str)]) -> Response {
    let none = reqwest::redirect::Policy::none();
    let http = reqwest::Client::builder().no_proxy().redirect(none).build().expect("an HTTP client can be made");
    let mut request = http.request(method, format!("{}{path}", gateway.url()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.expect("the gateway answers")
}

fn location(headers: &HeaderMap) -> String {
    headers.get("location").and_then(|value| value.to_str().ok()).expect("a redirect").to_owned()
}

fn set_cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let all = headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
    all.map(str::to_owned).find(|set| set.split_once('=').is_some_and(|(given, _)| given == name))
}

fn pair(set: &str) -> String {
    set.split(';').next().unwrap_or_default().to_owned()
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs().cast_signed()
}

fn keys() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("keys")
}

/// How a token pretends to be signed.
enum Forgery {
    Unsigned,
    Symmetric,
    UnknownKey,
    Changed,
}

/// What the provider answers next.
#[derive(Default)]
struct Plan {
    id_token: String,
    claims: Value,
    userinfo: Value,
    redirect: Option<String>,
}

impl Plan {
    fn forge(&mut self, how: Forgery) {
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        self.id_token = match how {
            Forgery::Unsigned => format!("{}.{}.", part(&json!({"alg": "none"})), part(&self.claims)),
            Forgery::Symmetric => {
                let header = Header::new(Algorithm::HS256);
                encode(&header, &self.claims, &EncodingKey::from_secret(b"secret")).expect("HS256 can be signed")
            }
            Forgery::UnknownKey => sign("other", &self.claims),
            Forgery::Changed => {
                let mut claims = self.claims.clone();
                claims["roles"] = json!(["admin"]);
                let mut parts: Vec<&str> = self.id_token.split('.').collect();
                let changed = part(&claims);
                parts[1] = &changed;
                parts.join(".")
            }
        };
    }
}

fn sign(kid: &str, claims: &Value) -> String {
    let key = std::fs::read(keys().join("rs256.pem")).expect("a test key");
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::RS256) };
    let key = EncodingKey::from_rsa_pem(&key).expect("a test key can be read");
    encode(&header, claims, &key).expect("a token can be signed")
}

/// A provider that answers what the test plans, for as long as the test process lives.
struct Provider {
    url: String,
    plan: Arc<Mutex<Plan>>,
    /// What the token endpoint was sent last.
    seen: Arc<Mutex<String>>,
}

impl Provider {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let provider = Self { url: url.clone(), plan: Arc::default(), seen: Arc::default() };
        let (plan, seen) = (provider.plan.clone(), provider.seen.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = answer(stream, &url, &plan, &seen);
            }
        });
        provider
    }

    /// The next code is redeemed for a token that is made for this sign-in, but for the change; null removes a claim.
    fn plan(&self, login: &Login, change: Value) {
        let mut claims = json!({
            "iss": self.url, "sub": "someone", "aud": CLIENT, "exp": now() + 600, "iat": now(),
            "nonce": login.query["nonce"], "roles": ["app", "superuser", "trainer"],
        });
        if let (Some(claims), Value::Object(change)) = (claims.as_object_mut(), change) {
            claims.extend(change);
            claims.retain(|_, value| !value.is_null());
        }
        self.set(|plan| *plan = Plan { id_token: sign("rsa", &claims), claims, ..Plan::default() });
    }

    fn set(&self, change: impl FnOnce(&mut Plan)) {
        change(&mut self.plan.lock().expect("no test panicked"));
    }
}

fn answer(mut stream: TcpStream, url: &str, plan: &Mutex<Plan>, seen: &Mutex<String>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body)?;
    let plan = plan.lock().expect("no test panicked");
    let mut status = "200 OK".to_owned();
    let body = match head.split(' ').nth(1).unwrap_or_default() {
        "/.well-known/openid-configuration" => json!({
            "issuer": url,
            "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("{url}/token"),
            "userinfo_endpoint": format!("{url}/userinfo"),
            "jwks_uri": format!("{url}/jwks"),
            "end_session_endpoint": format!("{url}/end"),
        })
        .to_string(),
        "/jwks" => std::fs::read_to_string(keys().join("jwks.json"))?,
        "/userinfo" => plan.userinfo.to_string(),
        "/token" => {
            *seen.lock().expect("no test panicked") = String::from_utf8_lossy(&body).into_owned();
            if let Some(elsewhere) = &plan.redirect {
                status = format!("307 Temporary Redirect\r\nlocation: {elsewhere}");
            }
            json!({"access_token": ACCESS_TOKEN, "token_type": "Bearer", "id_token": plan.id_token}).to_string()
        }
        _ => {
            status = "404 Not Found".into();
            String::new()
        }
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

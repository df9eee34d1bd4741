//! Tokens of an identity provider: by key file, by published key set, and every way to be refused.

use std::{
    io::{Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use cairn_tests::{Gateway, Setup, unique};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

const AUDIENCE: &str = "https://cairn.test";
const ISSUER: &str = "https://id.test";

#[tokio::test]
async fn a_key_file_verifies_tokens() {
    let gateway = Setup::new()
        .set("jwt.key_file", keys().join("ed25519.pub.pem").to_string_lossy())
        .set("jwt.audience", AUDIENCE)
        .set("jwt.issuer", ISSUER)
        .start();
    let subject = unique("person");
    let token = sign(Algorithm::EdDSA, None, claims(&subject));
    let person = gateway.client(&token);
    let me = person.get("/v1/me").await.ok();
    assert_eq!((&me["subject"], &me["roles"], &me["credential"]), (&json!(subject), &json!(["app"]), &json!("jwt")));
    // Roles and grants hold as for keys.
    person.post("/v1/datanets", json!({"name": "x"})).await.error(403, "insufficient_scope");
    gateway.admin().datanet("granted", &[("one", "Granted to a person.")]).await;
    person.get("/v1/datanets/granted").await.error(404, "datanet_not_found");
    gateway.admin().put(&format!("/v1/datanets/granted/grants/{subject}")).await.ok();
    person.get("/v1/datanets/granted").await.ok();

    let change = |field: &str, value: Value| {
        let mut claims = claims(&subject);
        claims[field] = value;
        sign(Algorithm::EdDSA, None, claims)
    };
    for (why, token) in [
        ("another audience", change("aud", json!("https://else.test"))),
        ("no audience", change("aud", Value::Null)),
        ("another issuer", change("iss", json!("https://else.test"))),
        ("expired", change("exp", json!(now() - 3600))),
        ("no expiry", change("exp", Value::Null)),
        ("not valid yet", change("nbf", json!(now() + 3600))),
        ("no subject", change("sub", Value::Null)),
        ("an empty subject", change("sub", json!(""))),
    ] {
        refused(&gateway, why, &token).await;
    }
    refuse_forgeries(&gateway, &claims(&subject)).await;
    // The roles of other systems mean nothing here.
    let stranger = gateway.client(&change("roles", json!(["superuser"])));
    stranger.get("/v1/me").await.error(403, "insufficient_scope");
    let mixed = gateway.client(&change("roles", json!(["superuser", "auditor"])));
    assert_eq!(mixed.get("/v1/me").await.ok()["roles"], json!(["auditor"]));
    // API keys go on working beside tokens.
    gateway.admin().get("/v1/me").await.ok();
}

#[tokio::test]
async fn a_published_key_set_verifies_tokens() {
    let provider = Provider::start();
    let gateway = Setup::new().set("jwt.jwks_url", &provider.url).set("jwt.audience", AUDIENCE).start();
    for (algorithm, kid) in [(Algorithm::EdDSA, "ed"), (Algorithm::ES256, "ec"), (Algorithm::RS256, "rsa")] {
        let subject = unique("person");
        let me = gateway.client(&sign(algorithm, Some(kid), claims(&subject))).get("/v1/me").await.ok();
        assert_eq!((&me["subject"], &me["credential"]), (&json!(subject), &json!("jwt")), "{algorithm:?}");
        // A token that names no key is matched by its algorithm.
        gateway.client(&sign(algorithm, None, claims("someone"))).get("/v1/me").await.ok();
    }
    refused(&gateway, "a key that is not published", &sign(Algorithm::EdDSA, Some("other"), claims("x"))).await;
    refused(&gateway, "a key of another kind", &sign(Algorithm::EdDSA, Some("rsa"), claims("x"))).await;
    let mut expired = claims("x");
    expired["exp"] = json!(now() - 3600);
    refused(&gateway, "expired", &sign(Algorithm::RS256, Some("rsa"), expired)).await;
    refuse_forgeries(&gateway, &claims("x")).await;
    assert_eq!(provider.asked.load(Ordering::SeqCst), 1, "the key set is cached");
}

#[tokio::test]
async fn a_prefix_keeps_tokens_from_the_subjects_of_keys_and_of_people() {
    let key_file = keys().join("ed25519.pub.pem").to_string_lossy().into_owned();
    let setup = || Setup::new().set("jwt.key_file", &key_file).set("jwt.audience", AUDIENCE);
    let me = async |gateway: &Gateway, sub: &str| {
        gateway.client(&sign(Algorithm::EdDSA, None, claims(sub))).get("/v1/me").await.ok()["subject"].clone()
    };
    let plain = setup().start();
    assert_eq!(me(&plain, "admin").await, "admin");
    refused(&plain, "a person's subject", &sign(Algorithm::EdDSA, None, claims("oidc:ada"))).await;

    let gateway = setup().set("jwt.subject_prefix", "jwt:").start();
    assert_eq!(me(&gateway, "admin").await, "jwt:admin");
    assert_eq!(me(&gateway, "oidc:ada").await, "jwt:oidc:ada");
    gateway.admin().datanet("of-the-key", &[("one", "The administrator's own.")]).await;
    let token = gateway.client(&sign(Algorithm::EdDSA, None, claims("admin")));
    token.get("/v1/datanets/of-the-key").await.error(404, "datanet_not_found");
    gateway.admin().put("/v1/datanets/of-the-key/grants/jwt:admin").await.ok();
    token.get("/v1/datanets/of-the-key").await.ok();
}

#[tokio::test]
async fn a_jwt_configuration_that_protects_nothing_is_refused() {
    let key_file = keys().join("ed25519.pub.pem").to_string_lossy().into_owned();
    for (settings, named) in [
        (vec![("jwt.key_file", key_file.as_str())], "jwt.audience"),
        (
            vec![("jwt.key_file", &key_file), ("jwt.jwks_url", "http://127.0.0.1:1/"), ("jwt.audience", "x")],
            "choose one",
        ),
        (vec![("jwt.key_file", &key_file), ("jwt.audience", "x"), ("jwt.algorithms", "HS256")], "HS256"),
    ] {
        let mut gateway = Setup::new().prepare();
        for (key, value) in &settings {
            gateway.set(key, value);
        }
        let started = gateway.try_start();
        assert!(started.is_err(), "{settings:?} was accepted");
        assert!(gateway.log_tail().contains(named), "{settings:?}: {}", gateway.log_tail());
    }
}

/// Tokens that only pretend to be signed.
async fn refuse_forgeries(gateway: &Gateway, claims: &Value) {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    for algorithm in ["none", "None", "NONE"] {
        let unsigned = format!("{}.{}.", part(&json!({"alg": algorithm, "typ": "JWT"})), part(claims));
        refused(gateway, "alg none", &unsigned).await;
    }
    // The public key as an HMAC secret: what a verifier that trusts the header's alg would accept.
    let public = std::fs::read(keys().join("ed25519.pub.pem")).expect("a test key");
    let confused = encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(&public));
    refused(gateway, "HS256 with the public key", &confused.expect("HS256 can be signed")).await;
    let good = sign(Algorithm::EdDSA, Some("ed"), claims.clone());
    let mut parts: Vec<&str> = good.split('.').collect();
    let mut other = claims.clone();
    other["roles"] = json!(["admin"]);
    let other = part(&other);
    parts[1] = &other;
    refused(gateway, "claims changed after signing", &parts.join(".")).await;
    refused(gateway, "the signature cut off", &good[..good.len() - 4]).await;
    refused(gateway, "two parts", good.rsplit_once('.').expect("three parts").0).await;
}

async fn refused(gateway: &Gateway, why: &str, token: &str) {
    let reply = gateway.client(token).get("/v1/me").await;
    assert_eq!(reply.status, 401, "{why}: {reply}");
    reply.error(401, "invalid_api_key");
}

fn claims(subject: &str) -> Value {
    json!({"sub": subject, "aud": AUDIENCE, "iss": ISSUER, "exp": now() + 600, "nbf": now() - 10, "roles": ["app"]})
}

fn sign(algorithm: Algorithm, kid: Option<&str>, mut claims: Value) -> String {
    if let Some(claims) = claims.as_object_mut() {
        claims.retain(|_, value| !value.is_null());
    }
    let read = |name: &str| std::fs::read(keys().join(name)).expect("a test key");
    let key = match algorithm {
        Algorithm::EdDSA => EncodingKey::from_ed_pem(&read("ed25519.pem")),
        Algorithm::ES256 => EncodingKey::from_ec_pem(&read("es256.pem")),
        Algorithm::RS256 => EncodingKey::from_rsa_pem(&read("rs256.pem")),
        other => panic!("there is no test key for {other:?}"),
    };
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    encode(&header, &claims, &key.expect("a test key can be read")).expect("a token can be signed")
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs().cast_signed()
}

fn keys() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("keys")
}

/// An identity provider that publishes `keys/jwks.json`, for as long as the test process lives.
struct Provider {
    url: String,
    asked: Arc<AtomicUsize>,
}

impl Provider {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let url = format!("http://{}/jwks.json", listener.local_addr().expect("an address"));
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        let body = std::fs::read_to_string(keys().join("jwks.json")).expect("a test key set");
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    match stream.read(&mut byte) {
                        Ok(1) => request.push(byte[0]),
                        _ => break,
                    }
                }
                counter.fetch_add(1, Ordering::SeqCst);
                let length = body.len();
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
                let _ = write!(stream, "{head}content-length: {length}\r\n\r\n{body}");
            }
        });
        Self { url, asked }
    }
}

//! The openai Python SDK, with only its base URL changed: `sdk/openai_sdk.py`, run by a Python that has the package.

use std::{path::Path, process::Stdio};

use cairn_tests::{EMBEDDING, MODEL, python, shared};

#[tokio::test]
async fn the_openai_python_sdk_works_unchanged() {
    let gateway = shared().await;
    let (_, subject) = gateway.caller(&["app", "trainer"]).await;
    let made = gateway
        .admin()
        .post("/v1/keys", serde_json::json!({"subject": subject, "roles": ["app", "trainer"]}))
        .await
        .ok();
    gateway.admin().put(&format!("/v1/datanets/foldoc/grants/{subject}")).await.ok();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk/openai_sdk.py");
    let ran = std::process::Command::new(python())
        .arg(script)
        .env("OPENAI_BASE_URL", format!("{}/v1", gateway.url()))
        .env("OPENAI_API_KEY", made["secret"].as_str().expect("a secret"))
        .env("CAIRN_TEST_MODEL", MODEL)
        .env("CAIRN_TEST_EMBEDDING", EMBEDDING)
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::null())
        .output()
        .expect("the Python of CAIRN_TEST_PYTHON can be run");
    let (stdout, stderr) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{}\n{stdout}\n{stderr}", ran.status);
    assert!(stdout.contains("all held"), "{stdout}");
}

//! The command line, as people and scripts use it.

use cairn_tests::{MODEL, copy, shared, unique};
use serde_json::{Value, json};

const COMMANDS: [&str; 15] = [
    "init", "pull", "serve", "ingest", "search", "ask", "proof", "verify", "keys", "sessions", "models", "datanets",
    "adapters", "config", "openapi",
];

#[tokio::test]
async fn every_command_explains_itself() {
    let gateway = shared().await;
    let help = gateway.cli(&["--help"]);
    assert!(help.ok(), "{help}");
    for command in COMMANDS {
        assert!(help.stdout.contains(&format!("  {command}")), "cairn --help lists {command}:\n{}", help.stdout);
        let of_command = gateway.cli(&[command, "--help"]);
        assert!(of_command.ok() && of_command.stdout.contains("Usage: cairn"), "{command}: {of_command}");
        assert!(of_command.stdout.contains(&format!("cairn {command}")), "{command}: {of_command}");
    }
    let version = gateway.cli(&["--version"]);
    assert!(version.ok() && version.stdout.starts_with("cairn 0."), "{version}");
    assert_eq!(gateway.cli(&["no-such-command"]).code(), 2);
    let verifier = gateway.cairn_verify(&["--help"]);
    assert!(verifier.ok() && verifier.stdout.contains("Usage: cairn-verify"), "{verifier}");
}

#[tokio::test]
async fn ask_shows_its_sources_and_writes_the_proof() {
    let gateway = shared().await;
    let file = gateway.scratch().join(unique("ask.cairn.json"));
    let path = file.to_string_lossy();
    let asked = gateway.cli(&[
        "ask",
        "--datanet",
        "foldoc",
        "--max-tokens",
        "24",
        "--proof",
        &path,
        "What",
        "is",
        "a",
        "B-tree?",
    ]);
    assert!(asked.ok(), "{asked}");
    for said in ["Sources", "[1] foldoc: ", "Denis Howe", "GFDL", "cairn.local/log", "cairn proof chatcmpl-"] {
        assert!(asked.stdout.contains(said), "the answer shows {said:?}: {asked}");
    }
    let verified = gateway.cli(&["verify", &path]);
    assert!(verified.ok() && verified.stdout.starts_with("PROVED"), "{verified}");

    let json = gateway
        .cli(&["ask", "--json", "--model", MODEL, "--max-tokens", "4", "-d", "foldoc", "-k", "2", "B-tree?"])
        .json();
    assert!(json["answer"].as_str().is_some_and(|answer| !answer.is_empty()), "{json:#}");
    assert_eq!(json["attribution"]["datapoints"].as_array().map(Vec::len), Some(2));
    let id = json["attribution"]["id"].as_str().expect("an id");
    let fetched = gateway.cli(&["proof", id, "--output", &path]);
    assert!(fetched.ok(), "{fetched}");
    assert!(gateway.cli(&["verify", &path, "--key", &gateway.public_key().to_string_lossy()]).ok());

    let unknown = gateway.cli(&["ask", "--datanet", "none", "Who?"]);
    assert!(unknown.code() == 2 && unknown.stderr.contains("none"), "{unknown}");
    let nobody = gateway.cli(&["ask", "--url", "http://127.0.0.1:1", "Who?"]);
    assert!(nobody.code() == 2 && nobody.stderr.contains("cairn serve"), "it says how to mend it: {nobody}");
    let stranger = gateway.cli_with(&["ask", "Who?"], &[("CAIRN_API_KEY", "cairn_wrong")]);
    assert!(stranger.code() == 2 && stranger.stderr.contains("API key"), "{stranger}");
}

#[tokio::test]
async fn search_is_for_people_and_for_scripts() {
    let gateway = shared().await;
    let json = gateway.cli(&["search", "--json", "--datanet", "foldoc", "-k", "3", "B-tree"]).json();
    assert_eq!(json["data"].as_array().map(Vec::len), Some(3));
    assert_eq!(json["data"][0]["metadata"]["headword"], "B-tree", "{json:#}");
    let text = gateway.cli(&["search", "--datanet", "foldoc", "--mode", "full-text", "B-tree"]);
    assert!(text.ok() && text.stdout.starts_with("1. foldoc: "), "{text}");
    assert!(text.stdout.contains("vector -"), "full text has no vector score: {text}");
    let nothing = gateway.cli(&["search", "--datanet", "foldoc", "--mode", "full-text", "zzyzxqq"]);
    assert!(nothing.ok() && nothing.stdout.contains("nothing was found"), "{nothing}");
}

#[tokio::test]
async fn keys_are_made_listed_and_revoked() {
    let gateway = shared().await;
    let subject = unique("cli");
    let made =
        gateway.cli(&["keys", "create", &subject, "--role", "app", "--role", "auditor", "--expires-in-days", "1"]);
    assert!(made.ok(), "{made}");
    let secret = made.stdout.trim();
    assert!(secret.starts_with("cairn_") && secret.lines().count() == 1, "the secret alone is on stdout: {made}");
    // The running gateway knows the key at once: it was made beside it, in the same data directory.
    let me = gateway.client(secret).get("/v1/me").await.ok();
    assert_eq!((&me["subject"], &me["roles"]), (&json!(subject), &json!(["app", "auditor"])));
    let listed = gateway.cli(&["keys", "list", "--json"]).json();
    let key = listed
        .as_array()
        .and_then(|keys| keys.iter().find(|key| key["subject"] == subject))
        .expect("it is listed")
        .clone();
    assert!(key["expires_at"].is_string(), "{key:#}");
    assert!(gateway.cli(&["keys", "list"]).stdout.contains(&subject));
    let revoked = gateway.cli(&["keys", "revoke", key["id"].as_str().expect("an id")]);
    assert!(revoked.ok(), "{revoked}");
    let after = gateway.cli(&["keys", "list", "--json"]).json();
    let key =
        after.as_array().and_then(|keys| keys.iter().find(|key| key["subject"] == subject)).expect("it is listed");
    assert!(key["revoked_at"].is_string(), "{key:#}");
    assert_eq!(gateway.cli(&["keys", "revoke", "none"]).code(), 2);
    let king = gateway.cli(&["keys", "create", "x", "--role", "king"]);
    assert!(king.code() == 2 && king.stderr.contains("steward"), "it lists the roles: {king}");
}

#[tokio::test]
async fn models_are_shown_loaded_and_unloaded() {
    let gateway = copy().await;
    let listed = gateway.cli(&["models", "--json"]).json();
    let status = |list: &Value| {
        list.as_array().and_then(|it| it.iter().find(|it| it["id"] == MODEL)).expect("listed")["status"].clone()
    };
    assert_eq!(status(&listed), "loaded");
    let unloaded = gateway.cli(&["models", "unload", MODEL]);
    assert!(unloaded.ok() && unloaded.stdout.contains("unloaded"), "{unloaded}");
    let loaded = gateway.cli(&["models", "load", MODEL, "--json"]).json();
    assert_eq!(status(&loaded), "loaded");
    let table = gateway.cli(&["models"]);
    assert!(table.stdout.contains(MODEL) && table.stdout.contains("all-minilm-l6-v2"), "{table}");
    let none = gateway.cli(&["models", "load", "none"]);
    assert!(none.code() == 2 && none.stderr.contains("none"), "{none}");
}

#[tokio::test]
async fn files_of_every_format_are_ingested() {
    let gateway = shared().await;
    let name = unique("formats");
    let made = gateway.cli(&["datanets", "create", &name, "--title", "Formats", "--licence", "CC0-1.0"]);
    assert!(made.ok() && made.stdout.contains(&name), "{made}");
    let markdown =
        "# Rivers\n\nThe Cairn is a river in the north, and long.\n\n## Lakes\n\nOmbra is a lake, deep and cold.\n";
    for (file, text, added) in [
        (
            "it.jsonl",
            "{\"id\": \"a\", \"text\": \"first\", \"metadata\": {\"page\": 3}}\n\n{\"text\": \"second\"}\n",
            2,
        ),
        ("it.csv", "id,text,chapter\nb,\"third, with a comma\",1\n,fourth,2\n", 2),
        // Sections that fit into one passage stay together.
        ("it.md", markdown, 1),
        ("it.txt", "A paragraph of plain text.\n", 1),
    ] {
        let path = gateway.scratch().join(format!("{name}-{file}"));
        std::fs::write(&path, text).expect("a file can be written");
        let ingested =
            gateway.cli(&["ingest", &path.to_string_lossy(), "--datanet", &name, "--contributor", "ada", "--json"]);
        assert!(ingested.ok(), "{file}: {ingested}");
        let job = ingested.json();
        assert_eq!((&job["state"], &job["result"]["added"]), (&json!("succeeded"), &json!(added)), "{file}: {job:#}");
    }
    let page = gateway.admin().get(&format!("/v1/datanets/{name}/datapoints")).await.ok();
    let data = page["data"].as_array().expect("datapoints");
    assert_eq!(data.len(), 6);
    assert_eq!((&data[0]["id"], &data[0]["metadata"]["page"]), (&json!("a"), &json!(3)));
    assert_eq!(data[2]["metadata"]["chapter"], "1", "other columns are metadata: {:#}", data[2]);
    assert!(data.iter().all(|it| it["contributor"] == "ada" && it["licence"] == "CC0-1.0"), "{page:#}");
    let listed = gateway.cli(&["datanets", "--json"]).json();
    let datanet =
        listed.as_array().and_then(|all| all.iter().find(|it| it["name"] == name)).expect("it is listed").clone();
    assert_eq!(datanet["snapshot"]["size"], 6);
    let (app, subject) = gateway.caller(&["app"]).await;
    assert!(gateway.cli(&["datanets", "grant", &name, &subject]).ok());
    app.get(&format!("/v1/datanets/{name}")).await.ok();
    assert!(gateway.cli(&["datanets", "revoke", &name, &subject]).ok());
    app.get(&format!("/v1/datanets/{name}")).await.error(404, "datanet_not_found");
}

#[tokio::test]
async fn a_file_with_errors_adds_nothing_and_names_the_lines() {
    let gateway = shared().await;
    let name = unique("errors");
    gateway.admin().post("/v1/datanets", json!({"name": name})).await.ok();
    let good = "{\"id\": \"g\", \"text\": \"good\"}";
    let jsonl = format!("{good}\n{{\"id\": \"h\"}}\n{good}x\n{{\"text\": \"t\", \"contributer\": \"typo\"}}\n");
    for (file, text, lines) in [
        ("bad.jsonl", jsonl.as_str(), &["line 2", "line 3", "line 4", "contributer"][..]),
        (
            "twice.jsonl",
            "{\"id\": \"a\", \"text\": \"one\"}\n{\"id\": \"a\", \"text\": \"two\"}\n",
            &["line 2", "taken"],
        ),
        ("bad.csv", "id,text,metadata\na,fine,\nb,,\nc,fine,not json\n", &["line 3", "line 4"]),
        ("none.csv", "id,body\na,x\n", &["text"]),
    ] {
        let path = gateway.scratch().join(format!("{name}-{file}"));
        std::fs::write(&path, text).expect("a file can be written");
        let ingested = gateway.cli(&["ingest", &path.to_string_lossy(), "-d", &name, "--contributor", "x"]);
        assert!(!ingested.ok(), "{file} was accepted: {ingested}");
        for line in lines {
            assert!(ingested.stderr.contains(line), "{file}: the message has {line:?}: {ingested}");
        }
        let datanet = gateway.admin().get(&format!("/v1/datanets/{name}")).await.ok();
        assert_eq!(datanet["snapshot"]["size"], 0, "{file}: nothing is added");
    }
    // Without a contributor there is nobody to attribute to.
    let path = gateway.scratch().join(format!("{name}-anonymous.jsonl"));
    std::fs::write(&path, "{\"text\": \"whose?\"}\n").expect("a file can be written");
    let anonymous = gateway.cli(&["ingest", &path.to_string_lossy(), "-d", &name]);
    assert!(!anonymous.ok() && anonymous.stderr.contains("contributor"), "{anonymous}");
    let missing = gateway.cli(&["ingest", "no-such-file.jsonl", "-d", &name]);
    assert!(missing.code() == 2 && missing.stderr.contains("no-such-file.jsonl"), "{missing}");
    let unnamed = gateway.cli(&["ingest", "no-extension", "-d", &name]);
    assert!(unnamed.code() == 2 && unnamed.stderr.contains("--format"), "{unnamed}");
    let half = gateway.cli(&["ingest", "lonely.index", "-d", &name]);
    assert!(half.code() == 2 && half.stderr.contains("two files"), "{half}");
}

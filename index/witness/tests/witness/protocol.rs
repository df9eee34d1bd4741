//! The server's side of C2SP tlog-witness, and its memory.

use cairn_proof::witness::AddCheckpoint;
use cairn_proof::{Checkpoint, CosignedCheckpoint, Hash, Origin, SignedCheckpoint, SigningKey};

use crate::support::{LOG, Process, log_key, origin, request, signed, tree};

#[tokio::test]
async fn statuses_are_those_of_the_specification() {
    let witness = Process::start("witness.example/w1", "").await;
    let (whole, fork) = (tree(0, 30), tree(1, 30));
    assert_eq!(witness.post(request(&whole, 0, 10)).await.status, 200);

    assert_eq!(witness.post(b"old 10\n".to_vec()).await.status, 400);
    let above = String::from_utf8(request(&whole, 10, 20)).unwrap().replacen("old 10", "old 21", 1);
    assert_eq!(witness.post(above.into_bytes()).await.status, 400);
    let forged = |origin: &str, key: &SigningKey| {
        let checkpoint =
            Checkpoint { origin: Origin::new(origin).unwrap(), size: 20, root: whole.root_at(20).unwrap() };
        let checkpoint = SignedCheckpoint::sign(checkpoint, key).to_string();
        AddCheckpoint { old: 10, proof: whole.consistency(10, 20).unwrap(), checkpoint }.to_bytes()
    };
    assert_eq!(witness.post(forged("example.com/unknown", &log_key())).await.status, 404);
    assert_eq!(witness.post(forged(LOG, &SigningKey::from_seed([6; 32]))).await.status, 403);
    for old in [0, 9, 11] {
        let conflict = witness.post(request(&whole, old, 20)).await;
        assert_eq!((conflict.status, conflict.body.as_str()), (409, "10\n"));
        assert_eq!(conflict.content_type, "text/x.tlog.size");
    }
    assert_eq!(witness.post(request(&fork, 10, 20)).await.status, 422, "a split view");
    assert_eq!(witness.post(request(&fork, 10, 10)).await.status, 409, "another root at the same size");
    assert_eq!(witness.post(request(&whole, 5, 8)).await.status, 409, "a rollback");
    let too_long = witness.post(vec![b'a'; 200_000]).await;
    assert_eq!(too_long.status, 413);
    assert_eq!(witness.get("/add-checkpoint").await.status, 405);
    assert_eq!(witness.post(request(&whole, 10, 20)).await.status, 200);
}

#[tokio::test]
async fn other_implementations_read_what_it_says() {
    let witness = Process::start("witness.example/w1", "").await;
    let whole = tree(0, 30);
    let signed = signed(&whole, 30);
    // A request put together by another implementation's checkpoint and note.
    let theirs = tlog_tiles::Checkpoint::new(LOG, 30, tlog_tiles::Hash(*whole.root().as_bytes()), "").unwrap();
    let note = signed_note::Note::from_bytes(signed.to_string().as_bytes()).unwrap();
    assert_eq!(theirs.to_bytes(), note.text());
    let body = [b"old 0\n\n".to_vec(), note.to_bytes()].concat();
    let answer = witness.post(body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    // Its answer is a signature line, and concatenated to the checkpoint a note.
    let line = signed_note::Signature::from_bytes(answer.body.trim_end().as_bytes()).unwrap();
    assert_eq!((line.name(), line.signature().len()), ("witness.example/w1", 8 + 64));
    assert_eq!(line.id().to_be_bytes(), witness.key.key_id());
    let whole_note = signed_note::Note::from_bytes(format!("{signed}{}", answer.body).as_bytes()).unwrap();
    let log = log_key().verifying_key(&origin()).to_string();
    let verifier = signed_note::StandardVerifier::new(&log).unwrap();
    let (verified, unverified) = whole_note.verify(&signed_note::VerifierList::new(vec![Box::new(verifier)])).unwrap();
    assert_eq!((verified.len(), unverified.len()), (1, 1));
    let cosigned = CosignedCheckpoint::parse(&format!("{signed}{}", answer.body)).unwrap();
    assert!(cosigned.by(&witness.key).is_some());
}

#[tokio::test]
async fn it_says_who_it_is_and_what_it_saw() {
    let witness = Process::start("witness.example/w1", "prefix = \"\"").await;
    let path = format!("/checkpoint/{}", Hash::of(LOG.as_bytes()));
    assert_eq!(witness.get(&path).await.status, 404);
    assert!(witness.get("/").await.body.contains("nothing yet"));
    assert_eq!(witness.post(request(&tree(0, 12), 0, 12)).await.status, 200);
    let index = witness.get("/").await;
    assert!(index.content_type.starts_with("text/html"));
    for shown in [LOG, ">12<", witness.key.to_string().as_str()] {
        assert!(index.body.contains(shown), "{shown} in {}", index.body);
    }
    assert_eq!(witness.get("/key").await.body, format!("{}\n", witness.key));
    let latest = CosignedCheckpoint::parse(&witness.get(&path).await.body).unwrap();
    assert!(latest.signed().size() == 12 && latest.by(&witness.key).is_some());
    assert_eq!(witness.get("/healthz").await.body, "ok\n");
}

#[tokio::test]
async fn strangers_are_limited() {
    let witness = Process::start("witness.example/w1", "[limits]\nrequests_per_minute = 1\nburst = 3").await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        let reply = witness.post(b"old 0\n".to_vec()).await;
        assert_eq!(reply.status == 429, reply.retry_after);
        statuses.push(reply.status);
    }
    assert_eq!(statuses, [400, 400, 400, 429, 429]);
    assert_eq!(witness.get("/healthz").await.status, 200, "reading is free");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_a_kill() {
    let mut witness = Process::start("witness.example/w1", "[limits]\nrequests_per_minute = 60000\nburst = 1000").await;
    let whole = tree(0, 400);
    // The first checkpoint of a log is taken as it is; from then on there is something to contradict.
    assert_eq!(witness.post(request(&whole, 0, 1)).await.status, 200);
    let mut acknowledged = 1;
    for round in 0..8u64 {
        // Killed between two requests,
        witness.restart().await;
        let conflict = witness.post(request(&whole, acknowledged + 1, 400)).await;
        assert_eq!((conflict.status, conflict.body), (409, format!("{acknowledged}\n")));
        // and in the middle of one.
        let (url, first) = (witness.url.clone(), acknowledged);
        let submitting = tokio::spawn(async move {
            let (client, whole) = (reqwest::Client::new(), tree(0, 400));
            let mut last = first;
            for size in first + 1..first + 40 {
                let sent = client.post(format!("{url}/add-checkpoint")).body(request(&whole, last, size)).send().await;
                match sent {
                    // The status may come and the body be cut off: it is cosigned all the same.
                    Ok(response) if response.status() == 200 => last = size,
                    _ => return (last, size),
                }
            }
            (last, last)
        });
        tokio::time::sleep(std::time::Duration::from_millis(3 + 4 * round)).await;
        witness.kill();
        let (last, tried) = submitting.await.unwrap();
        witness.restart().await;
        // An answer that was given stands; the one under way was cosigned or not, and nothing beyond it.
        let probe = witness.post(request(&whole, 399, 400)).await;
        let now: u64 = probe.body.trim().parse().unwrap();
        assert!(probe.status == 409 && (last..=tried).contains(&now), "{last} to {tried}, but {now}");
        assert_ne!(witness.post(request(&tree(1, 400), now, 400)).await.status, 200, "a split view");
        acknowledged = now;
    }
    assert!(acknowledged > 8, "{acknowledged}");
}

#[tokio::test]
async fn wrong_state_key_or_configuration_is_refused() {
    let mut witness = Process::start("witness.example/w1", "").await;
    let fails = |witness: &Process, verb: &str, why: &str| {
        let output = witness.command(verb).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains(why), "{said}");
    };
    fails(&witness, "run", "open in another process");
    fails(&witness, "init", "there already");
    witness.kill();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode =
            |mode| std::fs::set_permissions(witness.path("witness.key"), PermissionsExt::from_mode(mode)).unwrap();
        mode(0o644);
        fails(&witness, "run", "chmod 600");
        mode(0o600);
    }
    let config = std::fs::read_to_string(witness.path("witness.toml")).unwrap();
    let with = |text: String| std::fs::write(witness.path("witness.toml"), text).unwrap();
    with(format!("colour = \"red\"\n{config}"));
    fails(&witness, "run", "colour");
    with(config.replace(&format!("origin = \"{LOG}\""), "origin = \"example.com/other\""));
    fails(&witness, "run", "the key is of log");
    with(config);
    std::fs::remove_dir_all(witness.path("state")).unwrap();
    fails(&witness, "run", "forgot what it cosigned");
}

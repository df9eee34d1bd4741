//! What can befall a fine-tuning job: a full disk, no memory, being stopped at any time. A clear word each, and nothing lost.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use cairn_tests::{Client, Gateway, MODEL, Setup, copy, copy_with, unique};
use serde_json::{Value, json};

use crate::training::{ended, examples, job, messages, process, quick, stepped, upload};

/// A run on a file: long enough to be met on the way, where not told otherwise.
async fn begin(client: &Client, options: Value, more: Value) -> String {
    let file = upload(client, examples(24)).await;
    let mut options = options;
    let defaults = json!({"max_steps": 200, "checkpoint_every": 1});
    for (name, value) in defaults.as_object().expect("an object") {
        options.as_object_mut().expect("an object").entry(name.clone()).or_insert_with(|| value.clone());
    }
    let mut request = json!({"model": MODEL, "training_file": file, "suffix": unique("fault"), "held_out": 0.2,
        "evaluation_samples": 2, "method": quick(options)});
    request.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let made = client.post("/v1/fine_tuning/jobs", request).await.ok();
    made["id"].as_str().expect("an id").to_owned()
}

async fn until(client: &Client, id: &str, status: &str) -> Value {
    for _ in 0..1200 {
        let now = job(client, id).await;
        if now["status"] == status {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{id} did not become {status}: {:#}", job(client, id).await);
}

fn directory(gateway: &Gateway, id: &str) -> PathBuf {
    gateway.data().join("training").join(id)
}

async fn act(client: &Client, id: &str, what: &str) -> cairn_tests::Reply {
    client.post(&format!("/v1/fine_tuning/jobs/{id}/{what}"), json!({})).await
}

async fn process_gone(id: &str) {
    for _ in 0..400 {
        if process(id).is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{id} has a process still");
}

fn error(job: &Value) -> &str {
    job["error"]["message"].as_str().unwrap_or_else(|| panic!("no error: {job:#}"))
}

/// A small disk of its own.
struct Disk(PathBuf);

impl Disk {
    /// None where this test may not mount.
    fn mount(at: &Path, mib: u32) -> Option<Self> {
        fs::create_dir_all(at).expect("a directory to mount on");
        let size = format!("size={mib}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then(|| Self(at.to_owned()))
    }

    /// Writes until nothing more fits.
    fn fill(&self) -> PathBuf {
        use std::io::Write;
        let path = self.0.join(unique("ballast"));
        let mut file = fs::File::create(&path).expect("ballast");
        for size in [1 << 16, 1] {
            while file.write_all(&vec![7; size]).is_ok() {}
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_ends_a_run_and_room_lets_it_go_on() {
    let gateway = copy().await;
    let Some(disk) = Disk::mount(&gateway.data().join("training"), 32) else {
        eprintln!("skipped: no right to mount; a_file_that_cannot_grow… is about the same errors");
        return;
    };
    let admin = gateway.admin();
    let id = begin(&admin, json!({"max_steps": 12}), json!({})).await;
    stepped(&admin, &id, 3).await;
    let ballast = disk.fill();
    let failed = ended(&admin, &id).await;
    assert_eq!(failed["status"], "failed", "{failed:#}");
    let said = error(&failed);
    assert!(said.contains("No space left on device") && said.contains("make room on the disk and resume"), "{said}");
    assert!(!said.contains("ended by itself") && !said.contains(gateway.data().to_str().unwrap()), "{said}");
    process_gone(&id).await;
    // The last checkpoint is whole, and there is none that is not.
    let dir = directory(&gateway, &id);
    let mut checkpoints: Vec<PathBuf> =
        fs::read_dir(dir.join("checkpoints")).unwrap().map(|entry| entry.unwrap().path()).collect();
    checkpoints.sort();
    let last = checkpoints.last().expect("a checkpoint");
    let state: Value = serde_json::from_slice(&fs::read(last.join("state.json")).unwrap()).unwrap();
    assert!(state["step"].as_u64() >= Some(3), "{state}");
    // While there is no room nothing is begun.
    let more = disk.fill();
    act(&admin, &id, "resume").await.error(507, "storage_full");
    let file = upload(&admin, examples(24)).await;
    let another = json!({"model": MODEL, "training_file": file, "method": quick(json!({}))});
    admin.post("/v1/fine_tuning/jobs", another).await.error(507, "storage_full");
    assert_eq!(job(&admin, &id).await["status"], "failed");

    fs::remove_file(ballast).unwrap();
    fs::remove_file(more).unwrap();
    act(&admin, &id, "resume").await.ok();
    let done = ended(&admin, &id).await;
    assert_eq!(done["status"], "succeeded", "{done:#}");
    let said = messages(&admin, &id).await;
    assert!(said.contains("Going on from the last checkpoint: 12 steps in all"), "{said}");
    drop(disk);
}

#[tokio::test]
async fn a_file_that_cannot_grow_fails_a_run_with_its_reason() {
    let gateway = Setup::new().prepare();
    let home = gateway.scratch();
    fs::write(home.join("examples.jsonl"), examples(12)).unwrap();
    let recipe = format!(
        "base = \"{MODEL}\"\ndata = \"examples.jsonl\"\noutput = \"run\"\nheld_out = 0.0\n[options]\npreset = \"fast\"\n\
         method = \"lora\"\nr = 4\nmax_steps = 2\nmax_length = 64\nbatch_size = 2\npacking = false\n"
    );
    fs::write(home.join("recipe.toml"), recipe).unwrap();
    let failed = gateway.cli_with_small_files(&["train", "recipe.toml"], 512);
    assert!(failed.code() == 2 && failed.stderr.contains("File too large"), "{failed}");
    assert!(failed.stderr.contains("checkpoints/") && failed.stderr.contains("make room on the disk"), "{failed}");
    let outcome: Value = serde_json::from_slice(&fs::read(home.join("run/outcome.json")).unwrap()).unwrap();
    assert!(outcome["error"].as_str().is_some_and(|it| it.contains("File too large")), "{outcome}");
    assert_eq!(fs::read_dir(home.join("run/checkpoints")).unwrap().count(), 0, "nothing half-written is left");
    let done = gateway.cli(&["train", "recipe.toml", "--resume"]);
    assert!(done.ok() && home.join("run/adapter/adapter_model.safetensors").is_file(), "{done}");
}

#[tokio::test]
async fn what_needs_too_much_memory_is_refused_and_what_outgrows_its_limit_is_ended() {
    let mut gateway = copy_with(Setup::new().set("training.memory_limit_mib", "160")).await;
    let file = upload(&gateway.admin(), examples(24)).await;
    let request = json!({"model": MODEL, "training_file": file, "method": quick(json!({}))});
    let preview = gateway.admin().post("/v1/fine_tuning/preview", request.clone()).await.ok();
    assert_eq!(preview["fits"], false, "{preview:#}");
    let refused = gateway.admin().post("/v1/fine_tuning/jobs", request).await.error(400, "invalid_request");
    let said = refused["message"].as_str().unwrap();
    assert!(refused["param"] == "method" && said.contains("160 are allowed: training "), "{said}");
    assert!(said.contains("weights ") && said.contains("activations ") && said.contains("memory_limit_mib"), "{said}");
    assert!(!fs::read_dir(gateway.data().join("training")).is_ok_and(|mut all| all.next().is_some()), "nothing stays");

    gateway.stop();
    gateway.set("training.memory_limit_mib", "8192");
    gateway.start();
    let admin = gateway.admin();
    let id = begin(&admin, json!({"max_steps": 8}), json!({})).await;
    act(&admin, &id, "pause").await.ok();
    until(&admin, &id, "paused").await;
    // As if the forecast had been wrong: the limit holds while the base is loaded.
    let path = directory(&gateway, &id).join("job.json");
    let limit = |bytes: u64| {
        let mut spec: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        spec["memory_limit"] = json!(bytes);
        fs::write(&path, spec.to_string()).unwrap();
    };
    limit(160 << 20);
    act(&admin, &id, "resume").await.ok();
    let failed = ended(&admin, &id).await;
    let said = error(&failed);
    assert!(failed["status"] == "failed" && said.contains("needed more memory than the 160 MiB"), "{said}");
    assert!(said.contains("Loading") && said.contains("training.memory_limit_mib"), "{said}");
    assert!(!messages(&admin, &id).await.contains("The process was killed"), "it is not tried again in vain");
    limit(8 << 30);
    act(&admin, &id, "resume").await.ok();
    assert_eq!(ended(&admin, &id).await["status"], "succeeded");
}

#[tokio::test]
async fn a_run_is_stopped_wherever_it_is() {
    let gateway = copy().await;
    let admin = gateway.admin();
    // In the middle of its steps.
    let id = begin(&admin, json!({}), json!({})).await;
    stepped(&admin, &id, 2).await;
    act(&admin, &id, "resume").await.error(400, "invalid_request");
    admin.delete(&format!("/v1/fine_tuning/jobs/{id}")).await.error(400, "invalid_request");
    act(&admin, &id, "cancel").await.ok();
    // To ask for what cannot be changes nothing of what was asked before.
    act(&admin, &id, "resume").await.error(400, "invalid_request");
    assert_eq!(ended(&admin, &id).await["status"], "cancelled");
    process_gone(&id).await;
    act(&admin, &id, "resume").await.error(400, "invalid_request");

    // As soon as it is asked for, whether or not its process has begun.
    let id = begin(&admin, json!({"max_steps": 3}), json!({})).await;
    act(&admin, &id, "pause").await.ok();
    until(&admin, &id, "paused").await;
    process_gone(&id).await;
    assert_eq!(job(&admin, &id).await["fine_tuned_model"], Value::Null);
    act(&admin, &id, "resume").await.ok();
    assert_eq!(ended(&admin, &id).await["status"], "succeeded");

    // While it evaluates: no adapter comes of it; or it comes later.
    let many = json!({"evaluation_samples": 100, "held_out": 0.5});
    let evaluating = async |id: &str| {
        for _ in 0..1200 {
            if messages(&admin, id).await.contains("Evaluating base and adapter") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{id} does not evaluate: {}", messages(&admin, id).await);
    };
    let id = begin(&admin, json!({"max_steps": 1}), many.clone()).await;
    evaluating(&id).await;
    act(&admin, &id, "cancel").await.ok();
    let cancelled = ended(&admin, &id).await;
    assert!(cancelled["status"] == "cancelled" && cancelled["fine_tuned_model"].is_null(), "{cancelled:#}");
    assert!(cancelled["adapter_generation"].is_null() && !directory(&gateway, &id).join("provenance.json").exists());
    process_gone(&id).await;

    let id = begin(&admin, json!({"max_steps": 1}), many).await;
    evaluating(&id).await;
    act(&admin, &id, "pause").await.ok();
    let paused = until(&admin, &id, "paused").await;
    assert!(paused["fine_tuned_model"].is_null(), "{paused:#}");
    act(&admin, &id, "resume").await.ok();
    let done = ended(&admin, &id).await;
    assert_eq!(done["status"], "succeeded", "{done:#}");
    let said = messages(&admin, &id).await;
    assert_eq!(said.matches("Step 1/1").count(), 1, "no step is made twice: {said}");
}

#[tokio::test]
async fn as_many_run_at_once_as_the_configuration_says() {
    let gateway = copy_with(Setup::new().set("training.jobs_at_once", "2")).await;
    let admin = gateway.admin();
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(begin(&admin, json!({}), json!({})).await);
    }
    for id in &ids[..2] {
        stepped(&admin, id, 1).await;
    }
    let mut statuses = Vec::new();
    for id in &ids {
        statuses.push(job(&admin, id).await["status"].clone());
    }
    assert_eq!(statuses, ["running", "running", "queued"]);
    assert!(process(&ids[0]).is_some() && process(&ids[1]).is_some() && process(&ids[2]).is_none());
    act(&admin, &ids[1], "cancel").await.ok();
    stepped(&admin, &ids[2], 1).await;
    for id in [&ids[0], &ids[2]] {
        act(&admin, id, "cancel").await.ok();
        assert_eq!(ended(&admin, id).await["status"], "cancelled");
    }
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    use std::io::Write;
    let gateway = Setup::new().start();
    let files = gateway.data().join("files");
    let listed = || fs::read_dir(&files).map(|all| all.flatten().count()).unwrap_or(0);
    let address = gateway.url().trim_start_matches("http://").to_owned();
    let admin = gateway.admin();
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    let head = format!(
        "POST /v1/files HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\ncontent-length: 100000\r\n\
         content-type: multipart/form-data; boundary=cut\r\n\r\n--cut\r\ncontent-disposition: form-data; \
         name=\"file\"; filename=\"a.jsonl\"\r\n\r\n",
        admin.credential()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&vec![b'x'; 50_000]).unwrap();
    let wait = async |count: usize| {
        for _ in 0..400 {
            if listed() == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{} files, not {count}", listed());
    };
    wait(1).await;
    drop(stream);
    wait(0).await;
    assert_eq!(admin.get("/v1/files").await.ok()["data"], json!([]));
    let id = upload(&admin, examples(1)).await;
    assert_eq!(admin.get(&format!("/v1/files/{id}/content")).await.text(), examples(1));
    assert_eq!(listed(), 1);
}

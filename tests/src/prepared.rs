//! What is costly to make, made once a run: two datanets of real dictionaries, and one gateway that tests share which
//! only ask.

use std::path::{Path, PathBuf};

use serde_json::json;
use tokio::sync::OnceCell;

use crate::{
    gateway::{Gateway, Setup},
    inputs::{MODEL, dictionary, tree_entries},
};

/// A data directory with the datanets `foldoc` and `jargon`, not served by anyone. Copy it.
///
/// They are parts of the dictionaries, since embedding takes a while: about four hundred entries of FOLDOC, all those on
/// trees among them, and some of the Jargon File. `CAIRN_TEST_ALL_ENTRIES=1` takes all.
pub async fn data() -> &'static Path {
    static DATA: OnceCell<(Gateway, PathBuf)> = OnceCell::const_new();
    let made = DATA.get_or_init(|| async {
        let mut gateway = Setup::new().start();
        let all = std::env::var_os("CAIRN_TEST_ALL_ENTRIES").is_some();
        let admin = gateway.admin();
        for (name, entries, licence, contributor) in
            [("foldoc", 400, "GFDL", "Denis Howe"), ("jargon", 60, "public domain", "Eric S. Raymond")]
        {
            let files = dictionary(name, gateway.scratch(), if all { usize::MAX } else { entries }, tree_entries);
            admin.post("/v1/datanets", json!({"name": name, "licence": licence})).await.ok();
            let query = [("format", "dictd"), ("contributor", contributor)];
            let job = admin.ingest(name, &query, &[&files.index, &files.dict]).await;
            admin.succeeded(&job).await;
        }
        gateway.stop();
        let data = gateway.data();
        (gateway, data)
    });
    &made.await.1
}

/// A running gateway with both datanets and the model loaded, for tests that leave it as it is: they may make keys,
/// grants and datanets of their own, and nothing else.
pub async fn shared() -> &'static Gateway {
    static SHARED: OnceCell<Gateway> = OnceCell::const_new();
    SHARED.get_or_init(|| async { loaded(Setup::new().copy_of(data().await)).await }).await
}

/// A gateway of the test's own with both datanets and the model loaded.
pub async fn copy() -> Gateway {
    copy_with(Setup::new()).await
}

/// As [`copy`], with settings.
pub async fn copy_with(setup: Setup) -> Gateway {
    loaded(setup.copy_of(data().await)).await
}

async fn loaded(setup: Setup) -> Gateway {
    let gateway = setup.start();
    gateway.admin().post(&format!("/v1/models/{MODEL}/load"), json!({})).await.ok();
    gateway
}

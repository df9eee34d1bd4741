//! One file over HTTP: continued where an earlier try stopped, checked before it counts.

use std::{fs, path::Path};

use reqwest::{Client, StatusCode, header};
use tokio::io::AsyncWriteExt;

use super::{Progress, PullError};
use crate::manifest::hash_file;

/// A file to fetch.
pub(super) struct Download<'a> {
    pub(super) url: &'a str,
    pub(super) token: Option<&'a str>,
    /// Where it goes; `<to>.part` until it is complete.
    pub(super) to: &'a Path,
    /// What the registry says; none = unknown.
    pub(super) sha256: Option<&'a str>,
    /// What the registry says of its length; none = unknown.
    pub(super) bytes: Option<u64>,
    pub(super) progress: &'a (dyn Fn(Progress) + Send + Sync),
}

/// A client that shows itself.
pub(super) fn client() -> Result<Client, PullError> {
    let built = Client::builder()
        .user_agent(concat!("cairn/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(std::time::Duration::from_secs(20))
        .read_timeout(std::time::Duration::from_secs(60))
        .build();
    built.map_err(|source| PullError::Http { url: "(client)".into(), source })
}

/// Fetches a file unless it is there already. A connection that breaks is taken up again a few times.
pub(super) async fn fetch(client: &Client, download: &Download<'_>) -> Result<(), PullError> {
    if download.to.exists() {
        return Ok(());
    }
    let part = download.to.with_added_extension("part");
    let mut tries = 0;
    loop {
        let before = length(&part);
        match once(client, download, &part).await {
            Ok(()) => break,
            Err(error @ PullError::Http { .. }) => {
                // Tries that got further do not count.
                tries = if length(&part) > before { 0 } else { tries + 1 };
                let refused = matches!(&error, PullError::Http { source, .. } if source.status().is_some_and(|it| it.is_client_error()));
                if tries >= 4 || refused {
                    return Err(error);
                }
                tokio::time::sleep(std::time::Duration::from_millis(500 << tries)).await;
            }
            Err(error) => return Err(error),
        }
    }
    check(download, &part).await?;
    fs::rename(&part, download.to).map_err(|error| PullError::io(download.to, error))
}

/// A file that is not what the registry says is deleted.
async fn check(download: &Download<'_>, part: &Path) -> Result<(), PullError> {
    let io = |error| PullError::io(part, error);
    let (file, found) = (file_name(download.to), length(part));
    let wrong = if let Some(expected) = download.bytes.filter(|expected| *expected != found) {
        PullError::Length { file, expected, found }
    } else if let Some(expected) = download.sha256.map(str::to_lowercase) {
        let hashed = part.to_owned();
        let found = tokio::task::spawn_blocking(move || hash_file(&hashed)).await;
        let found = found.map_err(std::io::Error::other).and_then(|hash| hash).map_err(io)?;
        if found == expected {
            return Ok(());
        }
        PullError::Checksum { file, expected, found }
    } else {
        return Ok(());
    };
    fs::remove_file(part).map_err(io)?;
    Err(wrong)
}

async fn once(client: &Client, download: &Download<'_>, part: &Path) -> Result<(), PullError> {
    let http = |source| PullError::Http { url: download.url.to_owned(), source };
    let mut done = length(part);
    let mut request = client.get(download.url);
    if let Some(token) = download.token {
        request = request.bearer_auth(token);
    }
    if done > 0 {
        request = request.header(header::RANGE, format!("bytes={done}-"));
    }
    let mut response = request.send().await.map_err(http)?;
    if response.status() == StatusCode::RANGE_NOT_SATISFIABLE && done > 0 {
        // All of it was there already; the checksum tells.
        return Ok(());
    }
    response = response.error_for_status().map_err(http)?;
    let continued = response.status() == StatusCode::PARTIAL_CONTENT && begins_at(&response, done);
    if !continued {
        done = 0;
    }
    let total = response.content_length().map(|rest| done + rest);
    let file = file_name(download.to);
    let mut options = tokio::fs::OpenOptions::new();
    options.create(true).write(true).append(continued).truncate(!continued);
    let io = |error| PullError::io(part, error);
    let mut out = options.open(part).await.map_err(io)?;
    loop {
        (download.progress)(Progress::Download { file: file.clone(), done, total });
        let chunk = match response.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(error) => {
                // What has arrived is kept for the next try.
                out.flush().await.map_err(io)?;
                return Err(http(error));
            }
        };
        out.write_all(&chunk).await.map_err(io)?;
        done += chunk.len() as u64;
    }
    out.flush().await.map_err(io)?;
    out.sync_all().await.map_err(io)
}

/// Whether a part of a file begins where it was asked to: `Content-Range: bytes 100-199/200`.
fn begins_at(response: &reqwest::Response, at: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {at}-")))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

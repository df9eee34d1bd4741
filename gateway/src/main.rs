//! `cairn`: the gateway and its command line.

use std::process::ExitCode;

use clap::Parser;

mod access;
mod adapters;
mod attribute;
mod auth;
mod cli;
mod config;
mod contributions;
mod convert;
mod erasure;
mod error;
mod evaluations;
mod http;
mod influence;
mod ingest;
mod jobs;
mod lanes;
mod ledger;
mod limits;
mod outside;
mod pipeline;
mod prompt;
mod record;
mod replica;
mod sampling;
mod state;
mod store;
mod training;

fn main() -> ExitCode {
    quiet_pipe();
    let cli = cli::Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime cannot be started: {error}");
            return ExitCode::from(2);
        }
    };
    match runtime.block_on(cli::run(cli)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Ends without a word where whoever read the output has gone, as in `cairn ledger | head`.
fn quiet_pipe() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str().is_some_and(|message| message.starts_with("failed printing to stdout: Broken pipe")) {
            std::process::exit(0);
        }
        report(panic);
    }));
}

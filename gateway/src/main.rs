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
mod http;
mod influence;
mod jobs;
mod lanes;
mod ledger;
mod outside;
mod pipeline;
mod prompt;
mod record;
mod sampling;
mod state;
mod store;
mod training;

fn main() -> ExitCode {
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

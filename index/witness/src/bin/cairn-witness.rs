//! `cairn-witness`: a witness of transparency logs, on its own.

use std::path::PathBuf;
use std::process::ExitCode;

use cairn_witness::{Config, init, run};
use tracing_subscriber::EnvFilter;

const HELP: &str = "\
A witness of transparency logs (C2SP tlog-witness).

Usage: cairn-witness init --config FILE     make key and state of a new witness
       cairn-witness run --config FILE      serve

Logs go to standard error as JSON, a line for each request.
Exit status: 0 ended as told, 2 anything else.
";

#[actix_web::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["init", "--config", file] => make(file.into()),
        ["run", "--config", file] => serve(file.into()).await,
        ["-h" | "--help"] => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cairn-witness: {error}");
            ExitCode::from(2)
        }
    }
}

fn make(file: PathBuf) -> cairn_witness::Result<()> {
    println!("{}", init(&Config::load(&file)?)?);
    Ok(())
}

async fn serve(file: PathBuf) -> cairn_witness::Result<()> {
    let config = Config::load(&file)?;
    let filter = EnvFilter::new("info,actix_server=warn");
    tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).with_writer(std::io::stderr).init();
    run(config).await
}

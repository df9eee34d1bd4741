//! `cairn-verify`: checks a proof bundle offline. Reads two files and prints what was proved; no network, no database.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use cairn_proof::anchor::{Fixed, Pins};
use cairn_proof::report::verify_file;
use cairn_proof::{Trust, WitnessKey};

const HELP: &str = "\
Check a Cairn proof bundle offline.

Usage: cairn-verify BUNDLE --key KEY [--witnesses FILE --require-witnesses K]
                    [--anchor] [--anchor-PIN VALUE]... [--json]

  BUNDLE       the proof bundle, a .json file as received
  --key KEY    file with the log's public key (cairn.pub), obtained from a source
               you trust and not together with the bundle; rotations of the key may
               follow in it, one a line
  --witnesses FILE
               keys of witnesses you trust, one a line
  --require-witnesses K
               so many of them must have cosigned the checkpoint
  --anchor     the log must be anchored on a blockchain, with this record under the
               anchored root; each of the pins below requires this too
  --anchor-block HASH
               the block's hash, as a block explorer or node that you trust shows it;
               without it the anchor is proved of the block in the file alone
  --anchor-contract ADDRESS
               the contract that the log's operator has published
  --anchor-sender ADDRESS
               the account that the log's operator has published
  --anchor-chain ID
               the blockchain, by its EIP-155 number: 1 is Ethereum's main chain
  --json       print the result as JSON
  -h, --help   print this
  --version    print the version

Exit status: 0 proved, 1 not proved, 2 the files could not be read or the
arguments are wrong.
";

const PROVED_NOTHING: u8 = 2;

struct Arguments {
    bundle: PathBuf,
    key: PathBuf,
    witnesses: Option<PathBuf>,
    required: usize,
    anchor: Option<Pins>,
    json: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if arguments.iter().any(|argument| argument == "-h" || argument == "--help") {
        print(HELP);
        return ExitCode::SUCCESS;
    }
    if arguments.iter().any(|argument| argument == "--version") {
        print(concat!("cairn-verify ", env!("CARGO_PKG_VERSION"), "\n"));
        return ExitCode::SUCCESS;
    }
    let arguments = match parse(arguments) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("cairn-verify: {problem}\n\n{HELP}");
            return ExitCode::from(PROVED_NOTHING);
        }
    };
    let json = arguments.json;
    match trust(&arguments).and_then(|trust| verify_file(&arguments.bundle, &trust)) {
        Ok(outcome) if json => {
            print(&format!("{:#}\n", outcome.to_json()));
            ExitCode::from(outcome.exit_code())
        }
        Ok(outcome) => {
            print(&outcome.to_text());
            ExitCode::from(outcome.exit_code())
        }
        Err(error) => {
            eprintln!("cairn-verify: {error}");
            ExitCode::from(PROVED_NOTHING)
        }
    }
}

/// The key file and the witness file, read.
fn trust(arguments: &Arguments) -> cairn_proof::Result<Trust> {
    let witnesses = arguments.witnesses.as_deref().map(WitnessKey::load_all).transpose()?.unwrap_or_default();
    let trust = Trust::load(&arguments.key)?.with_witnesses(witnesses, arguments.required)?;
    Ok(match arguments.anchor {
        Some(pins) => trust.with_anchor(pins),
        None => trust,
    })
}

fn parse(arguments: Vec<OsString>) -> Result<Arguments, String> {
    let (mut bundle, mut key, mut json) = (None, None, false);
    let (mut witnesses, mut required, mut anchor) = (None, 0, None::<Pins>);
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--json") => json = true,
            Some("--key") => key = Some(arguments.next().ok_or("--key needs a file")?.into()),
            Some(option) if option.starts_with("--key=") => key = Some(option["--key=".len()..].into()),
            Some("--witnesses") => witnesses = Some(arguments.next().ok_or("--witnesses needs a file")?.into()),
            Some("--require-witnesses") => {
                let number = arguments.next().and_then(|number| number.to_str()?.parse().ok());
                required = number.ok_or("--require-witnesses needs a number")?;
            }
            Some("--anchor") => drop(anchor.get_or_insert_default()),
            Some("--anchor-block") => {
                anchor.get_or_insert_default().block_hash = Some(pin("--anchor-block", arguments.next())?);
            }
            Some("--anchor-contract") => {
                anchor.get_or_insert_default().contract = Some(pin("--anchor-contract", arguments.next())?);
            }
            Some("--anchor-sender") => {
                anchor.get_or_insert_default().sender = Some(pin("--anchor-sender", arguments.next())?);
            }
            Some("--anchor-chain") => {
                let number = arguments.next().and_then(|number| number.to_str()?.parse().ok());
                anchor.get_or_insert_default().chain_id = Some(number.ok_or("--anchor-chain needs a number")?);
            }
            Some(option) if option.starts_with('-') => return Err(format!("unknown option {option}")),
            _ if bundle.is_none() => bundle = Some(argument.into()),
            _ => return Err("one bundle at a time".to_owned()),
        }
    }
    Ok(Arguments {
        bundle: bundle.ok_or("no bundle given")?,
        key: key.ok_or("no key given: a bundle proves something only against a key you trust")?,
        witnesses,
        required,
        anchor,
        json,
    })
}

/// The hash or address after an option.
fn pin<const N: usize>(option: &str, value: Option<OsString>) -> Result<Fixed<N>, String> {
    let value = value.ok_or(format!("{option} needs a value"))?;
    Fixed::from_copied(&value.to_string_lossy()).map_err(|error| format!("{option}: {error}"))
}

/// Prints without failing on a closed pipe.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

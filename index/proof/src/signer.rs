//! Who signs for a log: a key in this process ([`crate::SigningKey`]), or a program that has access to one, such as the
//! client of a KMS or an HSM.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::checkpoint::Origin;
use crate::error::{Error, Result};
use crate::key::VerifyingKey;

/// Signs with one Ed25519 key.
///
/// Contract: [`Signer::sign`] returns the Ed25519 signature (RFC 8032) of exactly the message, by the key whose public
/// half [`Signer::verifying_key`] gives, or an error; it may be called again after an error. It is called once per
/// checkpoint from the log's writer, so it may block, and everything waits while it does.
pub trait Signer: fmt::Debug + Send + Sync {
    /// The public half, named after the log.
    fn verifying_key(&self, origin: &Origin) -> VerifyingKey;

    /// The signature of `message`.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64]>;
}

/// A program that signs: it is started for each signature, reads the message from standard input and writes the
/// signature to standard output, as 64 bytes or as base64. A script around a KMS's command line is such a program.
#[derive(Clone, Debug)]
pub struct ProgramSigner {
    command: Vec<String>,
    key: VerifyingKey,
    timeout: Duration,
}

impl ProgramSigner {
    /// Signs by `command`, a program and its arguments, whose public key is `key`. A signature that is not there within
    /// `timeout` is an error.
    pub fn new(command: Vec<String>, key: VerifyingKey, timeout: Duration) -> ProgramSigner {
        ProgramSigner { command, key, timeout }
    }

    fn failed(&self, problem: impl fmt::Display) -> Error {
        let program = self.command.first().cloned().unwrap_or_default();
        Error::SigningProgram { program, problem: problem.to_string() }
    }

    /// Waits for the program and returns what it wrote, at most a few lines.
    fn output(&self, child: &mut Child) -> Result<Vec<u8>> {
        let deadline = Instant::now() + self.timeout;
        let status = loop {
            match child.try_wait().map_err(|error| self.failed(error))? {
                Some(status) => break status,
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(2)),
                None => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(self.failed(format_args!("it did not answer within {:?}", self.timeout)));
                }
            }
        };
        let mut bytes = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(LONGEST).read_to_end(&mut bytes).map_err(|error| self.failed(error))?;
        }
        if status.success() { Ok(bytes) } else { Err(self.failed(format_args!("it ended with {status}"))) }
    }
}

impl Signer for ProgramSigner {
    fn verifying_key(&self, origin: &Origin) -> VerifyingKey {
        self.key.named(origin)
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64]> {
        let (program, arguments) = self.command.split_first().ok_or_else(|| self.failed("no program is configured"))?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| self.failed(error))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that does not read fails by its status or its signature.
            let _ = stdin.write_all(message);
        }
        let output = self.output(&mut child)?;
        let bytes = match output.len() {
            64 => output,
            _ => BASE64.decode(output.trim_ascii()).map_err(|_| self.failed("it wrote no signature"))?,
        };
        let signature = bytes.try_into().map_err(|_| self.failed("it wrote no signature of 64 bytes"))?;
        // A wrong signature must never reach a checkpoint: nobody could open the log again.
        if self.key.verifies(message, &signature) { Ok(signature) } else { Err(self.failed("its signature is wrong")) }
    }
}

/// Bytes that are read of a program's answer.
const LONGEST: u64 = 1024;

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::checkpoint::{Checkpoint, SignedCheckpoint};
    use crate::hash::Hash;
    use crate::key::SigningKey;

    fn shell(script: &str, key: &VerifyingKey) -> ProgramSigner {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        ProgramSigner::new(command, key.clone(), Duration::from_secs(2))
    }

    #[test]
    fn a_program_can_sign() {
        let dir = tempfile::tempdir().unwrap();
        let (file, origin) = (dir.path().join("log.key"), Origin::new("example.com/log").unwrap());
        let key = SigningKey::generate().unwrap();
        key.save(&file).unwrap();
        let public = key.verifying_key(&origin);
        let checkpoint = Checkpoint { origin: origin.clone(), size: 3, root: Hash::of(b"x") };
        // The message goes through a file, because openssl wants to know its length.
        let openssl = format!(
            "f=$(mktemp); cat >$f; openssl pkeyutl -sign -rawin -in $f -inkey {}; s=$?; rm -f $f; exit $s",
            file.display()
        );
        let ours = SignedCheckpoint::sign(checkpoint.clone(), &key);
        if Command::new("openssl").arg("version").output().is_ok() {
            let theirs = SignedCheckpoint::sign_by(checkpoint.clone(), &shell(&openssl, &public)).unwrap();
            assert_eq!(theirs, ours, "Ed25519 is deterministic");
        }
        let body = checkpoint.body();
        let base64 = BASE64.encode(key.sign(body.as_bytes()));
        let theirs =
            SignedCheckpoint::sign_by(checkpoint, &shell(&format!("cat >&2; echo {base64}"), &public)).unwrap();
        assert_eq!(theirs, ours);
    }

    #[test]
    fn what_is_no_signature_is_refused() {
        let key = SigningKey::from_seed([1; 32]).verifying_key(&Origin::new("example.com/log").unwrap());
        for script in ["exit 3", "true", "echo hello", "head -c 64 /dev/zero", "yes", "kill -9 $$"] {
            let error = shell(script, &key).sign(b"message").unwrap_err();
            assert!(matches!(error, Error::SigningProgram { .. }), "{script}: {error}");
        }
        let slow = ProgramSigner { timeout: Duration::from_millis(50), ..shell("exec sleep 60", &key) };
        assert!(slow.sign(b"message").unwrap_err().to_string().contains("50ms"));
        let absent = ProgramSigner::new(vec!["/nonexistent/program".into()], key.clone(), Duration::from_secs(1));
        assert!(absent.sign(b"").is_err());
        assert!(ProgramSigner::new(Vec::new(), key, Duration::from_secs(1)).sign(b"").is_err());
    }
}

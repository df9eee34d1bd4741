//! Both verifiers of proof bundles, as people run them: `cairn verify` and the stand-alone `cairn-verify`.

use std::path::Path;

use serde_json::Value;

use crate::gateway::{Finished, Gateway};

/// Which program verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verifier {
    /// `cairn verify`.
    Cairn,
    /// `cairn-verify`.
    StandAlone,
}

/// What a verifier said.
#[derive(Debug)]
pub struct Verdict {
    /// Exit code: 0 proved, 1 not proved, 2 not possible.
    pub code: i32,
    /// For people.
    pub text: String,
    /// For programs.
    pub json: Value,
}

impl Verifier {
    /// Verifies a bundle's bytes with a key file.
    ///
    /// # Panics
    /// The verdict for people and the one for programs differ.
    pub fn verify(self, gateway: &Gateway, bundle: &[u8], key: &Path) -> Verdict {
        let path = gateway.scratch().join(format!("{}.cairn.json", crate::unique("bundle")));
        std::fs::write(&path, bundle).expect("a bundle can be written");
        let (path, key) = (path.to_string_lossy(), key.to_string_lossy());
        let run = |more: &[&str]| -> Finished {
            let arguments: Vec<&str> =
                [path.as_ref(), "--key", key.as_ref()].into_iter().chain(more.iter().copied()).collect();
            match self {
                Self::Cairn => gateway.cli(&[&["verify"], arguments.as_slice()].concat()),
                Self::StandAlone => gateway.cairn_verify(&arguments),
            }
        };
        let (people, programs) = (run(&[]), run(&["--json"]));
        assert_eq!(people.code(), programs.code(), "--json changes the exit code: {people}\n{programs}");
        let json = serde_json::from_str(&programs.stdout)
            .unwrap_or_else(|error| panic!("{self:?} --json prints no JSON ({error}): {programs}"));
        Verdict { code: people.code(), text: people.stdout, json }
    }
}

/// Verifies with both programs, which must agree; their verdict.
///
/// # Panics
/// They disagree.
pub fn verify_both(gateway: &Gateway, bundle: &[u8], key: &Path) -> Verdict {
    let first = Verifier::Cairn.verify(gateway, bundle, key);
    let second = Verifier::StandAlone.verify(gateway, bundle, key);
    assert_eq!(
        (first.code, &first.text, &first.json),
        (second.code, &second.text, &second.json),
        "the verifiers disagree"
    );
    second
}

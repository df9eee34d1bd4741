//! The contract CheckpointAnchor: its code, and what its calls and answers look like in bytes (Solidity ABI, which for
//! words of 32 bytes is the words one after the other).

use cairn_anchor_proof::{Address, Bytes, Word};

use crate::error::{Error, Result};

/// What a transaction tells the contract.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Call {
    /// `anchor(bytes32 origin, uint64 size, bytes32 root)`; the origin is the anchorer's.
    Anchor {
        /// Entries.
        size: u64,
        /// Root hash.
        root: Word,
    },
    /// `register(bytes32 kind, bytes32 digest)`.
    Register {
        /// Kind, hashed.
        kind: Word,
        /// Digest.
        digest: Word,
    },
}

/// The last checkpoint that an account anchored of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Entries; 0 if there is none.
    pub size: u64,
    /// Root hash; zeros if there is none.
    pub root: Word,
}

/// The code that deploys it.
pub fn bytecode() -> Bytes {
    field("bytecode")
}

/// The code that is on the chain once it is deployed.
pub fn deployed_bytecode() -> Bytes {
    field("deployedBytecode")
}

impl Call {
    /// The transaction's data.
    pub(crate) fn data(&self, origin: Word) -> Bytes {
        match self {
            Call::Anchor { size, root } => encode(ANCHOR, &[origin, padded(&size.to_be_bytes()), *root]),
            Call::Register { kind, digest } => encode(REGISTER, &[*kind, *digest]),
        }
    }
}

impl Head {
    /// The data of the call `heads(address sender, bytes32 origin)`.
    pub(crate) fn data(sender: Address, origin: Word) -> Bytes {
        encode(HEADS, &[padded(&sender.0), origin])
    }

    /// Its answer.
    pub(crate) fn read(answer: &[u8]) -> Result<Head> {
        let bad = |problem: &str| Error::BadAnswer { method: "eth_call", problem: problem.to_owned() };
        let (words, rest) = answer.as_chunks::<32>();
        let ([size, root], []) = (words, rest) else { return Err(bad("a head has two words")) };
        let size = size.split_last_chunk::<8>().filter(|(high, _)| high.iter().all(|byte| *byte == 0));
        let (_, size) = size.ok_or_else(|| bad("the size is 2^64 or larger"))?;
        Ok(Head { size: u64::from_be_bytes(*size), root: Word::from(*root) })
    }
}

fn encode(selector: [u8; 4], words: &[Word]) -> Bytes {
    let words: Vec<u8> = words.iter().flat_map(|word| word.0).collect();
    [&selector[..], &words].concat().into()
}

/// A number or an address as a word.
pub(crate) fn padded(bytes: &[u8]) -> Word {
    let mut word = [0; 32];
    word[32 - bytes.len()..].copy_from_slice(bytes);
    Word::from(word)
}

fn field(name: &str) -> Bytes {
    let artifact: serde_json::Value = serde_json::from_str(ARTIFACT).expect("the artifact is checked by a test");
    let text = artifact[name].as_str().unwrap_or_default();
    text.parse().expect("the artifact is checked by a test")
}

/// Written by `contracts/build.mjs`.
const ARTIFACT: &str = include_str!("../contracts/CheckpointAnchor.json");

/// The first four bytes of keccak256 of `anchor(bytes32,uint64,bytes32)`.
const ANCHOR: [u8; 4] = [0x70, 0xc1, 0x27, 0xc6];
/// The same of `register(bytes32,bytes32)`.
const REGISTER: [u8; 4] = [0x2f, 0x92, 0x67, 0x32];
/// The same of `heads(address,bytes32)`.
const HEADS: [u8; 4] = [0xe3, 0xb3, 0x35, 0x94];

#[cfg(test)]
mod tests {
    use cairn_anchor_proof::{anchored_topic, keccak, registered_topic};

    use super::*;

    #[test]
    fn names_are_those_of_the_compiled_contract() {
        let artifact: serde_json::Value = serde_json::from_str(ARTIFACT).unwrap();
        let methods = artifact["methodIdentifiers"].as_object().unwrap();
        assert_eq!(methods.len(), 3);
        for (name, selector) in [
            ("anchor(bytes32,uint64,bytes32)", ANCHOR),
            ("register(bytes32,bytes32)", REGISTER),
            ("heads(address,bytes32)", HEADS),
        ] {
            assert_eq!(methods[name], hex::encode(selector), "{name}");
            assert_eq!(keccak(name.as_bytes())[..4], selector);
        }
        let events = artifact["abi"].as_array().unwrap().iter().filter(|item| item["type"] == "event");
        let topics: Vec<Word> = events.map(|event| Word::from(keccak(signature(event).as_bytes()))).collect();
        assert_eq!(topics, [anchored_topic(), registered_topic()]);
        let (code, deployed) = (bytecode(), deployed_bytecode());
        assert!(deployed.as_slice().len() > 200 && code.as_slice().ends_with(deployed.as_slice()));
    }

    fn signature(event: &serde_json::Value) -> String {
        let types = event["inputs"].as_array().unwrap().iter().map(|input| input["type"].as_str().unwrap());
        format!("{}({})", event["name"].as_str().unwrap(), types.collect::<Vec<_>>().join(","))
    }
}

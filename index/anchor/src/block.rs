//! The bytes of a block's header, receipts and transactions, out of the JSON that nodes give.
//!
//! Only the bytes are made here; that they are the right ones shows in the block's hash and in the header's roots.

use serde_json::Value;

use crate::rlp;

/// RLP of a header. A fork appends fields and never moves one; a field unknown here makes the hash come out wrong.
pub(crate) fn header(block: &Value) -> Result<Vec<u8>, String> {
    let mut fields = Vec::new();
    for (name, kind) in HEADER {
        fields.push(field(block, name, kind)?);
    }
    for (name, kind) in HEADER_OF_FORKS.iter().take_while(|(name, _)| !block[*name].is_null()) {
        fields.push(field(block, name, *kind)?);
    }
    Ok(rlp::list(&fields))
}

/// A receipt as the trie holds it (EIP-2718).
pub(crate) fn receipt(receipt: &Value) -> Result<Vec<u8>, String> {
    let mut logs = Vec::new();
    for log in array(receipt, "logs")? {
        let topics = array(log, "topics")?.iter().map(|topic| bytes(topic, "topic").map(|topic| rlp::string(&topic)));
        let topics: Vec<Vec<u8>> = topics.collect::<Result<_, _>>()?;
        logs.push(rlp::list(&[
            field(log, "address", Kind::Bytes)?,
            rlp::list(&topics),
            field(log, "data", Kind::Bytes)?,
        ]));
    }
    let fields = [
        field(receipt, "status", Kind::Number)?,
        field(receipt, "cumulativeGasUsed", Kind::Number)?,
        field(receipt, "logsBloom", Kind::Bytes)?,
        rlp::list(&logs),
    ];
    Ok([type_byte(receipt)?, rlp::list(&fields)].concat())
}

/// A transaction as it was signed and as the trie holds it. Fails on types that are not Ethereum's.
pub(crate) fn transaction(sent: &Value) -> Result<Vec<u8>, String> {
    let kind = type_byte(sent)?;
    let names = match kind.first() {
        None => LEGACY,
        Some(1) => ACCESS_LIST,
        Some(2) => DYNAMIC_FEE,
        Some(3) => BLOB,
        Some(4) => SET_CODE,
        Some(other) => return Err(format!("transactions of type {other} are not known")),
    };
    let mut fields = Vec::new();
    for name in names {
        fields.push(match *name {
            "accessList" => access_list(sent)?,
            "authorizationList" => authorizations(sent)?,
            "blobVersionedHashes" => words(sent, name)?,
            "to" if sent["to"].is_null() => rlp::string(&[]),
            "to" | "input" => field(sent, name, Kind::Bytes)?,
            "yParity" => parity(sent)?,
            _ => field(sent, name, Kind::Number)?,
        });
    }
    Ok([kind, rlp::list(&fields)].concat())
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Number,
    Bytes,
}

fn field(object: &Value, name: &str, kind: Kind) -> Result<Vec<u8>, String> {
    let bytes = bytes(&object[name], name)?;
    Ok(match kind {
        Kind::Number => rlp::number(&bytes),
        Kind::Bytes => rlp::string(&bytes),
    })
}

fn bytes(value: &Value, name: &str) -> Result<Vec<u8>, String> {
    rlp::bytes(value).ok_or_else(|| format!("{name} is not in hexadecimal"))
}

fn array<'a>(object: &'a Value, name: &str) -> Result<&'a Vec<Value>, String> {
    object[name].as_array().ok_or_else(|| format!("{name} is not an array"))
}

/// The byte before typed receipts and transactions; none before those of the first type.
fn type_byte(object: &Value) -> Result<Vec<u8>, String> {
    match &object["type"] {
        Value::Null => Ok(Vec::new()),
        kind => Ok(bytes(kind, "type")?.into_iter().filter(|byte| *byte != 0).collect()),
    }
}

fn words(object: &Value, name: &str) -> Result<Vec<u8>, String> {
    let words = array(object, name)?.iter().map(|word| bytes(word, name).map(|word| rlp::string(&word)));
    Ok(rlp::list(&words.collect::<Result<Vec<_>, _>>()?))
}

fn access_list(sent: &Value) -> Result<Vec<u8>, String> {
    let entries = array(sent, "accessList")?.iter();
    let entries =
        entries.map(|entry| Ok(rlp::list(&[field(entry, "address", Kind::Bytes)?, words(entry, "storageKeys")?])));
    Ok(rlp::list(&entries.collect::<Result<Vec<_>, String>>()?))
}

fn authorizations(sent: &Value) -> Result<Vec<u8>, String> {
    let one = |given: &Value| {
        let mut fields = vec![field(given, "chainId", Kind::Number)?, field(given, "address", Kind::Bytes)?];
        fields.extend([field(given, "nonce", Kind::Number)?, parity(given)?]);
        fields.extend([field(given, "r", Kind::Number)?, field(given, "s", Kind::Number)?]);
        Ok(rlp::list(&fields))
    };
    let all = array(sent, "authorizationList")?.iter().map(one);
    Ok(rlp::list(&all.collect::<Result<Vec<_>, String>>()?))
}

/// Which of two points a signature is by. Older nodes call it `v`.
fn parity(signed: &Value) -> Result<Vec<u8>, String> {
    let name = if signed["yParity"].is_null() { "v" } else { "yParity" };
    field(signed, name, Kind::Number)
}

/// The fields that every header has, in order.
const HEADER: [(&str, Kind); 15] = [
    ("parentHash", Kind::Bytes),
    ("sha3Uncles", Kind::Bytes),
    ("miner", Kind::Bytes),
    ("stateRoot", Kind::Bytes),
    ("transactionsRoot", Kind::Bytes),
    ("receiptsRoot", Kind::Bytes),
    ("logsBloom", Kind::Bytes),
    ("difficulty", Kind::Number),
    ("number", Kind::Number),
    ("gasLimit", Kind::Number),
    ("gasUsed", Kind::Number),
    ("timestamp", Kind::Number),
    ("extraData", Kind::Bytes),
    ("mixHash", Kind::Bytes),
    ("nonce", Kind::Bytes),
];

/// What forks appended, in their order: London, Shanghai, Cancun, Prague.
const HEADER_OF_FORKS: [(&str, Kind); 6] = [
    ("baseFeePerGas", Kind::Number),
    ("withdrawalsRoot", Kind::Bytes),
    ("blobGasUsed", Kind::Number),
    ("excessBlobGas", Kind::Number),
    ("parentBeaconBlockRoot", Kind::Bytes),
    ("requestsHash", Kind::Bytes),
];

const LEGACY: &[&str] = &["nonce", "gasPrice", "gas", "to", "value", "input", "v", "r", "s"];
/// EIP-2930.
const ACCESS_LIST: &[&str] =
    &["chainId", "nonce", "gasPrice", "gas", "to", "value", "input", "accessList", "yParity", "r", "s"];
/// EIP-1559.
const DYNAMIC_FEE: &[&str] = &[
    "chainId",
    "nonce",
    "maxPriorityFeePerGas",
    "maxFeePerGas",
    "gas",
    "to",
    "value",
    "input",
    "accessList",
    "yParity",
    "r",
    "s",
];
/// EIP-4844.
const BLOB: &[&str] = &[
    "chainId",
    "nonce",
    "maxPriorityFeePerGas",
    "maxFeePerGas",
    "gas",
    "to",
    "value",
    "input",
    "accessList",
    "maxFeePerBlobGas",
    "blobVersionedHashes",
    "yParity",
    "r",
    "s",
];
/// EIP-7702.
const SET_CODE: &[&str] = &[
    "chainId",
    "nonce",
    "maxPriorityFeePerGas",
    "maxFeePerGas",
    "gas",
    "to",
    "value",
    "input",
    "accessList",
    "authorizationList",
    "yParity",
    "r",
    "s",
];

#[cfg(test)]
mod tests {
    use cairn_anchor_proof::{Word, keccak};
    use serde_json::json;

    use super::*;

    #[test]
    fn real_transactions_have_their_hashes() {
        // As nodes of several chains gave them; of type 1 there is one in the tests against anvil.
        let real: Vec<Value> = serde_json::from_str(include_str!("../tests/golden/transactions.json")).unwrap();
        let mut kinds = Vec::new();
        for sent in &real {
            let raw = transaction(sent).unwrap();
            assert_eq!(Word::from(keccak(&raw)).to_string(), sent["hash"].as_str().unwrap());
            kinds.push(sent["type"].as_str().unwrap());
            let mut changed = sent.clone();
            changed["nonce"] = json!("0x7");
            assert_ne!(transaction(&changed).unwrap(), raw);
        }
        kinds.sort_unstable();
        assert_eq!(kinds, ["0x0", "0x0", "0x2", "0x2", "0x3", "0x4"]);
    }

    #[test]
    fn what_is_not_known_is_said() {
        let problem = |sent| transaction(&sent).unwrap_err();
        assert!(problem(json!({"type": "0x7e"})).contains("type 126"));
        assert!(problem(json!({"type": "0x0", "nonce": 5})).contains("nonce"));
        assert!(header(&json!({})).unwrap_err().contains("parentHash"));
        assert!(receipt(&json!({"status": "0x1"})).unwrap_err().contains("logs"));
    }
}

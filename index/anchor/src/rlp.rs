//! Writing RLP (Ethereum yellow paper, appendix B), and reading the JSON of nodes into what it takes: a number is its
//! bytes from the first that is not zero on, everything else its bytes as they are.

use alloy_rlp::Header;
use serde_json::Value;

/// A string of bytes.
pub(crate) fn string(bytes: &[u8]) -> Vec<u8> {
    alloy_rlp::encode(bytes)
}

/// A number, of which leading zeros are no part.
pub(crate) fn number(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    string(&bytes[zeros..])
}

/// A list of items that are encoded already.
pub(crate) fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let payload = items.concat();
    let mut bytes = Vec::with_capacity(payload.len() + 9);
    Header { list: true, payload_length: payload.len() }.encode(&mut bytes);
    bytes.extend_from_slice(&payload);
    bytes
}

/// The bytes in a JSON string; `None` if it is none of the form `0x…`. An odd number of digits is that of a number.
pub(crate) fn bytes(value: &Value) -> Option<Vec<u8>> {
    let digits = value.as_str()?.strip_prefix("0x")?;
    hex::decode(if digits.len() % 2 == 0 { digits.to_owned() } else { format!("0{digits}") }).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_lose_their_zeros_and_bytes_keep_them() {
        assert_eq!(number(&[0, 0, 1, 0]), [0x82, 1, 0]);
        assert_eq!((number(&[0]), number(&[]), number(&[5])), (vec![0x80], vec![0x80], vec![5]));
        assert_eq!(string(&[0]), [0]);
        assert_eq!(list(&[string(b"cat"), string(b"dog")]), b"\xc8\x83cat\x83dog");
        assert_eq!(list(&[vec![0x80; 60]])[..2], [0xf8, 60]);
        assert_eq!((bytes(&json!("0x102")), bytes(&json!("0x0F"))), (Some(vec![1, 2]), Some(vec![15])));
        assert_eq!((bytes(&json!("12")), bytes(&json!(12)), bytes(&json!("0xg0"))), (None, None, None));
    }
}

//! A transaction, as it is signed and sent (EIP-1559).
//!
//! ```text
//! fields   = chain id, nonce, tip, max fee, gas limit, to, value (0), data, access list (none)
//! unsigned = 0x02 || RLP[fields]                       its keccak256 is signed
//! signed   = 0x02 || RLP[fields, y parity, r, s]       its keccak256 names the transaction
//! ```

use cairn_anchor_proof::{Address, Bytes};

use crate::fees::Fees;
use crate::rlp;

/// What anchoring sends: no value, no access list.
#[derive(Clone, Debug)]
pub(crate) struct Transaction {
    pub(crate) chain_id: u64,
    pub(crate) nonce: u64,
    pub(crate) fees: Fees,
    pub(crate) gas_limit: u64,
    /// Whom it calls; `None` deploys `data`.
    pub(crate) to: Option<Address>,
    pub(crate) data: Bytes,
}

impl Transaction {
    /// What is signed, before it is hashed.
    pub(crate) fn unsigned(&self) -> Vec<u8> {
        typed(&self.fields())
    }

    /// What is sent.
    pub(crate) fn signed(&self, y_odd: bool, r: &[u8], s: &[u8]) -> Vec<u8> {
        let mut fields = self.fields();
        fields.extend([rlp::number(&[u8::from(y_odd)]), rlp::number(r), rlp::number(s)]);
        typed(&fields)
    }

    fn fields(&self) -> Vec<Vec<u8>> {
        let numbers = [self.chain_id, self.nonce, self.fees.tip, self.fees.max_fee, self.gas_limit];
        let mut fields: Vec<Vec<u8>> = numbers.iter().map(|number| rlp::number(&number.to_be_bytes())).collect();
        fields.push(rlp::string(self.to.as_ref().map_or(&[][..], |to| &to.0)));
        fields.extend([rlp::number(&[]), rlp::string(self.data.as_slice()), rlp::list(&[])]);
        fields
    }
}

fn typed(fields: &[Vec<u8>]) -> Vec<u8> {
    [vec![TYPE], rlp::list(fields)].concat()
}

const TYPE: u8 = 2;

#[cfg(test)]
mod tests {
    use cairn_anchor_proof::{Anchor, Word, keccak, origin_hash};
    use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};

    use super::*;
    use crate::contract::Call;
    use crate::key::{AccountKey, address};

    #[test]
    fn it_is_what_a_chain_took() {
        let anchor: Anchor = serde_json::from_str(include_str!("../proof/tests/golden/anchor.json")).unwrap();
        let proved = anchor.event.transaction.unwrap();
        // The one node of the trie: two bytes of a list, three of a path, two of a string, then the transaction.
        let raw = &proved.proof[0].as_slice()[7..];
        let transaction = Transaction {
            chain_id: 31337,
            nonce: 3,
            fees: Fees { max_fee: 0x9725_c880, tip: 1_000_000_000 },
            gas_limit: 0xacb8,
            to: Some(anchor.event.contract),
            data: Call::Anchor { size: 300, root: anchor.root }.data(origin_hash("example.com/log")),
        };
        let (r, s) = (&raw[raw.len() - 65..raw.len() - 33], &raw[raw.len() - 32..]);
        assert_eq!(transaction.signed(true, r, s), raw);
        assert_eq!(Word::from(keccak(raw)), proved.hash);
        let signature = Signature::from_slice(&[r, s].concat()).unwrap();
        let parity = RecoveryId::new(true, false);
        let signer = VerifyingKey::recover_from_prehash(&keccak(&transaction.unsigned()), &signature, parity).unwrap();
        assert_eq!(address(&signer), anchor.event.sender);

        let key = AccountKey::generate().unwrap();
        let (hash, raw) = key.sign(&transaction);
        assert_eq!((raw[0], Word::from(keccak(&raw))), (2, hash));
        assert!(raw.windows(20).any(|bytes| bytes == anchor.event.contract.0));
    }
}

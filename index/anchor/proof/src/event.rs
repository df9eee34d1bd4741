//! The contract's events in a receipt.
//!
//! ```text
//! receipt    = [type] RLP[status, cumulative gas, bloom, [log, …], …]     the type is a byte below 0x80 (EIP-2718)
//! log        = RLP[address, [topic, …], data]
//! Anchored   : topics keccak256(signature), sender, origin; data size, root, chain id, each in 32 bytes
//! Registered : topics keccak256(signature), sender, kind;   data digest, chain id
//! ```

use crate::error::{Error, Result};
use crate::{Address, Word, keccak, rlp};

/// An event as the receipt holds it.
#[derive(Clone, Debug)]
pub(crate) struct Log<'a> {
    pub(crate) address: Address,
    topics: Vec<Word>,
    data: &'a [u8],
}

/// `Anchored`, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Anchored {
    pub(crate) sender: Address,
    pub(crate) origin: Word,
    pub(crate) size: u64,
    pub(crate) root: Word,
    pub(crate) chain_id: u64,
}

/// `Registered`, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Registered {
    pub(crate) sender: Address,
    pub(crate) kind: Word,
    pub(crate) digest: Word,
    pub(crate) chain_id: u64,
}

/// The first topic of an `Anchored` event.
pub fn anchored_topic() -> Word {
    Word::from(keccak(b"Anchored(address,bytes32,uint64,bytes32,uint256)"))
}

/// The first topic of a `Registered` event.
pub fn registered_topic() -> Word {
    Word::from(keccak(b"Registered(address,bytes32,bytes32,uint256)"))
}

impl<'a> Log<'a> {
    /// The event at a place of a receipt, of a transaction that succeeded.
    pub(crate) fn of_receipt(receipt: &'a [u8], index: u64) -> Result<Log<'a>> {
        let what = "receipt";
        let malformed = |problem| Error::Malformed { what, problem };
        let payload = match receipt.first() {
            Some(0..0x80) => &receipt[1..],
            _ => receipt,
        };
        let fields = rlp::list(payload, what)?;
        let [status, _gas, _bloom, logs, ..] = fields.as_slice() else {
            return Err(malformed("it has fewer than 4 fields"));
        };
        match status.bytes(what)? {
            [1] => (),
            [] => return Err(Error::Reverted),
            _ => return Err(malformed("it has no status, as receipts before 2017")),
        }
        let logs = logs.list(what)?;
        let place = usize::try_from(index).ok();
        let log = place.and_then(|place| logs.get(place)).ok_or(Error::NoEvent { index, count: logs.len() })?;
        let [address, topics, data] = log.list(what)?[..] else {
            return Err(malformed("an event has other than 3 fields"));
        };
        let topics = topics.list(what)?.into_iter().map(|topic| topic.array(what).map(Word::from));
        Ok(Log {
            address: Address::from(address.array(what)?),
            topics: topics.collect::<Result<_>>()?,
            data: data.bytes(what)?,
        })
    }

    /// Sender, second indexed value and data words of the event with this first topic.
    fn fields<const N: usize>(&self, topic: Word) -> Result<(Address, Word, [Word; N])> {
        let [kind, sender, indexed] = self.topics[..] else {
            return Err(Error::Malformed { what: "event", problem: "it has other than 3 topics" });
        };
        crate::equal("kind", &topic, &kind)?;
        let (words, rest) = self.data.as_chunks::<32>();
        let words: Option<&[[u8; 32]; N]> = words.try_into().ok().filter(|_| rest.is_empty());
        let words = words.ok_or(Error::Malformed { what: "event", problem: "its data has another length" })?;
        let padded = sender.0.split_last_chunk::<20>().filter(|(padding, _)| *padding == [0; 12]);
        let (_, sender) = padded.ok_or(Error::Malformed { what: "event", problem: "its sender is no address" })?;
        Ok((Address::from(*sender), indexed, words.map(Word::from)))
    }
}

impl Anchored {
    pub(crate) fn read(log: &Log<'_>) -> Result<Anchored> {
        let (sender, origin, [size, root, chain_id]) = log.fields(anchored_topic())?;
        Ok(Anchored { sender, origin, size: integer(size)?, root, chain_id: integer(chain_id)? })
    }
}

impl Registered {
    pub(crate) fn read(log: &Log<'_>) -> Result<Registered> {
        let (sender, kind, [digest, chain_id]) = log.fields(registered_topic())?;
        Ok(Registered { sender, kind, digest, chain_id: integer(chain_id)? })
    }
}

/// A number in a word.
fn integer(word: Word) -> Result<u64> {
    match word.0.split_last_chunk::<8>() {
        Some((high, low)) if high.iter().all(|byte| *byte == 0) => Ok(u64::from_be_bytes(*low)),
        _ => Err(Error::Malformed { what: "event", problem: "a number is 2^64 or larger" }),
    }
}

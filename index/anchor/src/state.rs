//! What an anchorer must not forget over a restart: transactions on their way, the last anchor, and what was spent.
//!
//! A transaction is written here before it is sent, so that after a crash it is followed rather than sent a second time
//! under another number.

use cairn_anchor_proof::{Address, Word};
use serde::{Deserialize, Serialize};

use crate::flight::Flight;
use crate::status::Anchored;

/// The file `state.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    pub(crate) identity: Identity,
    pub(crate) flights: Vec<Flight>,
    pub(crate) anchored: Option<Anchored>,
    /// When a checkpoint was sent last, in seconds since 1970.
    pub(crate) last_sent: u64,
    pub(crate) spent: Spent,
}

/// Whose anchors these are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    pub(crate) chain_id: u64,
    pub(crate) contract: Address,
    pub(crate) sender: Address,
    pub(crate) log: String,
}

/// What was spent in a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Spent {
    /// Days since 1970.
    day: u64,
    gwei: u64,
}

impl State {
    pub(crate) fn new(identity: Identity) -> State {
        State { identity, flights: Vec::new(), anchored: None, last_sent: 0, spent: Spent::default() }
    }

    /// Promised to transactions on their way, in gwei.
    pub(crate) fn promised_gwei(&self) -> u64 {
        self.flights.iter().map(Flight::most_gwei).fold(0, u64::saturating_add)
    }

    /// The flight of a transaction.
    pub(crate) fn by_nonce(&mut self, nonce: u64) -> Option<&mut Flight> {
        self.flights.iter_mut().find(|flight| flight.nonce == nonce)
    }

    pub(crate) fn remove(&mut self, nonce: u64) {
        self.flights.retain(|flight| flight.nonce != nonce);
    }
}

impl Identity {
    /// The first thing that differs: its name, and both values.
    pub(crate) fn difference(&self, found: &Identity) -> Option<(&'static str, String, String)> {
        let pairs = [
            ("chain", self.chain_id.to_string(), found.chain_id.to_string()),
            ("contract", self.contract.to_string(), found.contract.to_string()),
            ("account", self.sender.to_string(), found.sender.to_string()),
            ("log", self.log.clone(), found.log.clone()),
        ];
        pairs.into_iter().find(|(_, expected, found)| expected != found)
    }
}

impl Spent {
    /// Spent on the day of `now`, in seconds since 1970.
    pub(crate) fn on(&self, now: u64) -> u64 {
        if self.day == now / DAY { self.gwei } else { 0 }
    }

    pub(crate) fn add(&mut self, now: u64, gwei: u64) {
        *self = Spent { day: now / DAY, gwei: self.on(now).saturating_add(gwei) };
    }
}

/// The topic or argument that stands for a log's name.
pub(crate) fn origin_hash(log: &str) -> Word {
    cairn_anchor_proof::origin_hash(log)
}

const DAY: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends() {
        let mut spent = Spent::default();
        spent.add(10 * DAY, 5);
        spent.add(10 * DAY + 1, 7);
        assert_eq!((spent.on(11 * DAY - 1), spent.on(11 * DAY)), (12, 0));
        spent.add(11 * DAY, 1);
        assert_eq!(spent.on(11 * DAY), 1);
    }
}

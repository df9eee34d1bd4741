//! Deciding what to send next, and sending it.

use std::time::Duration;

use cairn_anchor_proof::Word;

use super::{Task, now};
use crate::contract::{Call, Head};
use crate::error::{Error, Result};
use crate::fees::Fees;
use crate::flight::Flight;
use crate::rpc::{Block, Message};

impl Task {
    /// Time until a checkpoint is to be sent; `None` if there is none to send.
    pub(super) fn due_in(&self, now: u64) -> Option<Duration> {
        let newest = (*self.offered.borrow())?;
        let done = self.state.anchored.is_some_and(|last| last.size >= newest.size);
        if done || self.seen.alarm.is_some() || self.checkpoint_in_flight() {
            return None;
        }
        let due = self.state.last_sent.saturating_add(self.config.interval_s);
        // A clock that was set back must not stop anchors.
        let wait = if self.state.last_sent > now { 0 } else { due.saturating_sub(now) };
        Some(Duration::from_secs(wait))
    }

    /// Sends the newest checkpoint if one is due, and registrations that wait.
    pub(super) async fn plan(&mut self, block: &Block) -> Result<()> {
        if self.due_in(now()) == Some(Duration::ZERO) {
            self.recheck_last(block).await?;
            let newest = *self.offered.borrow();
            if let Some(newest) = newest
                && self.agrees(newest.size, newest.root).await?
            {
                self.launch(Call::Anchor { size: newest.size, root: newest.root }, block).await?;
            }
        }
        for (kind, digest) in self.store.waiting() {
            let call = Call::Register { kind, digest };
            if self.state.flights.len() >= MOST_IN_FLIGHT {
                break;
            }
            if !self.state.flights.iter().any(|flight| flight.call == call) {
                self.launch(call, block).await?;
            }
        }
        Ok(())
    }

    fn checkpoint_in_flight(&self) -> bool {
        self.state.flights.iter().any(|flight| matches!(flight.call, Call::Anchor { .. }))
    }

    /// The last anchor's block is still in the chain. If not, the reorganisation went deeper than
    /// `confirmations`: the anchor is forgotten, and what is newest is anchored.
    async fn recheck_last(&mut self, block: &Block) -> Result<()> {
        let Some(last) = self.state.anchored else { return Ok(()) };
        let present = self.rpc.block_at(last.block_number).await?;
        if present.as_ref().is_some_and(|present| present.hash == last.block_hash) {
            return Ok(());
        }
        if present.is_none() && block.number() >= last.block_number {
            return Err(Error::BadAnswer { method: "eth_getBlockByNumber", problem: "a block is missing".to_owned() });
        }
        tracing::warn!(size = last.size, block = last.block_number, "an anchor's block left the chain for good");
        self.seen.counts.reorganised += 1;
        self.store.drop_anchor(last.size)?;
        self.state.anchored = None;
        self.save()
    }

    /// Whether the checkpoint goes on from what the chain holds; false if the chain holds this very one.
    async fn agrees(&mut self, size: u64, root: Word) -> Result<bool> {
        let sender = self.line.key.address();
        let data = Head::data(sender, self.line.origin);
        let answer = self.rpc.view(&Message { from: sender, to: Some(self.line.contract), data }).await?;
        let head = Head::read(answer.as_slice())?;
        let witness = || format!("contract {} on chain {}", self.line.contract, self.line.chain_id);
        if head.size > size {
            let error = cairn_proof::Error::BehindWitness { size, witness: witness(), seen: head.size };
            return Err(Error::Contradicted(error.into()));
        }
        if head.root == Word::from([0; 32]) || head.size < size {
            return Ok(true);
        }
        if head.root != root {
            let error = cairn_proof::Error::ForkedFromWitness { size, witness: witness() };
            return Err(Error::Contradicted(error.into()));
        }
        // On the chain, but the state that knew of it is lost. To have a proof, say it again: the contract lets us.
        Ok(self.state.anchored.is_none_or(|last| last.size < size))
    }

    /// Signs a transaction under the next number, writes it down, and sends it.
    async fn launch(&mut self, call: Call, block: &Block) -> Result<()> {
        let sender = self.line.key.address();
        let data = call.data(self.line.origin);
        let gas = self.rpc.estimate(&Message { from: sender, to: Some(self.line.contract), data }).await?;
        // What it takes changes with what comes before it.
        let (gas_limit, max_gas) = (gas + gas / 4, self.config.max_gas);
        if gas_limit > max_gas {
            return Err(Error::TooMuchGas { gas: gas_limit, max_gas });
        }
        let fees = self.fees(block).await?;
        self.within_budget(fees.most_gwei(gas_limit))?;
        let count = self.rpc.transaction_count(sender, None).await?;
        let after_own = self.state.flights.iter().map(|flight| flight.nonce + 1).max().unwrap_or(0);
        let mut flight = Flight::new(count.max(after_own), call, gas_limit);
        flight.attempt(&self.line, fees, now());
        let nonce = flight.nonce;
        if let Call::Anchor { .. } = flight.call {
            self.state.last_sent = now();
        }
        self.state.flights.push(flight);
        self.save()?;
        self.deliver(nonce).await
    }

    /// What to offer now.
    pub(super) async fn fees(&self, block: &Block) -> Result<Fees> {
        Fees::suggest(block.base_fee()?, self.rpc.tip().await?, self.config.max_fee())
    }

    /// Whether so much may still be promised today.
    pub(super) fn within_budget(&self, needed_gwei: u64) -> Result<()> {
        let committed_gwei = self.state.spent.on(now()).saturating_add(self.state.promised_gwei());
        let budget_gwei = self.config.budget_gwei;
        match committed_gwei.saturating_add(needed_gwei) <= budget_gwei {
            true => Ok(()),
            false => Err(Error::OverBudget { committed_gwei, needed_gwei, budget_gwei }),
        }
    }

    /// Gives the node the last attempt of a flight.
    pub(super) async fn deliver(&mut self, nonce: u64) -> Result<()> {
        let Some(flight) = self.state.by_nonce(nonce) else { return Ok(()) };
        let Some(attempt) = flight.last().cloned() else { return Ok(()) };
        match self.rpc.send(attempt.raw.as_slice()).await {
            Ok(_) => {
                tracing::info!(nonce, transaction = %attempt.hash, "a transaction is sent");
            }
            // Nodes word these differently, but all say that they have it, or that the number is taken, which the next
            // look at the receipts will explain.
            Err(Error::Node { message, .. })
                if holds(&message, &["already known", "already imported", "nonce too low"]) =>
            {
                tracing::debug!(nonce, message, "the node has the transaction");
            }
            // Another transaction of this number, from before the state was lost: outbid it.
            Err(Error::Node { message, .. }) if holds(&message, &["underpriced"]) => {
                tracing::warn!(nonce, message, "the node has another transaction of this number");
                return self.outbid(nonce).await;
            }
            Err(error) => return Err(error),
        }
        if let Some(flight) = self.state.by_nonce(nonce) {
            flight.delivered = true;
        }
        Ok(())
    }

    /// Signs an attempt with higher fees; the next look sends it.
    async fn outbid(&mut self, nonce: u64) -> Result<()> {
        let block = self.rpc.latest().await?;
        self.replace(nonce, &block).await
    }
}

fn holds(message: &str, phrases: &[&str]) -> bool {
    let message = message.to_lowercase();
    phrases.iter().any(|phrase| message.contains(phrase))
}

/// Transactions that may be under way at once: nodes drop an account's transactions beyond a few dozen.
const MOST_IN_FLIGHT: usize = 16;

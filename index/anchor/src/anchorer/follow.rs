//! Following transactions until they are deep enough in the chain, through replacements and reorganisations.

use super::{Task, now};
use crate::contract::Call;
use crate::error::{Error, Result};
use crate::evidence::{self, Evidence};
use crate::fees;
use crate::flight::{Flight, Mined};
use crate::rpc::{Block, Receipt};
use crate::status::Anchored;

impl Task {
    /// Looks after every transaction on its way.
    pub(super) async fn follow(&mut self, block: &Block) -> Result<()> {
        let nonces: Vec<u64> = self.state.flights.iter().map(|flight| flight.nonce).collect();
        for nonce in nonces {
            let Some(flight) = self.state.by_nonce(nonce).cloned() else { continue };
            match self.canonical_receipt(&flight).await? {
                Some(receipt) => self.in_block(&flight, &receipt, block).await?,
                None => self.in_no_block(&flight, block).await?,
            }
        }
        Ok(())
    }

    /// The receipt of the attempt that is in the canonical chain, if one is.
    async fn canonical_receipt(&self, flight: &Flight) -> Result<Option<Receipt>> {
        for attempt in flight.attempts.iter().rev() {
            let Some(receipt) = self.rpc.receipt(attempt.hash).await? else { continue };
            let at = self.rpc.block_at(receipt.block_number()).await?;
            if at.is_some_and(|block| block.hash == receipt.block_hash) {
                return Ok(Some(receipt));
            }
        }
        Ok(None)
    }

    async fn in_block(&mut self, flight: &Flight, receipt: &Receipt, newest: &Block) -> Result<()> {
        let mined = Mined {
            transaction: receipt.transaction_hash,
            block_hash: receipt.block_hash,
            block_number: receipt.block_number(),
        };
        if flight.mined != Some(mined) {
            if flight.mined.is_some() {
                self.reorganised(flight);
            }
            tracing::info!(nonce = flight.nonce, transaction = %mined.transaction, block = mined.block_number, "in a block");
            if let Some(flight) = self.state.by_nonce(flight.nonce) {
                flight.mined = Some(mined);
            }
            self.save()?;
        }
        let depth = (newest.number() + 1).saturating_sub(mined.block_number);
        if depth < self.config.confirmations {
            return Ok(());
        }
        self.settle(flight, mined, receipt).await
    }

    /// It is deep enough: keeps the proof and forgets the flight.
    async fn settle(&mut self, flight: &Flight, mined: Mined, receipt: &Receipt) -> Result<()> {
        let evidence = match receipt.succeeded() {
            true => match evidence::prove(&self.rpc, &self.line, &self.log, &flight.call, receipt).await {
                Ok(evidence) => Ok(Some(evidence)),
                // It stands on the chain all the same; asking again would not help.
                Err(error @ Error::Unprovable { .. }) => {
                    tracing::error!(%error, "an anchor has no proof");
                    Ok(None)
                }
                Err(error) => return Err(error),
            },
            false => Err(Error::Reverted(mined.transaction)),
        };
        self.state.spent.add(now(), fees::gwei(receipt.cost()));
        self.state.remove(flight.nonce);
        let outcome = evidence.and_then(|evidence| self.keep(&flight.call, mined, evidence.as_ref()));
        match receipt.succeeded() {
            true => self.seen.counts.confirmed += 1,
            false => self.seen.counts.reverted += 1,
        }
        self.save()?;
        let (block, gas) = (mined.block_number, receipt.gas_used());
        tracing::info!(nonce = flight.nonce, transaction = %mined.transaction, block, gas, "a transaction is final");
        outcome
    }

    fn keep(&mut self, call: &Call, mined: Mined, evidence: Option<&Evidence>) -> Result<()> {
        match (call, evidence) {
            (Call::Anchor { size, root }, evidence) => {
                if let Some(Evidence::Anchor(anchor)) = evidence {
                    self.store.keep_anchor(anchor)?;
                }
                self.state.anchored = Some(Anchored {
                    size: *size,
                    root: *root,
                    transaction: mined.transaction,
                    block_hash: mined.block_hash,
                    block_number: mined.block_number,
                    at: Some(now()),
                });
            }
            (Call::Register { kind, digest }, Some(Evidence::Registration(proof))) => {
                self.store.registered(*kind, *digest, Some(proof))?;
            }
            (Call::Register { kind, digest }, _) => self.store.registered(*kind, *digest, None)?,
        }
        Ok(())
    }

    /// It waits in the node's pool, or was never there, or fell out of it, or of the chain.
    async fn in_no_block(&mut self, flight: &Flight, newest: &Block) -> Result<()> {
        if flight.mined.is_some() {
            self.reorganised(flight);
            self.save()?;
        }
        if self.number_is_gone(flight, newest).await? {
            tracing::warn!(nonce = flight.nonce, "the transaction cannot get into the chain any more; it is made anew");
            self.state.remove(flight.nonce);
            // A checkpoint is due again at once.
            self.state.last_sent = 0;
            return self.save();
        }
        let delivered = self.state.by_nonce(flight.nonce).is_some_and(|flight| flight.delivered);
        let age = flight.last().map_or(u64::MAX, |attempt| now().saturating_sub(attempt.at));
        if delivered && age >= self.config.stuck_s {
            self.replace(flight.nonce, newest).await?;
        }
        self.deliver(flight.nonce).await
    }

    /// Whether the account's order of transactions has moved past the flight without it, by a transaction of somebody else
    /// with the same key; or ends before it, after a reorganisation that undid what was final.
    async fn number_is_gone(&self, flight: &Flight, newest: &Block) -> Result<bool> {
        let sender = self.line.key.address();
        // Of what is not final yet the receipts must decide.
        let (number, confirmations) = (newest.number(), self.config.confirmations);
        if number >= confirmations
            && self.rpc.transaction_count(sender, Some(number - confirmations)).await? > flight.nonce
        {
            return Ok(true);
        }
        let first = self.state.flights.iter().map(|flight| flight.nonce).min() == Some(flight.nonce);
        Ok(first && self.rpc.transaction_count(sender, None).await? < flight.nonce)
    }

    /// Signs the transaction again with higher fees, if cap and budget leave room.
    pub(super) async fn replace(&mut self, nonce: u64, block: &Block) -> Result<()> {
        let Some(flight) = self.state.by_nonce(nonce).cloned() else { return Ok(()) };
        let Some(last) = flight.last() else { return Ok(()) };
        let Some(raised) = last.fees.raised(self.fees(block).await?, self.config.max_fee()) else {
            tracing::warn!(nonce, "a transaction is stuck, and anchor.max_fee_gwei leaves no room for a higher fee");
            return Ok(());
        };
        let more = raised.most_gwei(flight.gas_limit).saturating_sub(flight.most_gwei());
        self.within_budget(more)?;
        let line = self.line.clone();
        if let Some(flight) = self.state.by_nonce(nonce) {
            flight.attempt(&line, raised, now());
        }
        self.seen.counts.replaced += 1;
        tracing::info!(nonce, max_fee = raised.max_fee, tip = raised.tip, "a stuck transaction is replaced");
        self.save()
    }

    /// The block that the transaction was in left the chain: it has to be sent again.
    fn reorganised(&mut self, flight: &Flight) {
        let block = flight.mined.map(|mined| mined.block_number);
        tracing::warn!(nonce = flight.nonce, block, "the block of a transaction left the chain");
        self.seen.counts.reorganised += 1;
        if let Some(flight) = self.state.by_nonce(flight.nonce) {
            flight.mined = None;
            flight.delivered = false;
        }
    }
}

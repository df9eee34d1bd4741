//! Deploying the contract, once for each chain.

use std::time::{Duration, Instant};

use cairn_anchor_proof::Address;

use crate::config::Config;
use crate::contract;
use crate::error::{Error, Result};
use crate::fees::Fees;
use crate::key::AccountKey;
use crate::rpc::{Message, Rpc};
use crate::transaction::Transaction;

/// Deploys CheckpointAnchor and waits up to `patience` for its block; returns its address. The configuration's
/// `contract` is not looked at. The contract has no owner: whoever deploys it gets no rights in it.
pub async fn deploy(config: &Config, patience: Duration) -> Result<Address> {
    let key = AccountKey::load(&config.key_file)?;
    let rpc = Rpc::new(config)?;
    let found = rpc.chain_id().await?;
    if found != config.chain_id {
        return Err(Error::OtherChain { expected: config.chain_id, found });
    }
    let message = Message { from: key.address(), to: None, data: contract::bytecode() };
    let gas = rpc.estimate(&message).await?;
    let base = rpc.latest().await?.base_fee()?;
    let fees = Fees::suggest(base, rpc.tip().await?, config.max_fee())?;
    let transaction = Transaction {
        chain_id: config.chain_id,
        nonce: rpc.transaction_count(key.address(), None).await?,
        fees,
        gas_limit: gas + gas / 4,
        to: None,
        data: message.data,
    };
    let (hash, raw) = key.sign(&transaction);
    rpc.send(&raw).await?;
    let deadline = Instant::now() + patience;
    loop {
        match rpc.receipt(hash).await? {
            Some(receipt) => {
                let address = receipt.contract_address.filter(|_| receipt.succeeded()).ok_or(Error::Reverted(hash))?;
                tracing::info!(%address, transaction = %hash, gas = receipt.gas_used(), "CheckpointAnchor is deployed");
                return Ok(address);
            }
            None if Instant::now() < deadline => tokio::time::sleep(config.poll()).await,
            None => return Err(Error::NotMined { transaction: hash, seconds: patience.as_secs() }),
        }
    }
}

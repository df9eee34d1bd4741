//! The node, by Ethereum's JSON-RPC over HTTP. Only what anchoring asks for.

use std::sync::atomic::{AtomicU64, Ordering};

use cairn_anchor_proof::{Address, Bytes, Word};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::config::Config;
use crate::error::{Error, Result};

/// A client of one node.
#[derive(Debug)]
pub(crate) struct Rpc {
    http: reqwest::Client,
    url: String,
    next_id: AtomicU64,
}

/// A number as nodes write it, `0x` and hexadecimal digits; what is beyond 2^128 counts as the largest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Quantity(u128);

/// A block, as far as following transactions needs it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Block {
    pub(crate) hash: Word,
    number: Quantity,
    base_fee_per_gas: Option<Quantity>,
}

/// A receipt, as far as following transactions needs it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Receipt {
    pub(crate) transaction_hash: Word,
    pub(crate) block_hash: Word,
    pub(crate) contract_address: Option<Address>,
    block_number: Quantity,
    transaction_index: Quantity,
    status: Quantity,
    gas_used: Quantity,
    #[serde(default)]
    effective_gas_price: Quantity,
}

/// A call of the contract, or its deployment.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) from: Address,
    pub(crate) to: Option<Address>,
    pub(crate) data: Bytes,
}

impl Rpc {
    pub(crate) fn new(config: &Config) -> Result<Rpc> {
        let http = reqwest::Client::builder().timeout(config.timeout()).build().map_err(Error::Client)?;
        Ok(Rpc { http, url: config.rpc_url.clone(), next_id: AtomicU64::new(1) })
    }

    pub(crate) async fn chain_id(&self) -> Result<u64> {
        Ok(self.call::<Quantity>("eth_chainId", json!([])).await?.small())
    }

    pub(crate) async fn code(&self, contract: Address) -> Result<Bytes> {
        self.call("eth_getCode", json!([contract, "latest"])).await
    }

    /// The newest block.
    pub(crate) async fn latest(&self) -> Result<Block> {
        self.call("eth_getBlockByNumber", json!(["latest", false])).await
    }

    /// The block at a height in the canonical chain.
    pub(crate) async fn block_at(&self, number: u64) -> Result<Option<Block>> {
        self.call("eth_getBlockByNumber", json!([quantity(number), false])).await
    }

    /// The block with its transactions, as the node writes it.
    pub(crate) async fn full_block(&self, hash: Word) -> Result<Value> {
        self.call("eth_getBlockByHash", json!([hash, true])).await
    }

    /// Transactions the account has sent up to the newest block, or up to one at a height.
    pub(crate) async fn transaction_count(&self, account: Address, at: Option<u64>) -> Result<u64> {
        let at = at.map_or(json!("latest"), |number| json!(quantity(number)));
        Ok(self.call::<Quantity>("eth_getTransactionCount", json!([account, at])).await?.small())
    }

    /// The tip that makes for a place in a block soon, in wei a unit of gas.
    pub(crate) async fn tip(&self) -> Result<u64> {
        Ok(self.call::<Quantity>("eth_maxPriorityFeePerGas", json!([])).await?.small())
    }

    /// What an account holds, in wei.
    pub(crate) async fn balance(&self, account: Address) -> Result<u128> {
        Ok(self.call::<Quantity>("eth_getBalance", json!([account, "latest"])).await?.0)
    }

    pub(crate) async fn estimate(&self, message: &Message) -> Result<u64> {
        Ok(self.call::<Quantity>("eth_estimateGas", json!([message.to_json()])).await?.small())
    }

    pub(crate) async fn view(&self, message: &Message) -> Result<Bytes> {
        self.call("eth_call", json!([message.to_json(), "latest"])).await
    }

    pub(crate) async fn send(&self, transaction: &[u8]) -> Result<Word> {
        self.call("eth_sendRawTransaction", json!([Bytes::from(transaction.to_vec())])).await
    }

    /// The receipt of a transaction that is in a block.
    pub(crate) async fn receipt(&self, transaction: Word) -> Result<Option<Receipt>> {
        let receipt: Option<Value> = self.call("eth_getTransactionReceipt", json!([transaction])).await?;
        // A node may answer before the block is there.
        let Some(receipt) = receipt.filter(|receipt| !receipt["blockHash"].is_null()) else { return Ok(None) };
        parse("eth_getTransactionReceipt", receipt).map(Some)
    }

    /// All receipts of a block, as the node writes them.
    pub(crate) async fn block_receipts(&self, block: Word, transactions: &[Word]) -> Result<Vec<Value>> {
        match self.call("eth_getBlockReceipts", json!([block])).await {
            Err(Error::Node { code: METHOD_NOT_FOUND, .. }) => (),
            answer => return answer,
        }
        let mut receipts = Vec::with_capacity(transactions.len());
        for transaction in transactions {
            receipts.push(self.call("eth_getTransactionReceipt", json!([transaction])).await?);
        }
        Ok(receipts)
    }

    async fn call<T: DeserializeOwned>(&self, method: &'static str, params: Value) -> Result<T> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        // The address may hold a key of the node's provider, so it must not get into logs.
        let unreachable = |source: reqwest::Error| Error::Unreachable { method, source: source.without_url() };
        let mut response = self.http.post(&self.url).json(&body).send().await.map_err(unreachable)?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > LONGEST_ANSWER {
                return Err(bad(method, "it is longer than 64 MiB"));
            }
        }
        let answer: Answer = match serde_json::from_slice(&bytes) {
            Ok(answer) => answer,
            Err(_) if !status.is_success() => return Err(bad(method, format!("HTTP status {status}"))),
            Err(error) => return Err(bad(method, error)),
        };
        match answer.error {
            Some(Failure { code, message }) => Err(Error::Node { method, code, message: printable(&message) }),
            None if answer.id != id => Err(bad(method, "it is the answer to another question")),
            None => parse(method, answer.result),
        }
    }
}

impl Block {
    pub(crate) fn number(&self) -> u64 {
        self.number.small()
    }

    /// What a unit of gas costs at least, in wei.
    pub(crate) fn base_fee(&self) -> Result<u64> {
        self.base_fee_per_gas.map(|fee| fee.small()).ok_or(Error::NoBaseFee)
    }
}

impl Receipt {
    pub(crate) fn block_number(&self) -> u64 {
        self.block_number.small()
    }

    pub(crate) fn position(&self) -> u64 {
        self.transaction_index.small()
    }

    pub(crate) fn succeeded(&self) -> bool {
        self.status == Quantity(1)
    }

    pub(crate) fn gas_used(&self) -> u64 {
        self.gas_used.small()
    }

    /// What it cost, in wei.
    pub(crate) fn cost(&self) -> u128 {
        self.gas_used.0.saturating_mul(self.effective_gas_price.0)
    }
}

impl Message {
    fn to_json(&self) -> Value {
        let mut message = json!({"from": self.from, "data": self.data});
        if let Some(to) = self.to {
            message["to"] = json!(to);
        }
        message
    }
}

impl Quantity {
    /// Where it is a count or a price, which is below 2^64.
    fn small(self) -> u64 {
        u64::try_from(self.0).unwrap_or(u64::MAX)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Quantity, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.strip_prefix("0x").filter(|digits| (1..=64).contains(&digits.len()));
        let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let digits = digits.ok_or_else(|| serde::de::Error::custom("a number is not of the form 0x…"))?;
        Ok(Quantity(u128::from_str_radix(digits, 16).unwrap_or(u128::MAX)))
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    result: Value,
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    code: i64,
    #[serde(default)]
    message: String,
}

fn quantity(number: u64) -> String {
    format!("{number:#x}")
}

fn parse<T: DeserializeOwned>(method: &'static str, mut value: Value) -> Result<T> {
    lower(&mut value);
    serde_json::from_value(value).map_err(|error| bad(method, error))
}

/// Nodes may write addresses with the capitals that are a checksum.
fn lower(value: &mut Value) {
    match value {
        Value::String(text) if text.starts_with("0x") => text.make_ascii_lowercase(),
        Value::Array(items) => items.iter_mut().for_each(lower),
        Value::Object(members) => members.values_mut().for_each(lower),
        _ => (),
    }
}

fn bad(method: &'static str, problem: impl ToString) -> Error {
    Error::BadAnswer { method, problem: problem.to_string() }
}

/// The beginning of what a stranger wrote, fit for a log.
fn printable(text: &str) -> String {
    text.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// JSON-RPC 2.0.
const METHOD_NOT_FOUND: i64 = -32601;

/// A full block of a busy chain with its receipts is a few MiB.
const LONGEST_ANSWER: usize = 64 << 20;

//! [`Report`]: what of an adapter fits a base and what does not, tensor by tensor.

use serde::{Deserialize, Serialize};

use super::{Base, Stated};
use crate::peft::{Adapter, Array, Config, Targets};

/// The outcome of fitting an adapter to a base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The adapter may be served on this base.
    pub accepted: bool,
    /// The base's name.
    pub base: String,
    /// Why it was refused, in plain words; empty when accepted.
    pub reasons: Vec<String>,
    /// What an owner should know although it was accepted.
    pub notes: Vec<String>,
    /// Whether the architecture is the base's.
    pub architecture: Check,
    /// Whether the tokenizer is the base's.
    pub tokenizer: Check,
    /// Whether the chat template is the base's.
    pub chat_template: Check,
    /// Linear layers and embeddings of the base that `target_modules` selects; none when only the trainer knew.
    pub targeted: Option<usize>,
    /// Those of them that carry a delta.
    pub adapted: usize,
    /// The highest rank.
    pub rank: usize,
    /// Bytes of the weights as F32.
    pub bytes: usize,
    /// Every tensor of the adapter, and every one that is missing.
    pub tensors: Vec<TensorCheck>,
}

/// Whether something stated beside the adapter agrees with the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Both state it, and it is the same.
    Matched,
    /// Both state it, and it differs.
    Differs,
    /// One of them does not state it.
    NotStated,
}

/// One tensor, or the A and B of one module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorCheck {
    /// The module's path, or the tensor's name in the base.
    pub name: String,
    /// The shape of the weight that the adapter changes or replaces, as the adapter has it; empty when missing.
    pub shape: Vec<usize>,
    /// The shape in the base; empty when the base has no such tensor.
    pub expected: Vec<usize>,
    /// What was found.
    pub outcome: Outcome,
}

/// What was found about one tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It fits.
    Matched,
    /// The base has it in another shape.
    WrongShape,
    /// The base has no such tensor.
    NotInBase,
    /// The configuration targets it, and the file has no tensor for it.
    Missing,
}

/// Fits `adapter` to `base`.
#[must_use]
pub fn report(adapter: &Adapter, stated: &Stated, base: &Base) -> Report {
    let tensors = tensor_checks(adapter, base);
    let (reasons, notes) = (Vec::new(), Vec::new());
    let targeted: Vec<Option<bool>> = modules(base).map(|(path, _)| targets(&adapter.config, path)).collect();
    let mut report = Report {
        accepted: false,
        base: base.name.clone(),
        reasons,
        notes,
        architecture: check(stated.architecture.as_deref(), Some(&base.architecture)),
        tokenizer: check(stated.tokenizer_hash.as_deref(), base.tokenizer_hash.as_deref()),
        chat_template: check(stated.chat_template_hash.as_deref(), base.chat_template_hash.as_deref()),
        targeted: targeted.iter().all(Option::is_some).then(|| targeted.iter().filter(|t| **t == Some(true)).count()),
        adapted: adapter.layers.len(),
        rank: adapter.layers.values().map(crate::peft::Delta::r).max().unwrap_or(0),
        bytes: adapter.resident_bytes(),
        tensors,
    };
    report.explain(adapter, stated);
    report.accepted = report.reasons.is_empty();
    report
}

impl Report {
    /// Turns the findings into sentences.
    fn explain(&mut self, adapter: &Adapter, stated: &Stated) {
        if self.architecture == Check::Differs {
            let stated = stated.architecture.as_deref().unwrap_or_default();
            self.reasons.push(format!(
                "the adapter was trained on the {stated} architecture, which {} is not; name the base it was trained on",
                self.base
            ));
        }
        if self.tokenizer == Check::Differs {
            self.reasons.push(format!(
                "the tokenizer beside the adapter gives other token ids than that of {}; name the base it was trained \
                 on, or leave tokenizer.json out if it is known to be equivalent",
                self.base
            ));
        }
        if self.chat_template == Check::Differs {
            self.notes.push(format!(
                "the adapter was trained with another chat template than that of {}, which will be used; answers may \
                 be poor unless requests are rendered with the adapter's own template",
                self.base
            ));
        }
        for tensor in &self.tensors {
            let name = &tensor.name;
            self.reasons.extend(match tensor.outcome {
                Outcome::Matched => None,
                Outcome::WrongShape if name.contains("embed_tokens") || name.contains("lm_head") => Some(format!(
                    "{name} is {:?} in the adapter and {:?} in the base: the vocabulary was resized; serve the base that \
                     has the added tokens",
                    tensor.shape, tensor.expected
                )),
                Outcome::WrongShape => Some(format!(
                    "{name} is {:?} in the adapter and {:?} in the base: it was trained on a base of another size",
                    tensor.shape, tensor.expected
                )),
                Outcome::NotInBase => Some(format!("the base has no {name}: it was trained on another base")),
                Outcome::Missing => Some(format!(
                    "target_modules names {name} and the file has no tensors for it; save the adapter again"
                )),
            });
        }
        if adapter.config.target_modules.is_none() {
            self.notes
                .push("target_modules is not stated, so missing modules cannot be told from untrained ones".into());
        }
        if adapter.layers.values().all(|delta| delta.b.data.iter().all(|value| *value == 0.0))
            && adapter.saved.is_empty()
        {
            self.notes.push("every B is zero: the adapter is untrained and changes nothing".into());
        }
    }
}

fn check(stated: Option<&str>, base: Option<&str>) -> Check {
    match (stated, base) {
        (Some(stated), Some(base)) if stated == base => Check::Matched,
        (Some(_), Some(_)) => Check::Differs,
        _ => Check::NotStated,
    }
}

/// Paths of linear layers, then of embeddings; true = a linear layer.
fn modules(base: &Base) -> impl Iterator<Item = (&str, bool)> {
    base.linears
        .keys()
        .map(|path| (path.as_str(), true))
        .chain(base.embeddings.keys().map(|path| (path.as_str(), false)))
}

/// As [`Config::targets`], now that the base is known: "all-linear" means every linear layer but the output layer.
fn targets(config: &Config, path: &str) -> Option<bool> {
    match (&config.target_modules, config.targets(path)) {
        (Some(Targets::AllLinear), None) => {
            let output = path.ends_with("lm_head");
            let embedding = path.ends_with("embed_tokens");
            Some(!output && !embedding)
        }
        (_, targeted) => targeted,
    }
}

fn tensor_checks(adapter: &Adapter, base: &Base) -> Vec<TensorCheck> {
    let mut checks = Vec::new();
    for (path, delta) in &adapter.layers {
        let shape =
            if delta.embedding { vec![delta.inputs(), delta.outputs()] } else { vec![delta.outputs(), delta.inputs()] };
        let table = if delta.embedding { &base.embeddings } else { &base.linears };
        let targeted = targets(&adapter.config, path) != Some(false);
        checks.push(fit(path, shape, table.get(path).filter(|_| targeted).map(|shape| shape.to_vec())));
        if let Some(bias) = &delta.bias {
            let name = format!("{path}.bias");
            let expected = base.others.get(&name).cloned();
            checks.push(fit(&name, vec![bias.len()], expected));
        }
    }
    for (name, Array { shape, .. }) in &adapter.saved {
        let module = name.strip_suffix(".weight").unwrap_or(name);
        let weight = base.linears.get(module).or_else(|| base.embeddings.get(module)).map(|shape| shape.to_vec());
        checks.push(fit(name, shape.clone(), weight.or_else(|| base.others.get(name).cloned())));
    }
    for (path, _) in modules(base) {
        if targets(&adapter.config, path) == Some(true) && !adapter.layers.contains_key(path) {
            let expected = base.linears.get(path).or_else(|| base.embeddings.get(path)).map(|shape| shape.to_vec());
            let (shape, expected) = (Vec::new(), expected.unwrap_or_default());
            checks.push(TensorCheck { name: path.to_owned(), shape, expected, outcome: Outcome::Missing });
        }
    }
    checks
}

fn fit(name: &str, shape: Vec<usize>, expected: Option<Vec<usize>>) -> TensorCheck {
    let outcome = match &expected {
        None => Outcome::NotInBase,
        Some(expected) if *expected == shape => Outcome::Matched,
        Some(_) => Outcome::WrongShape,
    };
    TensorCheck { name: name.to_owned(), shape, expected: expected.unwrap_or_default(), outcome }
}

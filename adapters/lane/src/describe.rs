//! What an adapter must fit, read from a model's headers: no weights are loaded.

use std::{collections::BTreeMap, path::Path};

use crate::{
    Config, LoadError,
    names::{EMBEDDINGS, FINAL_NORM, HEAD, Norm, Projection},
    source::{Opened, open},
};

/// Every tensor of a base model, by the names that PEFT uses.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// The model's shape.
    pub config: Config,
    /// Linear layers by path, [outputs, inputs]; with the head, tied or not.
    pub linears: BTreeMap<String, [usize; 2]>,
    /// Embeddings by path, [vocabulary, hidden].
    pub embeddings: BTreeMap<String, [usize; 2]>,
    /// Norms and biases by tensor name.
    pub others: BTreeMap<String, Vec<usize>>,
}

impl Description {
    /// Reads the headers of a model's files.
    ///
    /// # Errors
    /// As [`crate::Decoder::open`].
    pub fn read(dir: &Path) -> Result<Self, LoadError> {
        let Opened { config, source } = open(dir)?;
        let vocabulary = [config.vocab_size, config.hidden_size];
        let mut linears = BTreeMap::from([(HEAD.to_owned(), vocabulary)]);
        let mut others = BTreeMap::from([(format!("{FINAL_NORM}.weight"), vec![config.hidden_size])]);
        for layer in 0..config.layers {
            for of in Projection::ALL {
                let path = of.path(layer);
                let bias = format!("{path}.bias");
                if source.has(&bias) {
                    others.insert(bias, vec![config.shape(of)[0]]);
                }
                linears.insert(path, config.shape(of));
            }
            for of in [Norm::Input, Norm::PostAttention] {
                others.insert(format!("{}.weight", of.path(layer)), vec![config.hidden_size]);
            }
        }
        Ok(Self { linears, others, embeddings: BTreeMap::from([(EMBEDDINGS.to_owned(), vocabulary)]), config })
    }
}

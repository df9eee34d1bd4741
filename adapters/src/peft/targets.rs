//! Which modules a configuration means: `target_modules`, `exclude_modules` and the rank and alpha patterns, matched as
//! PEFT matches them (`check_target_module_exists` and `get_pattern_key`).

use regex::{Regex, RegexBuilder};
use serde_json::Value;

/// A selection of modules by path, such as `model.layers.0.self_attn.q_proj`.
#[derive(Debug, Clone)]
pub enum Targets {
    /// Exact paths, or whole trailing components: `q_proj` means every `….q_proj`.
    Names(Vec<String>),
    /// A regular expression that must match the whole path.
    Pattern(Regex),
    /// `"all-linear"`: every linear layer but the output layer, so only the base can say which.
    AllLinear,
}

impl Targets {
    /// Reads the JSON form: a string or a list of strings. The error is the reason, in words.
    pub(crate) fn parse(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) if text.eq_ignore_ascii_case("all-linear") => Ok(Self::AllLinear),
            Value::String(text) => Ok(Self::Pattern(whole(text)?)),
            Value::Array(items) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned).ok_or_else(|| format!("{item} is not a name")))
                .collect::<Result<_, _>>()
                .map(Self::Names),
            _ => Err("it must be a list of names, a regular expression, or \"all-linear\"".into()),
        }
    }

    /// Whether `path` is selected; none where only the base can say.
    #[must_use]
    pub fn selects(&self, path: &str) -> Option<bool> {
        match self {
            Self::Names(names) => Some(names.iter().any(|name| is_suffix(path, name))),
            Self::Pattern(pattern) => Some(pattern.is_match(path)),
            Self::AllLinear => None,
        }
    }
}

/// A mapping from patterns to values, in the order of the file: the first pattern that matches decides.
#[derive(Debug, Clone, Default)]
pub struct Patterns<T>(Vec<(String, Regex, T)>);

impl<T: Copy> Patterns<T> {
    /// Reads `{"pattern": value, …}`. The error is the reason, in words.
    pub(crate) fn parse(value: &Value, read: impl Fn(&Value) -> Option<T>) -> Result<Self, String> {
        let entries = match value {
            Value::Null => return Ok(Self(Vec::new())),
            Value::Object(entries) => entries,
            _ => return Err("it must map module names to numbers".into()),
        };
        entries
            .iter()
            .map(|(key, value)| {
                let number = read(value).ok_or_else(|| format!("{value} is not a value it can have"))?;
                Ok((key.clone(), compile(&format!(r"^(?:.*\.)?(?:{key})$"))?, number))
            })
            .collect::<Result<_, String>>()
            .map(Self)
    }

    /// The value for the module at `path`, where a pattern names it.
    #[must_use]
    pub fn value(&self, path: &str) -> Option<T> {
        self.0.iter().find(|(_, pattern, _)| pattern.is_match(path)).map(|(_, _, value)| *value)
    }

    /// Patterns and values in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = (&str, T)> {
        self.0.iter().map(|(key, _, value)| (key.as_str(), *value))
    }
}

/// Whether `path` is `name` or ends in `.name`.
pub(crate) fn is_suffix(path: &str, name: &str) -> bool {
    path.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// Whether `name` is `path`, a trailing part of it, or a module around it (whole components).
pub(crate) fn covers(name: &str, path: &str) -> bool {
    format!(".{path}.").contains(&format!(".{name}."))
}

/// A regular expression that must match the whole text, as Python's `re.fullmatch`.
pub(crate) fn whole(pattern: &str) -> Result<Regex, String> {
    compile(&format!("^(?:{pattern})$"))
}

fn compile(pattern: &str) -> Result<Regex, String> {
    // The engine is linear in the text; the size limit bounds what a hostile pattern costs to compile.
    RegexBuilder::new(pattern)
        .size_limit(1 << 20)
        .build()
        .map_err(|error| format!("the pattern is not usable here (look-around and back-references are not): {error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_match_whole_trailing_components_only() {
        let targets = Targets::parse(&json!(["q_proj", "model.layers.1.mlp"])).unwrap();
        assert_eq!(targets.selects("model.layers.0.self_attn.q_proj"), Some(true));
        assert_eq!(targets.selects("model.layers.0.self_attn.big_q_proj"), Some(false));
        assert_eq!(targets.selects("model.layers.1.mlp"), Some(true));
        assert_eq!(targets.selects("q_proj.inner"), Some(false));
    }

    #[test]
    fn a_string_is_a_pattern_for_the_whole_path() {
        let unsloth = r"(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|mlp)\.(?:(?:q_proj|up_proj)))";
        let targets = Targets::parse(&json!(unsloth)).unwrap();
        assert_eq!(targets.selects("model.layers.11.self_attn.q_proj"), Some(true));
        assert_eq!(targets.selects("vision.model.layers.11.self_attn.q_proj"), Some(false));
        assert!(Targets::parse(&json!("(?!x)q_proj")).unwrap_err().contains("look-around"));
    }

    #[test]
    fn the_first_pattern_that_matches_decides() {
        let patterns =
            Patterns::parse(&json!({"layers.1.q": 16, ".*q": 4, "^model.v": 2}), |value| value.as_u64()).unwrap();
        assert_eq!(patterns.value("model.layers.1.q"), Some(16));
        assert_eq!(patterns.value("model.layers.2.q"), Some(4));
        assert_eq!(patterns.value("model.v"), Some(2));
        assert_eq!(patterns.value("other.model.v"), None);
        assert_eq!(patterns.value("model.layers.1.k"), None);
    }
}

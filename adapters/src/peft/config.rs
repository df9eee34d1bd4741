//! [`Config`]: adapter_config.json, read so that nothing in it that changes the result is overlooked.
//!
//! Every field is one of four kinds: understood; harmless to inference (kept, not interpreted); a method that is not
//! served (refused when it is on); unknown (refused unless it is off). PEFT adds fields with each release, all of them
//! off by default, so a newer file loads as long as it uses nothing new.

use serde_json::{Map, Value};

use super::{
    FormatError, Limits,
    targets::{Patterns, Targets, covers},
};

/// adapter_config.json of a LoRA adapter.
#[derive(Debug, Clone)]
pub struct Config {
    /// Rank of every module that `rank_pattern` does not name.
    pub r: usize,
    /// Numerator of the scale for every module that `alpha_pattern` does not name.
    pub lora_alpha: f64,
    /// Scale is alpha / sqrt(r) instead of alpha / r.
    pub use_rslora: bool,
    /// Each module carries a magnitude vector.
    pub use_dora: bool,
    /// Each module carries a bias on B.
    pub lora_bias: bool,
    /// Modules that carry a delta; none when the file does not say.
    pub target_modules: Option<Targets>,
    /// Modules that do not, although targeted.
    pub exclude_modules: Option<Targets>,
    /// Ranks of single modules.
    pub rank_pattern: Patterns<usize>,
    /// Alphas of single modules.
    pub alpha_pattern: Patterns<f64>,
    /// Which of the base's biases were trained.
    pub bias: Bias,
    /// Modules that were trained whole.
    pub modules_to_save: Vec<String>,
    /// Indices of the layers that are targeted; empty = all.
    pub layers_to_transform: Vec<usize>,
    /// Names of the list that holds the layers, such as `layers`; empty = any.
    pub layers_pattern: Vec<String>,
    /// How A and B began: `"true"`, `"false"`, `"gaussian"`, `"eva"` or `"orthogonal"`.
    pub init_lora_weights: String,
    /// What the trainer called the base; often a local path, so a hint and no more.
    pub base_model_name_or_path: Option<String>,
    /// The file as it was, in its order.
    pub raw: Map<String, Value>,
}

/// Which of the base's biases an adapter replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bias {
    /// None of them.
    None,
    /// Every one in the model.
    All,
    /// Those of the targeted modules.
    LoraOnly,
}

impl Config {
    /// Parses adapter_config.json.
    ///
    /// # Errors
    /// [`FormatError::ConfigSyntax`] or [`FormatError::ConfigField`], naming the field.
    pub fn parse(json: &[u8], limits: &Limits) -> Result<Self, FormatError> {
        let raw: Map<String, Value> = serde_json::from_slice(json).map_err(FormatError::ConfigSyntax)?;
        let fields = Fields(&raw);
        fields.refuse_other_methods()?;
        let config = Self {
            r: fields.read("r", 8, whole)?,
            lora_alpha: fields.read("lora_alpha", 8.0, Value::as_f64)?,
            use_rslora: fields.read("use_rslora", false, Value::as_bool)?,
            use_dora: fields.read("use_dora", false, Value::as_bool)?,
            lora_bias: fields.read("lora_bias", false, Value::as_bool)?,
            target_modules: fields.parse("target_modules", Targets::parse)?,
            exclude_modules: fields.parse("exclude_modules", Targets::parse)?,
            rank_pattern: fields
                .parse("rank_pattern", |value| Patterns::parse(value, |r| whole(r).filter(|r| *r > 0)))?
                .unwrap_or_default(),
            alpha_pattern: fields
                .parse("alpha_pattern", |value| Patterns::parse(value, Value::as_f64))?
                .unwrap_or_default(),
            bias: fields.read("bias", Bias::None, |value| match value.as_str()? {
                "none" => Some(Bias::None),
                "all" => Some(Bias::All),
                "lora_only" => Some(Bias::LoraOnly),
                _ => None,
            })?,
            modules_to_save: fields.read("modules_to_save", Vec::new(), |value| {
                one_or_many(value, |name| name.as_str().map(str::to_owned))
            })?,
            layers_to_transform: fields.read("layers_to_transform", Vec::new(), |value| one_or_many(value, whole))?,
            layers_pattern: fields.read("layers_pattern", Vec::new(), |value| {
                one_or_many(value, |name| name.as_str().map(str::to_owned))
            })?,
            init_lora_weights: fields.initialisation()?,
            base_model_name_or_path: fields
                .read("base_model_name_or_path", None, |value| value.as_str().map(|name| Some(name.to_owned())))?,
            raw: raw.clone(),
        };
        if config.r == 0 {
            return Err(fields.refusal("r", "the rank must be at least 1"));
        }
        let largest = config.rank_pattern.iter().map(|(_, r)| r).chain([config.r]).max().unwrap_or(config.r);
        if largest > limits.max_rank {
            let what = "the rank in adapter_config.json".to_owned();
            return Err(FormatError::Rank { what, rank: largest, limit: limits.max_rank });
        }
        Ok(config)
    }

    /// Rank of the module at `path`.
    #[must_use]
    pub fn rank(&self, path: &str) -> usize {
        self.rank_pattern.value(path).unwrap_or(self.r)
    }

    /// Scale of the module at `path`: `alpha / r`, or `alpha / sqrt(r)` with rsLoRA.
    #[must_use]
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "ranks are small; scales are f32")]
    pub fn scale(&self, path: &str) -> f32 {
        let alpha = self.alpha_pattern.value(path).unwrap_or(self.lora_alpha);
        let r = self.rank(path) as f64;
        (alpha / if self.use_rslora { r.sqrt() } else { r }) as f32
    }

    /// Whether the configuration puts a delta on the module at `path`; none where only the base can say.
    #[must_use]
    pub fn targets(&self, path: &str) -> Option<bool> {
        let excluded = self.exclude_modules.as_ref().is_some_and(|targets| targets.selects(path) == Some(true));
        if excluded || self.saves(path) {
            return Some(false);
        }
        let targets = self.target_modules.as_ref()?;
        if let Targets::Names(names) = targets {
            // A full path is taken as it stands; layer indices restrict only what was matched by its suffix.
            if names.iter().any(|name| name == path) {
                return Some(true);
            }
            return Some(targets.selects(path) == Some(true) && self.layer_is_targeted(path));
        }
        targets.selects(path)
    }

    /// Whether the module at `path` was trained whole.
    #[must_use]
    pub fn saves(&self, path: &str) -> bool {
        self.modules_to_save.iter().any(|name| covers(name, path))
    }

    fn layer_is_targeted(&self, path: &str) -> bool {
        if self.layers_to_transform.is_empty() {
            return true;
        }
        // PEFT: `.*\.<list>\.(\d+)\.`, greedy, so the innermost list decides.
        let parts: Vec<&str> = path.split('.').collect();
        let index = (2..parts.len().saturating_sub(1)).rev().find_map(|at| {
            let listed = self.layers_pattern.is_empty() || self.layers_pattern.iter().any(|list| list == parts[at - 1]);
            if listed { parts[at].parse::<usize>().ok() } else { None }
        });
        index.is_some_and(|index| self.layers_to_transform.contains(&index))
    }
}

/// Fields that inference does not depend on.
const HARMLESS: &[&str] = &[
    "auto_mapping",
    "eva_config",
    "fan_in_fan_out", // says how the base stores its weight; A and B have the same form either way
    "inference_mode",
    "loftq_config",   // used only with init_lora_weights = "loftq", which is refused
    "corda_config",   // likewise "corda"
    "lora_ga_config", // likewise "lora_ga"
    "lora_dropout",
    "megatron_core",
    "peft_version",
    "qalora_group_size", // used only with use_qalora, which is refused
    "revision",
    "runtime_config",
];

/// Fields that [`Config`] understands.
const UNDERSTOOD: &[&str] = &[
    "alpha_pattern",
    "base_model_name_or_path",
    "bias",
    "exclude_modules",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "lora_bias",
    "modules_to_save",
    "peft_type",
    "r",
    "rank_pattern",
    "target_modules",
    "task_type",
    "use_dora",
    "use_rslora",
];

/// The fields of the file, with the checks on single ones.
struct Fields<'a>(&'a Map<String, Value>);

impl Fields<'_> {
    fn value(&self, field: &str) -> &Value {
        self.0.get(field).unwrap_or(&Value::Null)
    }

    /// Reads a field, or takes PEFT's default where it is absent or null.
    fn read<T>(&self, field: &str, default: T, read: impl FnOnce(&Value) -> Option<T>) -> Result<T, FormatError> {
        match self.value(field) {
            Value::Null => Ok(default),
            value => read(value).ok_or_else(|| self.refusal(field, "this is not a value that PEFT writes here")),
        }
    }

    fn parse<T>(&self, field: &str, parse: impl Fn(&Value) -> Result<T, String>) -> Result<Option<T>, FormatError> {
        match self.value(field) {
            Value::Null => Ok(None),
            value => parse(value).map(Some).map_err(|reason| self.refusal(field, &reason)),
        }
    }

    fn refusal(&self, field: &str, reason: &str) -> FormatError {
        let value = self.value(field).to_string();
        FormatError::ConfigField { field: field.to_owned(), value, reason: reason.to_owned() }
    }

    /// Refuses what is not plain LoRA for generation, and every unknown field that is on.
    fn refuse_other_methods(&self) -> Result<(), FormatError> {
        if self.value("peft_type").as_str() != Some("LORA") {
            return Err(self.refusal("peft_type", "only LORA adapters (with rsLoRA and DoRA) are served"));
        }
        if let Some("SEQ_CLS" | "SEQ_2_SEQ_LM" | "TOKEN_CLS" | "QUESTION_ANS" | "FEATURE_EXTRACTION") =
            self.value("task_type").as_str()
        {
            return Err(self.refusal("task_type", "only adapters that generate text (CAUSAL_LM) are served"));
        }
        for field in self.0.keys().map(String::as_str) {
            if UNDERSTOOD.contains(&field) || HARMLESS.contains(&field) || is_off(self.value(field)) {
                continue;
            }
            let reason = match field {
                "trainable_token_indices" => {
                    "single trained tokens are not served: train embed_tokens by modules_to_save"
                }
                "target_parameters" => "deltas on bare parameters are not served: merge the adapter into the base",
                "layer_replication" => "replicated layers make another base: merge the adapter and serve the result",
                "ensure_weight_tying" => "tied trained modules are not served: save embed_tokens and lm_head each",
                _ => {
                    "this is not served and may change the result: merge the adapter into the base, or train without it"
                }
            };
            return Err(self.refusal(field, reason));
        }
        Ok(())
    }

    /// Initialisations that take part of the base's weights into A and B leave a base that nobody else has.
    fn initialisation(&self) -> Result<String, FormatError> {
        match self.value("init_lora_weights") {
            Value::Null => Ok("true".into()),
            Value::Bool(value) => Ok(value.to_string()),
            Value::String(name) if matches!(name.as_str(), "gaussian" | "eva" | "orthogonal") => Ok(name.clone()),
            Value::String(name)
                if ["pissa", "olora", "loftq", "corda", "lora_ga"].iter().any(|method| name.starts_with(method)) =>
            {
                Err(self.refusal(
                    "init_lora_weights",
                    "this initialisation changes the base's weights, so the adapter does not fit the original base: \
                     save it with save_pretrained(dir, path_initial_model_for_weight_conversion=...), which converts it",
                ))
            }
            _ => Err(self.refusal("init_lora_weights", "an unknown initialisation; it may change the base's weights")),
        }
    }
}

/// Off: null, false, zero, or empty.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// Reads a list, or one value in its place.
fn one_or_many<T>(value: &Value, read: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    match value {
        Value::Array(items) => items.iter().map(read).collect(),
        single => read(single).map(|item| vec![item]),
    }
}

fn whole(value: &Value) -> Option<usize> {
    usize::try_from(value.as_u64()?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(mut fields: Value) -> Result<Config, FormatError> {
        let object = fields.as_object_mut().unwrap();
        object.entry("peft_type").or_insert(json!("LORA"));
        object.entry("target_modules").or_insert(json!(["q_proj"]));
        Config::parse(fields.to_string().as_bytes(), &Limits::default())
    }

    #[test]
    fn scales_follow_patterns_and_rslora() {
        let config = parse(json!({"r": 4, "lora_alpha": 8, "rank_pattern": {"layers.1.self_attn.q_proj": 16},
            "alpha_pattern": {"layers.2.mlp.up_proj": 32}, "use_rslora": true}))
        .unwrap();
        assert_eq!(config.scale("model.layers.0.self_attn.q_proj"), 4.0);
        assert_eq!(config.scale("model.layers.1.self_attn.q_proj"), 2.0);
        assert_eq!(config.scale("model.layers.2.mlp.up_proj"), 16.0);
    }

    #[test]
    fn what_would_change_the_result_is_refused_by_name() {
        for (field, value) in [
            ("peft_type", json!("IA3")),
            ("task_type", json!("SEQ_CLS")),
            ("use_qalora", json!(true)),
            ("trainable_token_indices", json!([1, 2])),
            ("layer_replication", json!([[0, 4], [2, 5]])),
            ("init_lora_weights", json!("pissa_niter_16")),
            ("init_lora_weights", json!("loftq")),
            ("init_lora_weights", json!("olora")),
            ("a_field_of_next_year", json!({"on": true})),
            ("r", json!(0)),
            ("r", json!("8")),
            ("bias", json!("some")),
            ("rank_pattern", json!({"q_proj": 0})),
            ("target_modules", json!("(unclosed")),
        ] {
            let error = parse(json!({ field: value })).unwrap_err().to_string();
            assert!(error.contains(field), "{field}: {error}");
        }
        assert!(matches!(parse(json!({"r": 257})), Err(FormatError::Rank { rank: 257, limit: 256, .. })));
    }

    #[test]
    fn new_fields_that_are_off_do_no_harm() {
        let config = parse(json!({"a_field_of_next_year": null, "another": {}, "third": false})).unwrap();
        assert!(config.raw.contains_key("third"));
    }

    #[test]
    fn layer_indices_restrict_suffixes() {
        let config = parse(json!({"layers_to_transform": [1], "layers_pattern": "layers"})).unwrap();
        assert_eq!(config.targets("model.layers.1.self_attn.q_proj"), Some(true));
        assert_eq!(config.targets("model.layers.0.self_attn.q_proj"), Some(false));
        assert_eq!(config.targets("model.layers.1.self_attn.k_proj"), Some(false));
    }
}

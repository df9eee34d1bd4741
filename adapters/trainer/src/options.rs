//! [`TrainOptions`]: what a training run is asked to do, checked before anything starts.

use cairn_lane::Config;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{BaseForm, Optimizer, Schedule, TrainError, data::TooLong};

/// How a base is adapted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Adapters beside a base in the precision of its file.
    Lora,
    /// Adapters beside a base in NF4.
    #[default]
    Qlora,
}

/// Which modules get an adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TargetModules {
    /// Names, or whole trailing parts of paths.
    Names(Vec<String>),
    /// `"all-linear"`, or a regular expression that matches whole paths.
    Pattern(String),
}

/// Which biases of the base are trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrainedBias {
    /// None of them.
    #[default]
    None,
}

/// Named settings, for those who do not want to choose each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// A first look: r = 8 on the attention, one epoch.
    Fast,
    /// The default: r = 16 on all linear layers, three epochs, early stopping.
    Balanced,
    /// When time is no matter: r = 64, five epochs, a lower rate.
    Thorough,
}

/// The hyper-parameters of a run. Unknown keys are errors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainOptions {
    /// LoRA or QLoRA.
    pub method: Method,
    /// In what form LoRA keeps the base; QLoRA always uses NF4.
    pub base_form: BaseForm,
    /// Rank.
    pub r: usize,
    /// Numerator of the scale: alpha / r, or alpha / sqrt(r) with rsLoRA.
    pub alpha: f64,
    /// Probability with which an input of A is dropped.
    pub dropout: f32,
    /// Which modules get an adapter.
    pub target_modules: TargetModules,
    /// Scale by alpha / sqrt(r).
    pub use_rslora: bool,
    /// Train magnitude and direction apart.
    pub use_dora: bool,
    /// Which biases are trained.
    pub bias: TrainedBias,
    /// The highest learning rate.
    pub lr: f64,
    /// How it falls.
    pub schedule: Schedule,
    /// Steps in which it rises, as a share of all; `warmup_steps` takes precedence.
    pub warmup_ratio: f64,
    /// Steps in which it rises.
    pub warmup_steps: Option<usize>,
    /// Passes over the data.
    pub epochs: usize,
    /// Optimizer steps; takes precedence over `epochs`.
    pub max_steps: Option<usize>,
    /// Examples, or packed rows, that go through the model together.
    pub batch_size: usize,
    /// Batches of one optimizer step.
    pub gradient_accumulation: usize,
    /// Most tokens of an example, and with packing of a row.
    pub max_length: usize,
    /// What becomes of longer examples.
    pub too_long: TooLong,
    /// Learn what is asked as well, not only what is answered.
    pub train_on_prompt: bool,
    /// Put several examples into a row, without one seeing another.
    pub packing: bool,
    /// Strength of NEFTune's noise on the embeddings.
    pub neftune_noise_alpha: Option<f32>,
    /// Gradients longer than this are shortened to it.
    pub max_grad_norm: Option<f64>,
    /// AdamW's decoupled weight decay.
    pub weight_decay: f64,
    /// AdamW's betas.
    pub adam_betas: [f64; 2],
    /// AdamW's epsilon.
    pub adam_eps: f64,
    /// How AdamW keeps its states.
    pub optimizer: Optimizer,
    /// Everything random follows from it.
    pub seed: u64,
    /// Steps between evaluations; none = at the end of each epoch, where there are held-out examples.
    pub eval_every: Option<usize>,
    /// Evaluations without improvement after which the run ends.
    pub early_stopping_patience: Option<usize>,
    /// Seconds after which the run ends.
    pub max_time: Option<u64>,
    /// Steps between checkpoints; none = at the end of each epoch.
    pub checkpoint_every: Option<usize>,
    /// Keep the inputs of layers only and compute the rest a second time on the way back.
    pub gradient_checkpointing: bool,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            method: Method::default(),
            base_form: BaseForm::default(),
            r: 16,
            alpha: 32.0,
            dropout: 0.0,
            target_modules: TargetModules::Pattern("all-linear".into()),
            use_rslora: false,
            use_dora: false,
            bias: TrainedBias::None,
            lr: 2e-4,
            schedule: Schedule::Linear,
            warmup_ratio: 0.03,
            warmup_steps: None,
            epochs: 3,
            max_steps: None,
            batch_size: 4,
            gradient_accumulation: 4,
            max_length: 1024,
            too_long: TooLong::TruncateRight,
            train_on_prompt: false,
            packing: false,
            neftune_noise_alpha: None,
            max_grad_norm: Some(1.0),
            weight_decay: 0.0,
            adam_betas: [0.9, 0.999],
            adam_eps: 1e-8,
            optimizer: Optimizer::AdamW,
            seed: 42,
            eval_every: None,
            early_stopping_patience: None,
            max_time: None,
            checkpoint_every: None,
            gradient_checkpointing: true,
        }
    }
}

impl TrainOptions {
    /// The settings of a preset.
    #[must_use]
    pub fn preset(preset: Preset) -> Self {
        let all = Self::default();
        match preset {
            Preset::Fast => Self {
                r: 8,
                alpha: 16.0,
                target_modules: TargetModules::Names(["q_proj", "k_proj", "v_proj", "o_proj"].map(String::from).into()),
                lr: 5e-4,
                epochs: 1,
                max_length: 512,
                packing: true,
                // Four packed rows hold some twenty short examples: a batch of the usual size.
                gradient_accumulation: 1,
                ..all
            },
            Preset::Balanced => Self {
                lr: 4e-4,
                max_length: 512,
                packing: true,
                gradient_accumulation: 1,
                early_stopping_patience: Some(3),
                ..all
            },
            Preset::Thorough => Self {
                r: 64,
                alpha: 64.0,
                dropout: 0.05,
                use_rslora: false,
                schedule: Schedule::Cosine,
                epochs: 5,
                max_length: 2048,
                neftune_noise_alpha: Some(5.0),
                early_stopping_patience: Some(5),
                ..all
            },
        }
    }

    /// Reads options; a `preset` key says where the others start from.
    ///
    /// # Errors
    /// [`TrainError::Option`]: an unknown key, a value of another kind, or one that cannot work.
    pub fn from_json(mut fields: Map<String, Value>) -> Result<Self, TrainError> {
        let invalid =
            |error: serde_json::Error| TrainError::option("training options", "not usable", error.to_string());
        let start = match fields.remove("preset") {
            None => Self::default(),
            Some(name) => Self::preset(serde_json::from_value(name).map_err(invalid)?),
        };
        let mut all = serde_json::to_value(start).map_err(invalid)?;
        if let Value::Object(all) = &mut all {
            all.extend(fields.clone());
        }
        let options: Self = serde_json::from_value(all).map_err(|error| culprit(fields).unwrap_or(invalid(error)))?;
        options.check()?;
        Ok(options)
    }

    /// Whether a run with these can work.
    ///
    /// # Errors
    /// [`TrainError::Option`], naming the option.
    pub fn check(&self) -> Result<(), TrainError> {
        let at_least_one = [
            ("r", self.r),
            ("batch_size", self.batch_size),
            ("gradient_accumulation", self.gradient_accumulation),
            ("epochs", self.epochs),
            ("max_steps", self.max_steps.unwrap_or(1)),
            ("eval_every", self.eval_every.unwrap_or(1)),
            ("checkpoint_every", self.checkpoint_every.unwrap_or(1)),
            ("early_stopping_patience", self.early_stopping_patience.unwrap_or(1)),
        ];
        for (option, value) in at_least_one {
            refuse_unless(value >= 1, option, value, "must be at least 1; leave it out for the default")?;
        }
        let bounded = [
            ("batch_size", self.batch_size, MOST_EXAMPLES),
            ("gradient_accumulation", self.gradient_accumulation, MOST_BATCHES),
            ("epochs", self.epochs, MOST_EPOCHS),
            ("max_steps", self.max_steps.unwrap_or(1), MOST_STEPS),
            ("warmup_steps", self.warmup_steps.unwrap_or(0), MOST_STEPS),
            ("max_length", self.max_length, MOST_TOKENS),
        ];
        for (option, value, most) in bounded {
            refuse_unless(value <= most, option, value, &format!("must be at most {most}"))?;
        }
        refuse_unless(
            self.batch_size * self.max_length <= MOST_TOGETHER,
            "batch_size",
            self.batch_size,
            &format!(
                "with max_length = {} up to {} tokens would go through the model together, and {MOST_TOGETHER} may: lower \
                 either, and raise gradient_accumulation for the same effect",
                self.max_length,
                self.batch_size * self.max_length
            ),
        )?;
        refuse_unless(
            self.max_length >= 2,
            "max_length",
            self.max_length,
            "a token is learnt from the one before it: 2 at least",
        )?;
        refuse_unless(
            self.r <= 256,
            "r",
            self.r,
            "ranks above 256 are not served; use rsLoRA rather than a higher rank",
        )?;
        let alpha = positive(self.alpha) && (self.alpha as f32).is_finite();
        refuse_unless(alpha, "alpha", self.alpha, "must be a positive number, usually r or 2 r")?;
        let dropout = f64::from(self.dropout);
        refuse_unless((0.0..1.0).contains(&dropout), "dropout", dropout, "is a probability below 1, usually 0 to 0.1")?;
        refuse_unless(
            positive(self.lr) && self.lr <= 1.0,
            "lr",
            self.lr,
            "must be above 0 and at most 1, usually 1e-4 to 5e-4",
        )?;
        let ratio = self.warmup_ratio;
        refuse_unless((0.0..=1.0).contains(&ratio), "warmup_ratio", ratio, "is a share of all steps, 0 to 1")?;
        let norm = self.max_grad_norm.unwrap_or(1.0);
        refuse_unless(positive(norm), "max_grad_norm", norm, "must be positive; null switches clipping off")?;
        let noise = f64::from(self.neftune_noise_alpha.unwrap_or(1.0));
        refuse_unless(
            positive(noise),
            "neftune_noise_alpha",
            noise,
            "must be positive, usually 5 to 15; null switches it off",
        )?;
        let decay = self.weight_decay;
        refuse_unless((0.0..1.0).contains(&decay), "weight_decay", decay, "must be at least 0 and below 1")?;
        for beta in self.adam_betas {
            refuse_unless((0.0..1.0).contains(&beta), "adam_betas", beta, "must be at least 0 and below 1")?;
        }
        refuse_unless(positive(self.adam_eps), "adam_eps", self.adam_eps, "must be positive, usually 1e-8")?;
        if self.method == Method::Qlora && !matches!(self.base_form, BaseForm::Stored | BaseForm::Nf4) {
            let form = format!("{:?}", self.base_form).to_lowercase();
            return Err(TrainError::option(
                "base_form",
                form,
                "qlora keeps the base in NF4; use method = \"lora\" for others",
            ));
        }
        let none = matches!(&self.target_modules, TargetModules::Names(names) if names.is_empty());
        refuse_unless(!none, "target_modules", "[]", "names no module; \"all-linear\" means all of them")
    }

    /// Whether a base of this shape and so many held-out examples will do.
    ///
    /// # Errors
    /// [`TrainError::Option`], naming the option.
    pub fn fit(&self, base: &Config, held_out: usize) -> Result<(), TrainError> {
        if self.max_length > base.context_length {
            let reason = format!("the base's context has {} tokens: give no more", base.context_length);
            return Err(TrainError::option("max_length", self.max_length, reason));
        }
        match self.early_stopping_patience {
            Some(patience) if held_out == 0 => Err(TrainError::option(
                "early_stopping_patience",
                patience,
                "early stopping needs held-out examples, and there are none: raise held_out, give a validation file, or \
                 set this to null",
            )),
            _ => Ok(()),
        }
    }

    /// The form in which the base is loaded.
    #[must_use]
    pub fn form(&self) -> BaseForm {
        if self.method == Method::Qlora { BaseForm::Nf4 } else { self.base_form }
    }

    /// Steps of warm-up out of all.
    #[must_use]
    pub fn warmup(&self, steps: usize) -> usize {
        self.warmup_steps.unwrap_or((self.warmup_ratio * steps as f64).ceil() as usize)
    }
}

/// Most examples, or packed rows, of a batch.
const MOST_EXAMPLES: usize = 4096;
/// Most batches of a step.
const MOST_BATCHES: usize = 65_536;
/// Most passes over the data: the order of each is drawn before the first step.
const MOST_EPOCHS: usize = 1000;
/// Most steps.
const MOST_STEPS: usize = 10_000_000;
/// Most tokens of an example.
const MOST_TOKENS: usize = 1 << 20;
/// Most tokens that go through the model together.
const MOST_TOGETHER: usize = 1 << 22;

/// The first of these that cannot be read by itself.
fn culprit(fields: Map<String, Value>) -> Option<TrainError> {
    fields.into_iter().find_map(|(name, value)| {
        let alone = Map::from_iter([(name.clone(), value.clone())]);
        let error = serde_json::from_value::<TrainOptions>(Value::Object(alone)).err()?;
        Some(TrainError::option(name, value, error.to_string()))
    })
}

fn positive(value: f64) -> bool {
    value.is_finite() && value > 0.0
}

fn refuse_unless(fine: bool, option: &'static str, value: impl ToString, reason: &str) -> Result<(), TrainError> {
    if fine { Ok(()) } else { Err(TrainError::option(option, value, reason)) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<TrainOptions, TrainError> {
        TrainOptions::from_json(value.as_object().unwrap().clone())
    }

    #[test]
    fn options_start_from_their_preset() {
        for preset in ["fast", "balanced", "thorough"] {
            let options = read(json!({"preset": preset, "seed": 7, "target_modules": ["q_proj"]})).unwrap();
            assert_eq!((options.seed, options.target_modules), (7, TargetModules::Names(vec!["q_proj".into()])));
        }
        assert_eq!(read(json!({"preset": "thorough"})).unwrap().r, 64);
        let options = read(json!({"optimizer": "adamw_8bit", "schedule": "cosine", "method": "lora"})).unwrap();
        assert_eq!((options.optimizer, options.schedule), (Optimizer::AdamW8bit, Schedule::Cosine));
        assert_eq!((options.warmup(100), options.warmup(10)), (3, 1));
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        for (field, value) in [
            ("r", json!(0)),
            ("r", json!(300)),
            ("dropout", json!(1.0)),
            ("lr", json!(0)),
            ("lr", json!(20)),
            ("batch_size", json!(0)),
            ("max_length", json!(1)),
            ("weight_decay", json!(-0.1)),
            ("adam_betas", json!([0.9, 1.0])),
            ("max_grad_norm", json!(0)),
            ("warmup_ratio", json!(1.5)),
            ("target_modules", json!([])),
            ("base_form", json!("f16")),
            ("learning_rate", json!(1e-4)),
            ("epochs", json!(1_000_000_000_000_u64)),
            ("epochs", json!(-1)),
            ("max_steps", json!(1_000_000_000_000_u64)),
            ("max_steps", json!(1e30)),
            ("batch_size", json!(u64::MAX)),
            ("gradient_accumulation", json!(1_u64 << 40)),
            ("max_length", json!(u64::MAX)),
            ("warmup_steps", json!(u64::MAX)),
            ("alpha", json!(1e300)),
            ("too_long", json!("wrap")),
        ] {
            let error = read(json!({ field: value })).unwrap_err().to_string();
            assert!(error.starts_with(field), "{field}: {error}");
        }
        let error = read(json!({"batch_size": 4096, "max_length": 4096})).unwrap_err().to_string();
        assert!(error.contains("gradient_accumulation"), "{error}");
    }
}

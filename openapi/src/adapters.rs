//! LoRA adapters: immutable generations, and aliases that point to them.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// What an upload is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UploadQuery {
    /// The base model it was trained for.
    pub base: String,
    /// Publish it under this alias at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Only report how it fits; store nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// What became of an upload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UploadedAdapter {
    /// SHA-256 of its configuration and weights: its name for ever; none after a dry run.
    pub generation: Option<String>,
    /// False when the same adapter was there already.
    pub created: bool,
    /// How it fits the base, tensor by tensor.
    #[schema(value_type = Object)]
    pub report: serde_json::Value,
    /// The alias that means it now, where one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<AdapterAlias>,
}

/// Who may use an alias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdapterVisibility {
    /// Its owner.
    Private,
    /// Its owner and those it is granted to.
    Granted,
    /// Everyone with a credential.
    Public,
}

/// A name that means one generation at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdapterAlias {
    /// `adapter`.
    pub object: String,
    /// The base model.
    pub base: String,
    /// Its name on that base.
    pub name: String,
    /// Its owner.
    pub owner: String,
    /// Who may use it.
    pub visibility: AdapterVisibility,
    /// The generation it means.
    pub generation: String,
    /// A second generation that takes part of the traffic.
    pub canary: Option<Canary>,
    /// When it last changed, RFC 3339 in UTC.
    pub updated_at: String,
}

/// A generation on trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Canary {
    /// The generation; 12 digits suffice.
    pub generation: String,
    /// Its part of the traffic, 1 to 99.
    pub percent: u8,
}

/// A page of aliases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdapterList {
    /// `list`.
    pub object: String,
    /// The aliases, by name.
    pub data: Vec<AdapterAlias>,
    /// Give it as `after` for the next page; null = this was the last.
    pub next: Option<String>,
}

/// Which aliases to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AdapterQuery {
    /// The base model.
    pub base: String,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// 1 to 200; default 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A change of an alias. Exactly one member is given, `generation` alone creates the alias where it is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AliasChange {
    /// Point it at this generation (12 digits suffice), and end its canary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<String>,
    /// Point it at what it meant before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<bool>,
    /// Give a part of the traffic to a second generation; 0 percent ends that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// Who may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<AdapterVisibility>,
}

/// What an alias meant, latest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AliasHistory {
    /// `list`.
    pub object: String,
    /// The steps.
    pub data: Vec<AliasStep>,
    /// What rolling back would lead to; absent where there is no earlier generation any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<String>,
}

/// A step in an alias's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AliasStep {
    /// What it meant from then on.
    pub generation: String,
    /// `publish` or `rollback`.
    pub action: String,
    /// Who did it.
    pub actor: String,
    /// When.
    pub at: String,
}

/// One of several adapters of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightedAdapter {
    /// `alias` or `alias@generation`.
    pub name: String,
    /// Factor on what the adapter adds to the base, -16 to 16; default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f32>,
}

/// `POST /v1/load_lora_adapter`, as vLLM has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoadLora {
    /// The alias to publish it under.
    pub lora_name: String,
    /// A PEFT directory inside `adapters.import_dir`.
    pub lora_path: String,
    /// The base; may be left out where there is only one model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_model_name: Option<String>,
    /// Replace what the alias means, where it is there already.
    #[serde(default)]
    pub load_inplace: bool,
}

/// `POST /v1/unload_lora_adapter`, as vLLM has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnloadLora {
    /// The alias to remove.
    pub lora_name: String,
    /// The base; may be left out where the alias is on one only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_model_name: Option<String>,
}

/// Who an alias is granted to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdapterGrants {
    /// `list`.
    pub object: String,
    /// Subjects, in order. Grants take effect while the visibility is `granted`.
    pub data: Vec<String>,
}

/// Who uses an alias, most answers first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdapterUses {
    /// `list`.
    pub object: String,
    /// A line for each subject and generation.
    pub data: Vec<AdapterUse>,
}

/// What a subject had of an alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdapterUse {
    /// Who asked.
    pub subject: String,
    /// The generation that answered.
    pub generation: String,
    /// How many answers.
    pub answers: u64,
    /// When the last of them was given.
    pub last_at: String,
}

/// Which generations to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct GenerationQuery {
    /// The base model.
    pub base: String,
    /// Whose; default the caller's. Others' are for administrators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// 1 to 200; default 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A page of generations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GenerationList {
    /// `list`.
    pub object: String,
    /// The generations, by their names.
    pub data: Vec<GenerationInfo>,
    /// Give it as `after` for the next page; null = this was the last.
    pub next: Option<String>,
}

/// A stored adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GenerationInfo {
    /// SHA-256 of its configuration and weights.
    pub generation: String,
    /// The base model.
    pub base: String,
    /// Its owner.
    pub owner: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// When it was uploaded, or trained.
    pub created_at: String,
    /// Who uploaded it.
    pub created_by: String,
    /// Aliases that mean it now, or try it out.
    pub aliases: Vec<String>,
    /// How it fitted the base when it was uploaded, tensor by tensor.
    #[schema(value_type = Object)]
    pub report: serde_json::Value,
    /// The training run that it came of; absent = it was uploaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainedBy>,
}

/// What an adapter learnt from, as the log has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrainedBy {
    /// The job: `GET /v1/fine_tuning/jobs/{id}`.
    pub job: String,
    /// Rows that were learnt.
    pub learnt: u64,
    /// Rows that were held out for evaluation.
    pub held_out: u64,
    /// Where they came from.
    pub sources: Vec<TrainedFrom>,
    /// The run's entry in the log.
    pub log_index: u64,
}

/// Where rows of a run came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrainedFrom {
    /// The datanet; absent = a file of the owner's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datanet: Option<String>,
    /// SHA-256 of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// By what right: `grant`, `operator` or `own`.
    pub consent: String,
}

/// How much owners may store, and do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdapterQuotas {
    /// `list`.
    pub object: String,
    /// Whoever stores adapters or has a quota of their own.
    pub data: Vec<AdapterQuota>,
    /// What holds for everyone else.
    pub default: QuotaLimits,
}

/// How much one owner may store, and does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdapterQuota {
    /// The owner.
    pub owner: String,
    /// Generations that are stored.
    pub generations: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// How much may be.
    pub limits: QuotaLimits,
    /// Whether that is a quota of its own, not the default.
    pub own: bool,
}

/// A quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuotaLimits {
    /// Most generations.
    pub max_generations: u64,
    /// Most bytes of their files together.
    pub max_bytes: u64,
}

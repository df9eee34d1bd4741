//! What a terminal shows of a run while it goes.

use std::io::IsTerminal;

use cairn_trainer::job::Entry;
use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressStyle};

/// What a terminal shows: a bar with the figures of the last step, other entries above it; elsewhere a line an entry.
pub(super) struct View {
    bar: Option<ProgressBar>,
    json: bool,
    held_out: Option<f64>,
}

impl View {
    pub(super) fn new(json: bool) -> Self {
        Self { bar: None, json, held_out: None }
    }

    pub(super) fn show(&mut self, entry: &Entry) {
        if self.json {
            if let Ok(line) = serde_json::to_string(entry) {
                println!("{line}");
            }
            return;
        }
        let data = &entry.data;
        if data["event"] == "evaluated" {
            self.held_out = data["loss"].as_f64();
        }
        if data["event"] != "step" {
            match &self.bar {
                Some(bar) if std::io::stderr().is_terminal() => bar.println(&entry.message),
                _ => eprintln!("{}", entry.message),
            }
            for metric in data["metrics"].as_array().into_iter().flatten() {
                eprintln!("  {}", metric["sentence"].as_str().unwrap_or_default());
            }
            return;
        }
        let number = |name: &str| data[name].as_f64().unwrap_or(0.0);
        let (step, steps) = (number("step") as u64, number("steps") as u64);
        let held_out = self.held_out.map(|loss| format!(" held-out {loss:.4}")).unwrap_or_default();
        let figures = format!(
            "loss {:.4}{held_out}  {:.0} tokens/s  {}  {} left",
            number("loss"),
            number("tokens_per_second"),
            HumanBytes(number("resident") as u64),
            HumanDuration(std::time::Duration::from_secs_f64(number("eta").max(0.0))),
        );
        if !std::io::stderr().is_terminal() {
            if step == steps || step.is_multiple_of(10) {
                eprintln!("step {step}/{steps}  {figures}");
            }
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}");
            ProgressBar::new(steps).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        bar.set_position(step);
        bar.set_message(figures);
        if step == steps {
            bar.finish();
        }
    }
}

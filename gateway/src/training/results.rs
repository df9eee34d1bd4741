//! What a job leaves, as files of `/v1/files`: OpenAI's clients look for results there. They are in the job's directory and
//! nowhere else, so they are named after the job and live as long as it.

use std::path::Path;

use cairn_trainer::job;

use crate::store::training::StoredTraining;

/// A result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResultFile {
    /// Loss, rate and held-out loss by step, as CSV.
    Metrics,
    /// The evaluation, as JSON.
    Evaluation,
    /// The same as a page for people.
    Report,
}

impl ResultFile {
    const ALL: [Self; 3] = [Self::Metrics, Self::Evaluation, Self::Report];

    fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Evaluation => "evaluation",
            Self::Report => "report",
        }
    }

    /// As it is called where it is saved.
    pub(crate) fn filename(self) -> &'static str {
        match self {
            Self::Metrics => "step_metrics.csv",
            Self::Evaluation => "evaluation.json",
            Self::Report => "report.html",
        }
    }

    /// What is in it; none where the job has no such result.
    pub(crate) fn read(self, dir: &Path) -> Option<Vec<u8>> {
        match self {
            Self::Metrics => metrics(dir),
            Self::Evaluation | Self::Report => std::fs::read(dir.join(self.filename())).ok(),
        }
    }

    fn there(self, dir: &Path) -> bool {
        let of = if self == Self::Metrics { "events.jsonl" } else { self.filename() };
        dir.join(of).is_file()
    }
}

/// Ids of the results of a job that has ended well.
pub(crate) fn files(dir: &Path, job: &StoredTraining) -> Vec<String> {
    if job.generation.is_none() {
        return Vec::new();
    }
    let there = ResultFile::ALL.into_iter().filter(|file| file.there(dir));
    there.map(|file| format!("{PREFIX}{}-{}", job.id.trim_start_matches(JOB), file.name())).collect()
}

/// The job and the result that an id names.
pub(crate) fn named(id: &str) -> Option<(String, ResultFile)> {
    let (job, name) = id.strip_prefix(PREFIX)?.rsplit_once('-')?;
    let file = ResultFile::ALL.into_iter().find(|file| file.name() == name)?;
    Some((format!("{JOB}{job}"), file))
}

/// A line a step, with OpenAI's column names.
fn metrics(dir: &Path) -> Option<Vec<u8>> {
    let (entries, _) = job::events(dir, 0).ok()?;
    let mut rows: std::collections::BTreeMap<u64, [String; 3]> = std::collections::BTreeMap::new();
    for entry in &entries {
        let Some(step) = entry.data["step"].as_u64() else { continue };
        let number = |name: &str| entry.data[name].as_f64().map(|value| value.to_string()).unwrap_or_default();
        // A run that was killed repeats the steps since its last checkpoint: the later line counts.
        let row = rows.entry(step).or_default();
        match entry.data["event"].as_str() {
            Some("step") => (row[0], row[1]) = (number("loss"), number("lr")),
            Some("evaluated") => row[2] = number("loss"),
            _ => {}
        }
    }
    let mut csv = "step,train_loss,learning_rate,valid_loss\n".to_owned();
    for (step, [loss, rate, held_out]) in rows {
        csv += &format!("{step},{loss},{rate},{held_out}\n");
    }
    Some(csv.into_bytes())
}

/// What their ids begin with.
const PREFIX: &str = "file-result-";
const JOB: &str = "ftjob-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_its_job_and_result() {
        let (job, file) = named("file-result-0198f-metrics").unwrap();
        assert_eq!((job.as_str(), file), ("ftjob-0198f", ResultFile::Metrics));
        for id in ["file-0198f", "file-result-0198f", "file-result-0198f-rows", "file-result-metrics"] {
            assert_eq!(named(id), None, "{id}");
        }
    }
}

//! What the tests are given: pulled models, dictionaries, a Python with the openai package. `./test` prepares them and
//! names them in the environment.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

/// The chat model, as pulled.
pub const MODEL: &str = "smollm2-135m-instruct";
/// The embedding model, as pulled.
pub const EMBEDDING: &str = "all-minilm-l6-v2";

/// A file or directory of `tests/golden`.
pub fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(path)
}

/// An adapter's directory as an archive, for an upload.
///
/// # Panics
/// It cannot be read.
pub fn pack(dir: &Path) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_dir_all("adapter", dir).expect("a directory can be packed");
    tar.into_inner().expect("a tar")
}

/// The directory of pulled models.
///
/// # Panics
/// It is not prepared.
pub fn models_dir() -> PathBuf {
    let dir = given("CAIRN_TEST_MODELS", "the directory of the pulled models");
    for model in [MODEL, EMBEDDING] {
        let manifest = dir.join(model).join("model.json");
        assert!(manifest.is_file(), "{} is missing; run ./test, which pulls the models", manifest.display());
    }
    dir
}

/// The Python interpreter that has the openai package.
///
/// # Panics
/// It is not prepared.
pub fn python() -> PathBuf {
    given("CAIRN_TEST_PYTHON", "a Python with the openai package")
}

/// The two files of a dictd dictionary.
pub struct Dictionary {
    /// `NAME.index`.
    pub index: PathBuf,
    /// `NAME.dict.dz`.
    pub dict: PathBuf,
}

/// About `entries` entries of a dictionary, spread evenly, and every entry of which `keep` is true of the headword.
/// A dictd index is text, a line a headword, so a part of a dictionary is a part of its index.
///
/// # Panics
/// The dictionaries are not prepared, or `into` cannot be written.
pub fn dictionary(name: &str, into: &Path, entries: usize, keep: impl Fn(&str) -> bool) -> Dictionary {
    let from = given("CAIRN_TEST_DICTS", "the directory of the dictionaries");
    let source = from.join(format!("{name}.index"));
    let index = fs::read_to_string(&source)
        .unwrap_or_else(|error| panic!("{} cannot be read ({error}); run ./test, which fetches it", source.display()));
    let lines: Vec<&str> = index.lines().collect();
    let step = lines.len().checked_div(entries).unwrap_or(usize::MAX).max(1);
    // Several headwords may name one place: that is one entry, and it is wanted or not as a whole.
    let place = |line: &str| line.split_once('\t').map(|(_, place)| place.to_owned());
    let wanted = lines.iter().enumerate().filter(|(number, line)| {
        let headword = line.split('\t').next().unwrap_or_default();
        (entries > 0 && number % step == 0) || headword.starts_with("00-database") || keep(headword)
    });
    let places: HashSet<String> = wanted.filter_map(|(_, line)| place(line)).collect();
    let kept = lines.iter().filter(|line| place(line).is_some_and(|place| places.contains(&place)));
    let text: String = kept.flat_map(|line| [*line, "\n"]).collect();
    let files = Dictionary { index: into.join(format!("{name}.index")), dict: into.join(format!("{name}.dict.dz")) };
    fs::write(&files.index, text).expect("a part of an index can be written");
    fs::copy(from.join(format!("{name}.dict.dz")), &files.dict).expect("the dictionary can be copied");
    files
}

/// Whether a headword is about trees: the entries that a question about B-trees could be mistaken to mean.
pub fn tree_entries(headword: &str) -> bool {
    headword.to_lowercase().contains("tree")
}

pub(crate) fn given(variable: &str, what: &str) -> PathBuf {
    match std::env::var_os(variable) {
        Some(path) if Path::new(&path).exists() => PathBuf::from(path),
        Some(path) => {
            panic!("{variable} names {}, which does not exist; run ./test, which prepares it", path.display())
        }
        None => panic!("{variable} is not set; it names {what}. Run ./test, which prepares it"),
    }
}

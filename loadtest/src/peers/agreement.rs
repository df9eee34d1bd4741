//! Before anything is measured: do the engines compute the same? A fast wrong answer is no figure.

use std::collections::BTreeSet;

use anyhow::ensure;

use crate::{
    Compare,
    cases::Seeds,
    client::Ask,
    engine,
    samples::{Engine, Found},
};

/// Greedy texts of the base and of each of the 8 adapters from Cairn and from llama.cpp.
///
/// Each engine's nine texts must differ from one another: then its adapters do something, and none is taken for another.
/// And unless `compare.chaotic` (a random model, whose best tokens are near each other) most texts must begin alike in
/// both. They need not agree to the last token, because sums are rounded differently; but an adapter that was converted
/// wrongly, or left out, would agree with nothing.
pub(crate) async fn check(compare: &Compare, found: &mut Found, seeds: &mut Seeds) -> anyhow::Result<()> {
    // Sense, not words drawn at random: those send a small model into one repetition whatever its adapter.
    let base = Ask { prompt: PROMPT.to_owned(), ..seeds.ask(32, None, TOKENS) };
    let asks: Vec<Ask> =
        std::iter::once(None).chain((0..8).map(Some)).map(|adapter| Ask { adapter, ..base.clone() }).collect();
    let ours = texts(compare, Engine::Cairn, &asks).await?;
    let theirs = texts(compare, Engine::Llama, &asks).await?;
    for (engine, texts) in [("Cairn", &ours), ("llama.cpp", &theirs)] {
        let different = texts.iter().collect::<BTreeSet<_>>().len();
        ensure!(
            different == asks.len(),
            "{engine} said {different} different texts on the base and 8 adapters: {texts:#?}"
        );
    }
    let Agreement { whole, begun } = Agreement::of(&ours, &theirs);
    ensure!(
        compare.chaotic || begun >= LEAST,
        "only {begun} of {} texts of Cairn and llama.cpp begin alike: {ours:#?} {theirs:#?}",
        asks.len()
    );
    found.notes.push(format!(
        "Before the measurements Cairn and llama.cpp continued one prompt on the base and on each of the 8 adapters, \
         greedily, for {TOKENS} tokens: each engine's 9 texts differed from one another, {begun} of 9 began with the same \
         {WORDS} words in both, {whole} of 9 were equal to the last character{}.",
        if compare.chaotic { " (the best tokens of a random model are near each other, so rounding parts them soon)" } else { "" }
    ));
    Ok(())
}

async fn texts(compare: &Compare, engine: Engine, asks: &[Ask]) -> anyhow::Result<Vec<String>> {
    let running = match engine {
        Engine::Cairn => engine::cairn(compare, "full", 512).await?,
        _ => engine::llama(compare, 8).await?,
    };
    let mut said = Vec::new();
    for ask in asks {
        said.push(running.server.ask(ask).await?.text);
    }
    running.stop().await?;
    Ok(said)
}

/// How many of some texts are equal, and how many begin alike.
#[derive(Debug, PartialEq, Eq)]
struct Agreement {
    whole: usize,
    begun: usize,
}

impl Agreement {
    fn of(ours: &[String], theirs: &[String]) -> Self {
        let count = |same: &dyn Fn(&str, &str) -> bool| ours.iter().zip(theirs).filter(|(a, b)| same(a, b)).count();
        let start = |text: &str| text.split_whitespace().take(WORDS).collect::<Vec<_>>().join(" ");
        Self { whole: count(&|a, b| a.trim() == b.trim()), begun: count(&|a, b| start(a) == start(b)) }
    }
}

/// What is continued.
const PROMPT: &str =
    "The keeper of the lighthouse writes a few lines in the logbook every evening. Tonight the entry says";
/// Generated tokens of each text.
const TOKENS: u32 = 40;
/// Words that are compared as a beginning.
const WORDS: usize = 2;
/// Texts of the nine that must begin alike.
const LEAST: usize = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_part_later_begin_alike() {
        let texts = |texts: [&str; 3]| texts.map(str::to_owned);
        let agreement = Agreement::of(&texts(["a b c", " a b", "a"]), &texts(["a b d", "a b", "b"]));
        assert_eq!(agreement, Agreement { whole: 1, begun: 2 });
    }
}

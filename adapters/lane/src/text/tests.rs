//! Text against the tokenizers crate's own decoding.

use std::path::{Path, PathBuf};

use super::{Detokeniser, Text};

fn tiny(family: &str) -> Text {
    let golden = std::env::var_os("CAIRN_GOLDEN").map(PathBuf::from);
    let golden = golden.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden"));
    Text::load(&golden.join("peft").join(family).join("base"), 512).unwrap()
}

#[test]
fn text_in_parts_is_what_the_tokenizer_decodes_at_once() {
    let text = tiny("llama");
    for round in 0..200_u32 {
        // A letter at the end, so that no character is left open.
        let letter = text.tokenizer.token_to_id("x").unwrap();
        let tokens = (0..60_u32).map(|at| (at * at * 31 + at * 17 + round * 7919) % 512).chain([letter]);
        let tokens: Vec<u32> = tokens.collect();
        let mut detokeniser = Detokeniser::new(text.vocabulary.clone(), Vec::new(), true);
        let parts: String = tokens.iter().map(|token| detokeniser.push(*token)).collect();
        assert_eq!(parts, text.tokenizer.decode(&tokens, true).unwrap());
    }
}

#[test]
fn characters_of_several_tokens_come_whole() {
    let text = tiny("llama");
    let original = "naïve – 日本語 🦀🏔️ ok";
    let tokens = text.tokenizer.encode(original, false).unwrap().get_ids().to_vec();
    let mut detokeniser = Detokeniser::new(text.vocabulary.clone(), Vec::new(), true);
    let parts: Vec<String> = tokens.iter().map(|token| detokeniser.push(*token)).collect();
    assert!(parts.iter().any(String::is_empty), "no character took more than one token: the test shows nothing");
    assert!(parts.iter().all(|part| !part.contains('\u{FFFD}')), "{parts:?}");
    assert_eq!(parts.concat(), original);
}

#[test]
fn ends_are_those_of_the_configuration_and_of_the_template() {
    let text = tiny("llama");
    let end_of_turn = text.tokenizer.token_to_id("<|im_end|>").unwrap();
    assert!(text.ends(2) && text.ends(end_of_turn) && !text.ends(5));
}

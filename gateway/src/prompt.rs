//! How passages enter a prompt: numbered, before the question, in the last user message.
//!
//! Small models follow an instruction that stands next to the question better than one in a system message far above it.

use cairn_adapters::{ChatMessage, Role};

/// A passage as it is shown to the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Its number, from 1.
    pub(crate) n: usize,
    /// Its text, cut to the configured length.
    pub(crate) text: String,
    /// Whether something was cut off.
    pub(crate) truncated: bool,
}

/// Numbers passages and cuts each to `max_chars` characters, at a word's end.
pub(crate) fn number<'a>(texts: impl Iterator<Item = &'a str>, max_chars: usize) -> Vec<Shown> {
    texts
        .enumerate()
        .map(|(index, text)| {
            let (text, truncated) = cut(text.trim(), max_chars);
            Shown { n: index + 1, text, truncated }
        })
        .collect()
}

/// Puts numbered passages before the question in the last user message.
pub(crate) fn chat(messages: Vec<ChatMessage>, passages: &[Shown]) -> Vec<ChatMessage> {
    if passages.is_empty() { messages } else { framed(messages, passages) }
}

/// The same with the instruction even where no passage is left: what differs between two such prompts is passages alone.
pub(crate) fn framed(mut messages: Vec<ChatMessage>, passages: &[Shown]) -> Vec<ChatMessage> {
    if let Some(last) = messages.iter_mut().rev().find(|message| message.role == Role::User) {
        last.content = format!(
            "{}Using the passages above, answer the question in your own words and cite passages like [1].\n\n\
             Question: {}",
            list(passages),
            last.content
        );
    }
    messages
}

/// Puts numbered passages before a text that is to be continued.
pub(crate) fn completion(prompt: &str, passages: &[Shown]) -> String {
    if passages.is_empty() { prompt.to_owned() } else { format!("{}{prompt}", list(passages)) }
}

fn list(passages: &[Shown]) -> String {
    passages.iter().map(|passage| format!("[{}] {}\n\n", passage.n, passage.text)).collect()
}

fn cut(text: &str, max_chars: usize) -> (String, bool) {
    let Some((end, _)) = text.char_indices().nth(max_chars) else { return (text.to_owned(), false) };
    let head = &text[..end];
    let at = head.rfind(char::is_whitespace).filter(|at| *at > end / 2).unwrap_or(end);
    (format!("{} …", head[..at].trim_end()), true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passages_stand_numbered_before_the_last_question() {
        let user = |content: &str| ChatMessage::new(Role::User, content);
        let passages = number(["first text", "second text"].into_iter(), 100);
        let messages = chat(vec![user("earlier"), user("What?")], &passages);
        assert_eq!(messages[0].content, "earlier");
        let last = &messages[1].content;
        let place = |what: &str| last.find(what).unwrap();
        assert!(place("[1] first text") < place("[2] second text"));
        assert!(place("[2] second text") < place("Question: What?"));
    }

    #[test]
    fn long_passages_are_cut_between_words_and_say_so() {
        let shown = &number(["äöü äöü äöü äöü"].into_iter(), 9)[0];
        assert_eq!((shown.text.as_str(), shown.truncated), ("äöü äöü …", true));
        assert!(!number(["short"].into_iter(), 9)[0].truncated);
    }
}

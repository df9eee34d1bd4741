//! Function calls in a model's text, in the syntax that it was trained on. What turns out to be no call stays text.

use cairn_adapters::{Tool, ToolCall};
use rand::{Rng, distr::Alphanumeric};
use serde_json::Value;

/// How a model writes calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallSyntax {
    /// `<tool_call>{"name", "arguments"}</tool_call>`: Hermes, Qwen.
    Hermes,
    /// `[TOOL_CALLS][{"name", "arguments"}, …]`, to the end: Mistral.
    Mistral,
    /// The whole answer is `{"name", "parameters"}`, after `<|python_tag|>` or nothing: Llama 3.
    Llama,
    /// The whole answer is one call, because it was constrained to be.
    Whole,
}

impl CallSyntax {
    /// By what the chat template writes for earlier calls.
    pub(crate) fn of(template: &str) -> Self {
        if template.contains("[TOOL_CALLS]") {
            Self::Mistral
        } else if template.contains("<|python_tag|>") || template.contains("Environment: ipython") {
            Self::Llama
        } else {
            Self::Hermes
        }
    }

    /// What begins a call, and what ends it; to the end of the answer where nothing does.
    fn marks(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Hermes => ("<tool_call>", Some("</tool_call>")),
            Self::Mistral => ("[TOOL_CALLS]", None),
            Self::Llama => ("<|python_tag|>", None),
            Self::Whole => ("", None),
        }
    }

    /// The token that begins a call: text for the parser even where the tokenizer calls it special.
    pub(crate) fn marker(self) -> Option<&'static str> {
        Some(self.marks().0).filter(|mark| !mark.is_empty())
    }
}

/// Text or a call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    Text(String),
    Call(ToolCall),
}

/// Finds the calls in one answer.
pub(crate) struct CallParser {
    syntax: CallSyntax,
    /// Functions that may be called.
    names: Vec<String>,
    /// Text that may be the beginning of a call, or is.
    held: String,
    /// Within a call, the mark that began it.
    inside: Option<&'static str>,
    /// Nothing but white space came yet.
    at_start: bool,
}

impl CallParser {
    pub(crate) fn new(syntax: CallSyntax, tools: &[Tool]) -> Self {
        let names = tools.iter().map(|tool| tool.name.clone()).collect();
        let inside = (syntax == CallSyntax::Whole).then_some("");
        Self { syntax, names, held: String::new(), inside, at_start: true }
    }

    /// Takes more of the answer and gives back what is certain.
    pub(crate) fn push(&mut self, text: &str) -> Vec<Piece> {
        self.held.push_str(text);
        let (begin, end) = self.syntax.marks();
        let mut pieces = Vec::new();
        loop {
            if let Some(begun) = self.inside {
                let Some((end, at)) = end.and_then(|end| Some((end, self.held.find(end)?))) else { return pieces };
                let rest = self.held.split_off(at + end.len());
                let whole = std::mem::replace(&mut self.held, rest);
                self.inside = None;
                pieces.extend(self.calls_or_text(&whole[..at], &format!("{begun}{whole}")));
                continue;
            }
            if self.at_start && !self.held.trim_start().is_empty() {
                self.at_start = false;
                if self.syntax == CallSyntax::Llama && self.held.trim_start().starts_with('{') {
                    self.inside = Some("");
                    continue;
                }
            }
            if let Some(at) = self.held.find(begin) {
                let rest = self.held.split_off(at + begin.len());
                let before = std::mem::replace(&mut self.held, rest);
                // White space before a call belongs to its form.
                push_text(&mut pieces, before[..at].trim_end());
                self.inside = Some(begin);
                continue;
            }
            let certain = self.held.trim_end().len().min(self.held.len() - overlap(&self.held, begin));
            let certain = self.held[..certain].trim_end().len();
            let rest = self.held.split_off(certain);
            push_text(&mut pieces, &std::mem::replace(&mut self.held, rest));
            return pieces;
        }
    }

    /// What is left when the answer has ended.
    pub(crate) fn finish(&mut self) -> Vec<Piece> {
        let held = std::mem::take(&mut self.held);
        match self.inside.take() {
            Some(begun) => self.calls_or_text(&held, &format!("{begun}{held}")),
            None if held.is_empty() => Vec::new(),
            None => vec![Piece::Text(held)],
        }
    }

    /// The calls in `json`, or `text` where that is not what it holds.
    fn calls_or_text(&self, json: &str, text: &str) -> Vec<Piece> {
        let value: Option<Value> = serde_json::from_str(json.trim()).ok();
        let calls: Option<Vec<Piece>> = value.and_then(|value| {
            let several = if let Value::Array(several) = value { several } else { vec![value] };
            several.iter().map(|call| self.call(call).map(Piece::Call)).collect()
        });
        match calls.filter(|calls| !calls.is_empty()) {
            Some(calls) => calls,
            None => vec![Piece::Text(text.to_owned())],
        }
    }

    fn call(&self, call: &Value) -> Option<ToolCall> {
        let name = call["name"].as_str().filter(|name| self.names.iter().any(|known| known == name))?;
        let arguments = call.get("arguments").or_else(|| call.get("parameters"))?;
        // Some models write the arguments as a string of JSON.
        let arguments = arguments.as_str().map_or_else(|| arguments.to_string(), str::to_owned);
        let id: String = rand::rng().sample_iter(Alphanumeric).take(24).map(char::from).collect();
        Some(ToolCall { id: format!("call_{id}"), name: name.to_owned(), arguments })
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// Bytes of the longest end of `text` that is a beginning of `mark`; marks are ASCII.
fn overlap(text: &str, mark: &str) -> usize {
    (1..mark.len().min(text.len() + 1)).rev().find(|length| text.ends_with(&mark[..*length])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools() -> Vec<Tool> {
        ["weather", "time"]
            .map(|name| Tool { name: name.into(), description: None, parameters: serde_json::json!({}) })
            .to_vec()
    }

    /// Text and calls of an answer that comes in parts cut at every `step` characters.
    fn parsed(syntax: CallSyntax, answer: &str, step: usize) -> (String, Vec<(String, String)>) {
        let mut parser = CallParser::new(syntax, &tools());
        let characters: Vec<char> = answer.chars().collect();
        let mut pieces: Vec<Piece> =
            characters.chunks(step).flat_map(|part| parser.push(&part.iter().collect::<String>())).collect();
        pieces.extend(parser.finish());
        let (mut text, mut calls) = (String::new(), Vec::new());
        for piece in pieces {
            match piece {
                Piece::Text(part) => text.push_str(&part),
                Piece::Call(call) => calls.push((call.name, call.arguments)),
            }
        }
        (text, calls)
    }

    fn call(name: &str, arguments: &str) -> (String, String) {
        (name.to_owned(), arguments.to_owned())
    }

    #[test]
    fn calls_are_found_wherever_the_answer_is_cut() {
        let hermes = "Let me see – \n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"town\": \"Ulm\"}}\n</tool_call>\n\
                      <tool_call>{\"name\": \"time\", \"arguments\": {}}</tool_call>";
        let mistral = "[TOOL_CALLS][{\"name\": \"weather\", \"arguments\": {\"town\": \"Ulm\"}}, {\"name\": \"time\", \"arguments\": {}}]";
        let llama = " {\"name\": \"time\", \"parameters\": {\"zone\": 1}}";
        let weather = call("weather", "{\"town\":\"Ulm\"}");
        for step in 1..40 {
            let (text, calls) = parsed(CallSyntax::Hermes, hermes, step);
            assert_eq!((text.trim_end(), calls), ("Let me see –", vec![weather.clone(), call("time", "{}")]), "{step}");
            let (text, calls) = parsed(CallSyntax::Mistral, mistral, step);
            assert_eq!((text.as_str(), calls), ("", vec![weather.clone(), call("time", "{}")]), "{step}");
            let (text, calls) = parsed(CallSyntax::Llama, llama, step);
            assert_eq!((text.as_str(), calls), ("", vec![call("time", "{\"zone\":1}")]), "{step}");
        }
    }

    #[test]
    fn what_is_no_call_stays_text() {
        for (syntax, answer) in [
            (CallSyntax::Hermes, "a < b and <tool_ is no <b>tool</b>  \n"),
            (CallSyntax::Hermes, "<tool_call>{\"name\": \"unknown\", \"arguments\": {}}</tool_call> after"),
            (CallSyntax::Hermes, "<tool_call>{\"name\": \"time\", "),
            (CallSyntax::Mistral, "[TOOL_CALLS] not JSON"),
            (CallSyntax::Llama, "{\"answer\": 42}"),
            (CallSyntax::Llama, "<|python_tag|>print(1)"),
            (CallSyntax::Llama, "plain {\"name\": \"time\", \"parameters\": {}}"),
            (CallSyntax::Whole, "{\"name\": \"ti"),
        ] {
            for step in 1..12 {
                assert_eq!(parsed(syntax, answer, step), (answer.to_owned(), vec![]), "{syntax:?} {step}");
            }
        }
    }

    #[test]
    fn templates_tell_the_syntax() {
        assert_eq!(CallSyntax::of("{{ '<tool_call>' }}"), CallSyntax::Hermes);
        assert_eq!(CallSyntax::of("{{ '[TOOL_CALLS]' }}"), CallSyntax::Mistral);
        assert_eq!(CallSyntax::of("{{ 'Environment: ipython' }}"), CallSyntax::Llama);
    }
}

//! Rows of a file to masked examples with a real model's tokenizer and chat template: SmolLM2's.

use std::{ops::Range, path::PathBuf};

use cairn_trainer::data::{
    Chat, Content, DataError, Limits, Message, Renderer, Role, Row, Split, SplitOptions, TooLong, ValidationOptions,
    prepare, read,
};
use minijinja::{Environment, context};
use tokenizers::Tokenizer;

/// A tokenizer with a template.
struct Model {
    tokenizer: Tokenizer,
    environment: Environment<'static>,
}

impl Model {
    fn with(template: &str) -> Self {
        let tokenizer = Tokenizer::from_file(directory().join("tokenizer.json")).expect("a tokenizer");
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        if !template.is_empty() {
            environment.add_template_owned("chat", template.to_owned()).expect("a template");
        }
        Self { tokenizer, environment }
    }

    fn smollm2() -> Self {
        Self::with(&std::fs::read_to_string(directory().join("chat_template.jinja")).expect("the template"))
    }
}

impl Chat for Model {
    fn has_template(&self) -> bool {
        self.environment.get_template("chat").is_ok()
    }

    fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, String> {
        let template = self.environment.get_template("chat").map_err(|error| error.to_string())?;
        template.render(context! { messages, add_generation_prompt }).map_err(|error| error.to_string())
    }

    fn encode(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>, String> {
        let encoding = self.tokenizer.encode(text, false).map_err(|error| error.to_string())?;
        Ok(encoding.get_ids().iter().copied().zip(encoding.get_offsets().iter().map(|(a, b)| *a..*b)).collect())
    }

    fn text_ends(&self) -> [&str; 2] {
        ["", "<|im_end|>"]
    }
}

/// The files of SmolLM2 among the pulled models: without them nothing here is tested, so their absence is a failure.
fn directory() -> PathBuf {
    let models = std::env::var_os("CAIRN_TEST_MODELS")
        .expect("CAIRN_TEST_MODELS names the directory of the pulled models; run ./test");
    PathBuf::from(models).join("smollm2-135m-instruct/serving")
}

fn chat(id: &str, turns: &[(Role, &str)]) -> Row {
    let messages = turns.iter().map(|(role, text)| Message::new(*role, *text)).collect();
    Row { id: id.to_owned(), line: 0, content: Content::Chat(messages) }
}

use Role::{Assistant, System, User};

#[test]
fn only_answers_and_their_ends_are_learnt() {
    let model = Model::smollm2();
    let row = chat(
        "a",
        &[(System, "Be kind."), (User, "Größe?"), (Assistant, "Naïve 量子."), (User, "b"), (Assistant, "Two.")],
    );
    let rendered = Renderer::new(&model).render(&row).unwrap();
    let segments: Vec<(String, bool)> = rendered.segments().into_iter().map(|it| (it.text, it.supervised)).collect();
    let expected = [
        ("<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nGröße?<|im_end|>\n<|im_start|>assistant\n", false),
        ("Naïve 量子.<|im_end|>", true),
        ("\n<|im_start|>user\nb<|im_end|>\n<|im_start|>assistant\n", false),
        ("Two.<|im_end|>", true),
        ("\n", false),
    ];
    assert_eq!(segments, expected.map(|(text, on)| (text.to_owned(), on)));
    // By tokens: what is learnt decodes to the answers, ends of turns with them.
    let learnt: Vec<u32> =
        rendered.example.tokens.iter().zip(&rendered.example.supervised).filter(|it| *it.1).map(|it| *it.0).collect();
    assert_eq!(model.tokenizer.decode(&learnt, false).unwrap(), "Naïve 量子.<|im_end|>Two.<|im_end|>");
    // With the prompts: the same tokens, and all of them but the template's last white space.
    let whole = Renderer::new(&model).learning_prompts(true).render(&row).unwrap();
    assert_eq!(whole.example.tokens, rendered.example.tokens);
    let segments: Vec<(String, bool)> = whole.segments().into_iter().map(|it| (it.text, it.supervised)).collect();
    let all = expected.map(|(text, _)| text).concat();
    assert_eq!(segments, [(all.trim_end().to_owned(), true), ("\n".to_owned(), false)]);
    assert_eq!(rendered.supervised_bytes(), "Naïve 量子.<|im_end|>Two.<|im_end|>".len());
}

#[test]
fn a_message_of_weight_zero_is_not_learnt_and_the_last_answer_is_the_question() {
    let model = Model::smollm2();
    let line = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "One", "weight": 0}, {"role": "user", "content": "b"}, {"role": "assistant", "content": "Two"}]}"#;
    let data = read(line.as_bytes(), None, &Limits::default()).unwrap();
    let renderer = Renderer::new(&model);
    let segments = renderer.render(&data.rows[0]).unwrap().segments();
    let learnt: Vec<&str> = segments.iter().filter(|it| it.supervised).map(|it| it.text.as_str()).collect();
    assert_eq!(learnt, ["Two<|im_end|>"]);
    let question = renderer.question(&data.rows[0]).unwrap().unwrap();
    assert!(question.prompt.ends_with("One<|im_end|>\n<|im_start|>user\nb<|im_end|>\n<|im_start|>assistant\n"));
    assert_eq!(question.reference, "Two");
}

#[test]
fn completions_and_text_work_without_a_template_and_conversations_are_refused() {
    let model = Model::with("");
    let renderer = Renderer::new(&model);
    let content = Content::Completion { prompt: "2 + 2 =".into(), completion: " 4".into() };
    let row = Row { id: "a".into(), line: 1, content };
    let segments = renderer.render(&row).unwrap().segments();
    let texts: Vec<(&str, bool)> = segments.iter().map(|it| (it.text.as_str(), it.supervised)).collect();
    assert_eq!(texts, [("2 + 2 =", false), (" 4<|im_end|>", true)]);
    assert_eq!(renderer.question(&row).unwrap().unwrap().prompt, "2 + 2 =");
    assert!(Renderer::new(&model).learning_prompts(true).render(&row).unwrap().example.supervised.iter().all(|on| *on));
    let row = Row { id: "b".into(), line: 2, content: Content::Text("All of it.".into()) };
    assert!(renderer.render(&row).unwrap().example.supervised.iter().all(|on| *on));
    assert!(renderer.render(&chat("c", &[(User, "a"), (Assistant, "b")])).unwrap_err().contains("no chat template"));
}

#[test]
fn templates_that_rewrite_earlier_turns_are_refused_where_they_do() {
    let source = "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' and not loop.last %}\
                  {{ m.content.split('</think>')[-1] }}{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}\
                  {% if add_generation_prompt %}<assistant><think>\n{% endif %}";
    let model = Model::with(source);
    let renderer = Renderer::new(&model);
    let error = renderer.render(&chat("a", &[(User, "q"), (Assistant, "hm</think>A"), (User, "r"), (Assistant, "B")]));
    assert!(error.unwrap_err().contains("the chat template writes message 1 otherwise once further messages follow"));
    // The generation prompt begins the reasoning, the rendered answer does not: the answer is found by its text.
    let segments = renderer.render(&chat("b", &[(User, "A"), (Assistant, "A")])).unwrap().segments();
    let texts: Vec<(&str, bool)> = segments.iter().map(|it| (it.text.as_str(), it.supervised)).collect();
    assert_eq!(texts, [("<user>A<|im_end|>\n<assistant>", false), ("A<|im_end|>", true), ("\n", false)]);
    let model = Model::with("{% for m in messages %}{{ m.content | upper }}\n{% endfor %}");
    let error = Renderer::new(&model).render(&chat("c", &[(User, "q"), (Assistant, "a")])).unwrap_err();
    assert!(error.contains("changes or drops part of the answer"), "{error}");
}

#[test]
fn preparation_counts_cuts_and_finds_duplicates_and_overlap() {
    let model = Model::smollm2();
    let long = "word ".repeat(200);
    let rows = [
        chat("a", &[(User, "q"), (Assistant, "Yes.")]),
        chat("b", &[(User, "q"), (Assistant, "Yes.")]),
        chat("c", &[(User, "q"), (Assistant, &long)]),
        chat("d", &[(User, &long), (Assistant, "Beyond.")]),
    ];
    let options = ValidationOptions { max_length: 64, samples: 1, ..ValidationOptions::default() };
    let prepared = prepare(&model, &rows, &rows[..1], &options).unwrap();
    let report = &prepared.report;
    assert_eq!((report.rows, report.train_rows, report.held_out_rows, report.bad_rows), (5, 3, 1, 1));
    assert!(report.bad[0].row == "d" && report.bad[0].reason.contains("beyond its first 64 tokens"));
    assert_eq!(
        (report.duplicate_rows, report.duplicates[0].row.as_str(), report.duplicates[0].of.as_str()),
        (1, "b", "a")
    );
    assert_eq!((report.overlap_rows, report.overlap[0].of.as_str()), (1, "a"));
    assert_eq!((report.too_long_rows, prepared.train[2].tokens.len()), (2, 64));
    assert_eq!(report.train_tokens, prepared.train.iter().map(|it| it.tokens.len()).sum::<usize>());
    // "Yes", "." and the end of the turn.
    assert_eq!(report.held_out_supervised_tokens, 3);
    assert!(
        report.tokens.min == report.tokens.median && report.tokens.max > 200 && report.tokens.p95 == report.tokens.max
    );
    assert_eq!(report.samples.len(), 1);
    assert_eq!(prepared.held_out[0].question.as_ref().unwrap().reference, "Yes.");
    assert_eq!(prepared.held_out[0].supervised_bytes, "Yes.<|im_end|>".len());
    let json = serde_json::to_string(report).unwrap();
    assert_eq!(serde_json::from_str::<cairn_trainer::data::Validation>(&json).unwrap(), *report);

    let dropped = prepare(&model, &rows, &[], &ValidationOptions { too_long: TooLong::Drop, ..options }).unwrap();
    assert_eq!((dropped.train.len(), dropped.report.bad_rows), (2, 0));
    let error = prepare(&model, &rows, &[], &ValidationOptions { too_long: TooLong::Error, ..options }).unwrap_err();
    assert!(error.to_string().starts_with("2 rows are longer than 64 tokens, the first in c"), "{error}");
    let error = prepare(&model, &rows[3..], &[], &options).unwrap_err();
    assert!(matches!(error, DataError::NothingUsable { rows: 1, .. }), "{error}");
    assert!(matches!(prepare(&model, &[], &[], &options), Err(DataError::NothingSupervised { rows: 0 })));
}

#[test]
fn a_file_becomes_examples() {
    let model = Model::smollm2();
    let line = |i: usize| {
        format!(r#"{{"instruction": "Count to {i}", "input": "", "output": "{}"}}"#, "1 2 3 ".repeat(i % 9 + 1))
    };
    let text: String = (0..60).map(|i| line(i) + "\n").chain(["{\n".to_owned()]).collect();
    let data = read(text.as_bytes(), None, &Limits::default()).unwrap();
    let split =
        Split::new(data.rows.iter().map(|row| row.id.as_str()), SplitOptions { validation: 0.2, seed: 7 }).unwrap();
    let choose = |places: &[usize]| -> Vec<Row> { places.iter().map(|place| data.rows[*place].clone()).collect() };
    let prepared =
        prepare(&model, &choose(&split.train), &choose(&split.validation), &ValidationOptions::default()).unwrap();
    let report = prepared.report.after_reading(&data);
    assert_eq!((report.rows, report.bad_rows, report.bad[0].line), (61, 1, 61));
    assert_eq!(report.train_rows + report.held_out_rows, 60);
    let lengths: Vec<usize> = prepared.train.iter().map(|example| example.tokens.len()).collect();
    assert_eq!(lengths.iter().sum::<usize>(), report.train_tokens);
}

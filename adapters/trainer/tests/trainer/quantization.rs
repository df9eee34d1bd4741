//! NF4 against bitsandbytes.

use cairn_trainer::{
    dynamic::{Blockwise, SIGNED},
    nf4::{Nf4, Scales},
};
use serde::Deserialize;

use crate::support::{golden, json};

#[derive(Deserialize)]
struct Reference {
    weight: Vec<f32>,
    packed: Vec<u8>,
    absmax: Vec<f32>,
    dequantized: Vec<f32>,
    double: Double,
}

#[derive(Deserialize)]
struct Double {
    packed: Vec<u8>,
    absmax_codes: Vec<u8>,
    offset: f32,
    nested_absmax: Vec<f32>,
    code: Vec<f32>,
    dequantized: Vec<f32>,
}

fn dequantized(stored: &Nf4) -> Vec<f32> {
    let mut values = vec![0.0; stored.len];
    stored.dequantize(0..stored.len, &mut values);
    values
}

#[test]
fn nf4_has_the_bytes_and_values_of_bitsandbytes() {
    let reference: Reference = json(&golden().join("nf4.json"));
    let stored = Nf4::quantize(&reference.weight, false);
    assert_eq!(stored.packed, reference.packed);
    assert_eq!(stored.scales, Scales::Plain(reference.absmax));
    assert_eq!(dequantized(&stored), reference.dequantized);
}

/// The mean of the scales is a sum in torch's own order: it may differ in the last digit, and with it a scale that lies halfway
/// between two codes. Everything else is exact.
#[test]
fn double_quantization_has_the_bytes_and_values_of_bitsandbytes() {
    let reference: Reference = json(&golden().join("nf4.json"));
    let double = reference.double;
    assert_eq!(SIGNED.as_slice(), double.code);
    let stored = Nf4::quantize(&reference.weight, true);
    assert_eq!(stored.packed, double.packed);
    let Scales::Double { stored: scales, offset } = &stored.scales else { panic!("asked for double quantization") };
    assert!((offset - double.offset).abs() <= f32::EPSILON * double.offset, "{offset} and {}", double.offset);
    let pairs = || scales.codes.iter().zip(&double.absmax_codes);
    assert!(pairs().all(|(a, b)| a.abs_diff(*b) <= 1));
    assert!(pairs().filter(|(a, b)| a != b).count() <= 1);
    assert!(scales.scales.iter().zip(&double.nested_absmax).all(|(a, b)| (a - b).abs() < 1e-7));

    let scales = Blockwise { codes: double.absmax_codes, scales: double.nested_absmax };
    let scales = Scales::Double { stored: scales, offset: double.offset };
    let theirs = Nf4 { packed: double.packed, scales, len: double.dequantized.len() };
    assert_eq!(dequantized(&theirs), double.dequantized);
}

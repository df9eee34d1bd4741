//! GGUF files: quantizations without a SIMD path rewritten, tokenizer and template written beside them.

use std::{fs::File, io::BufWriter, path::Path};

use mistralrs_candle::{
    Device,
    quantized::{
        GgmlDType, QTensor,
        gguf_file::{self, Content, Value},
    },
};

use super::{BYTES_A_TOKEN, NormaliseError, Served, link, most, vocabulary};
use crate::manifest::{Format, Kind};

/// No SIMD kernel in candle 0.10.
const SLOW: [GgmlDType; 3] = [GgmlDType::Q4_1, GgmlDType::Q5_0, GgmlDType::Q5_1];
const FLOATS: [GgmlDType; 3] = [GgmlDType::F32, GgmlDType::F16, GgmlDType::BF16];
/// What they become in a large model: it has one, and keeps their values to half a step in 127.
const INSTEAD: GgmlDType = GgmlDType::Q8_0;
/// A model that takes no more than this in float32 is served in it, whatever it was quantized to. Against Q8_0, mistral.rs
/// 0.8.1 then reads a prompt 2.3 to 3.2 times as fast and writes at 0.4 to 0.65 of the speed (`examples/gguf_forms.rs`): a
/// gain when the prompt is four times as long as the answer, as it is when passages are retrieved into it.
const SMALL: u64 = 1 << 30;

pub(super) fn normalise(original: &Path, serving: &Path, name: &str) -> Result<Served, NormaliseError> {
    let path = original.join(name);
    let content = Content::read(&mut open(&path)?)?;
    let text = |key: &str| content.metadata.get(key).and_then(|value| value.to_string().ok()).cloned();
    let missing = |field: &str| NormaliseError::Field { path: path.clone(), field: field.to_owned() };
    let family = text("general.architecture").ok_or_else(|| missing("general.architecture"))?;
    let key = format!("{family}.context_length");
    let context = content.metadata.get(&key).and_then(|value| value.to_u32().ok()).ok_or_else(|| missing(&key))?;

    let mut changes = Vec::new();
    let is = |info: &gguf_file::TensorInfo, types: &[GgmlDType]| types.contains(&info.ggml_dtype);
    let count =
        |which: &dyn Fn(&gguf_file::TensorInfo) -> bool| content.tensor_infos.values().filter(|it| which(it)).count();
    let slow = count(&|info| is(info, &SLOW));
    let quantized = count(&|info| !is(info, &FLOATS));
    let numbers: u64 = content.tensor_infos.values().map(|info| info.shape.elem_count() as u64).sum();
    let target = serving.join(name);
    if quantized > 0 && numbers * 4 <= SMALL {
        requantize(&path, &target, |of| (!FLOATS.contains(&of)).then_some(GgmlDType::F32))?;
        changes
            .push(format!("{quantized} quantized tensors kept in float32: a small model reads prompts faster in it"));
    } else if slow > 0 {
        requantize(&path, &target, |of| SLOW.contains(&of).then_some(INSTEAD))?;
        changes.push(format!(
            "{slow} tensors in Q4_1, Q5_0 or Q5_1 requantized to {INSTEAD:?}: those have no SIMD kernel, and it keeps their values"
        ));
    } else {
        link(&path, &target)?;
    }
    vocabulary::write(&content, original, serving, &mut changes)?;

    let served = Content::read(&mut open(&target)?)?;
    let counts = |info: &gguf_file::TensorInfo| (format!("{:?}", info.ggml_dtype), info.shape.elem_count() as u64);
    let bytes = |info: &gguf_file::TensorInfo| match info.ggml_dtype {
        // Computed with, and so kept, in float32.
        GgmlDType::F16 | GgmlDType::BF16 => info.shape.elem_count() as u64 * 4,
        of => (info.shape.elem_count() / of.block_size() * of.type_size()) as u64,
    };
    let vocabulary = match content.metadata.get("tokenizer.ggml.tokens") {
        Some(Value::Array(tokens)) => tokens.len() as u64,
        _ => 0,
    };
    // The embeddings are looked up in float32, and kept quantized besides where they are the head too.
    let embeddings = served.tensor_infos.get("token_embd.weight").map_or(0, |info| info.shape.elem_count() as u64 * 4);
    Ok(Served {
        kind: Kind::Chat,
        family,
        format: Format::Gguf { file: name.to_owned() },
        context_length: context as usize,
        parameters: served.tensor_infos.values().map(|info| counts(info).1).sum(),
        dtype: most(served.tensor_infos.values().map(counts)),
        memory_bytes: served.tensor_infos.values().map(bytes).sum::<u64>() + embeddings + vocabulary * BYTES_A_TOKEN,
        licence: text("general.license"),
        changes,
    })
}

/// Writes a GGUF file with other types: `instead` says for each type which it becomes, none = it stays. Vectors, which are
/// kept in float32, stay as they are, and so does all else.
///
/// # Errors
/// A file cannot be read or written, or is not GGUF.
pub fn requantize(
    from: &Path,
    to: &Path,
    instead: impl Fn(GgmlDType) -> Option<GgmlDType>,
) -> Result<(), NormaliseError> {
    let device = Device::Cpu;
    let mut file = open(from)?;
    let content = Content::read(&mut file)?;
    let mut names: Vec<&String> = content.tensor_infos.keys().collect();
    names.sort();
    let mut tensors: Vec<(&str, QTensor)> = Vec::with_capacity(names.len());
    let mut counts = Vec::with_capacity(names.len());
    for name in names {
        let tensor = content.tensor(&mut file, name, &device)?;
        let tensor = match instead(tensor.dtype()).filter(|_| tensor.rank() > 1) {
            Some(instead) => QTensor::quantize(&tensor.dequantize(&device)?, instead)?,
            None => tensor,
        };
        counts.push((tensor.dtype(), tensor.shape().elem_count()));
        tensors.push((name, tensor));
    }
    let file_type = Value::U32(file_type(&counts));
    let mut metadata: Vec<(&str, &Value)> = content
        .metadata
        .iter()
        .filter(|(key, _)| *key != "general.file_type")
        .map(|(key, value)| (key.as_str(), value))
        .collect();
    metadata.push(("general.file_type", &file_type));
    metadata.sort_by_key(|(key, _)| *key);
    let borrowed: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
    let io = |error| NormaliseError::io(to, error);
    let mut out = BufWriter::new(File::create(to).map_err(io)?);
    gguf_file::write(&mut out, &metadata, &borrowed)?;
    out.into_inner().map_err(|error| io(error.into_error()))?.sync_all().map_err(io)
}

/// `general.file_type` by the GGUF specification: the type of most numbers.
fn file_type(counts: &[(GgmlDType, usize)]) -> u32 {
    let sum = |of: GgmlDType| counts.iter().filter(|(it, _)| *it == of).map(|(_, count)| count).sum::<usize>();
    let types = [(GgmlDType::F32, 0), (GgmlDType::F16, 1), (GgmlDType::Q4_0, 2), (GgmlDType::Q8_0, 7)];
    let types = types.into_iter().chain([(GgmlDType::Q4K, 15), (GgmlDType::Q5K, 17), (GgmlDType::Q6K, 18)]);
    types.max_by_key(|(of, _)| sum(*of)).map_or(0, |(_, number)| number)
}

fn open(path: &Path) -> Result<File, NormaliseError> {
    File::open(path).map_err(|error| NormaliseError::io(path, error))
}

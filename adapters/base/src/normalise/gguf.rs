//! GGUF files: quantizations without a SIMD path rewritten, tokenizer and template written beside them.

use std::{fs::File, io::BufWriter, path::Path};

use mistralrs_candle::{
    Device,
    quantized::{
        GgmlDType, QTensor,
        gguf_file::{self, Content, Value},
    },
};

use super::{NormaliseError, Served, link, most, vocabulary};
use crate::manifest::{Format, Kind};

/// No SIMD kernel in candle 0.10.
const SLOW: [GgmlDType; 3] = [GgmlDType::Q4_1, GgmlDType::Q5_0, GgmlDType::Q5_1];
/// What they become: it has one, and keeps their values to half a step in 127. `examples/gguf_forms.rs` measures it.
const INSTEAD: GgmlDType = GgmlDType::Q8_0;

pub(super) fn normalise(original: &Path, serving: &Path, name: &str) -> Result<Served, NormaliseError> {
    let path = original.join(name);
    let content = Content::read(&mut open(&path)?)?;
    let text = |key: &str| content.metadata.get(key).and_then(|value| value.to_string().ok()).cloned();
    let missing = |field: &str| NormaliseError::Field { path: path.clone(), field: field.to_owned() };
    let family = text("general.architecture").ok_or_else(|| missing("general.architecture"))?;
    let key = format!("{family}.context_length");
    let context = content.metadata.get(&key).and_then(|value| value.to_u32().ok()).ok_or_else(|| missing(&key))?;

    let mut changes = Vec::new();
    let slow = content.tensor_infos.values().filter(|info| SLOW.contains(&info.ggml_dtype)).count();
    let target = serving.join(name);
    if slow == 0 {
        link(&path, &target)?;
    } else {
        requantize(&path, &target, INSTEAD)?;
        changes.push(format!(
            "{slow} tensors in Q4_1, Q5_0 or Q5_1 requantized to {INSTEAD:?}: those have no SIMD kernel, and it keeps their values"
        ));
    }
    vocabulary::write(&content, original, serving, &mut changes)?;

    let served = Content::read(&mut open(&target)?)?;
    let counts = |info: &gguf_file::TensorInfo| (format!("{:?}", info.ggml_dtype), info.shape.elem_count() as u64);
    let bytes = |info: &gguf_file::TensorInfo| {
        let blocks = info.shape.elem_count() / info.ggml_dtype.block_size();
        (blocks * info.ggml_dtype.type_size()) as u64
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
        memory_bytes: served.tensor_infos.values().map(bytes).sum::<u64>() + embeddings,
        licence: text("general.license"),
        changes,
    })
}

/// Writes a GGUF file whose tensors in Q4_1, Q5_0 and Q5_1 are in another type; all else stays as it is.
///
/// # Errors
/// A file cannot be read or written, or is not GGUF.
pub fn requantize(from: &Path, to: &Path, instead: GgmlDType) -> Result<(), NormaliseError> {
    let device = Device::Cpu;
    let mut file = open(from)?;
    let content = Content::read(&mut file)?;
    let mut names: Vec<&String> = content.tensor_infos.keys().collect();
    names.sort();
    let mut tensors: Vec<(&str, QTensor)> = Vec::with_capacity(names.len());
    for name in names {
        let tensor = content.tensor(&mut file, name, &device)?;
        let slow = SLOW.contains(&tensor.dtype());
        let tensor = if slow { QTensor::quantize(&tensor.dequantize(&device)?, instead)? } else { tensor };
        tensors.push((name, tensor));
    }
    let file_type = Value::U32(file_type(instead));
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

/// `general.file_type`, by the GGUF specification.
fn file_type(of: GgmlDType) -> u32 {
    match of {
        GgmlDType::F32 => 0,
        GgmlDType::F16 => 1,
        GgmlDType::Q4_0 => 2,
        GgmlDType::Q4K => 15,
        GgmlDType::Q6K => 18,
        _ => 7,
    }
}

fn open(path: &Path) -> Result<File, NormaliseError> {
    File::open(path).map_err(|error| NormaliseError::io(path, error))
}

"""A GGUF file of random weights with the shapes of Llama-3.2-1B: python random_checkpoint.py VOCABULARY.gguf Q8_0|Q4_K TO.gguf

Hidden 2048, 16 layers, 32 heads, 8 key heads, feed-forward 8192: every row divides into blocks of 256. The vocabulary
(tokens and tokenizer) is that of VOCABULARY.gguf, smaller than Llama's 128,256, and the head is a matrix of its own: a tied
one would make a random model repeat its last token for ever. Blocks are drawn as bytes, in seconds; nothing is quantized.
Only tokens of plain printable text have logits, so that every token that is chosen is text at once.
"""

import os
import sys

import gguf
import numpy

HIDDEN, LAYERS, HEADS, KV_HEADS, FFN = 2048, 16, 32, 8, 8192
KV = HIDDEN // HEADS * KV_HEADS
LINEARS = {
    "attn_q": (HIDDEN, HIDDEN),
    "attn_k": (KV, HIDDEN),
    "attn_v": (KV, HIDDEN),
    "attn_output": (HIDDEN, HIDDEN),
    "ffn_gate": (FFN, HIDDEN),
    "ffn_up": (FFN, HIDDEN),
    "ffn_down": (HIDDEN, FFN),
}


def q8_0(random: numpy.random.Generator, rows: int, columns: int, deviation: float) -> numpy.ndarray:
    """Blocks of one f16 scale and 32 signed bytes. Uniform bytes have a deviation of 73.9."""
    blocks = random.integers(0, 256, (rows, columns // 32, 34), dtype=numpy.uint8)
    blocks[:, :, :2] = half(deviation / 73.9)
    return blocks.reshape(rows, -1)


def q4_k(random: numpy.random.Generator, rows: int, columns: int, deviation: float) -> numpy.ndarray:
    """Super-blocks of d, dmin, twelve bytes of scales and minima (all 63), and 256 nibbles: 63 (d q - dmin). Uniform
    nibbles have a mean of 7.5 and a deviation of 4.61."""
    blocks = random.integers(0, 256, (rows, columns // 256, 144), dtype=numpy.uint8)
    step = deviation / 4.61 / 63
    blocks[:, :, 0:2] = half(step)
    blocks[:, :, 2:4] = half(7.5 * step)
    blocks[:, :, 4:16] = 0xFF
    return blocks.reshape(rows, -1)


def half(value: float) -> numpy.ndarray:
    return numpy.frombuffer(numpy.float16(value).tobytes(), dtype=numpy.uint8)


def plain(token: str) -> bool:
    """A token of printable ASCII, perhaps after a space, as byte-level BPE writes it."""
    text = token.removeprefix("\u0120")
    return text.isascii() and text.isalpha()


def main(vocabulary: str, form: str, target: str) -> None:
    kind = {"Q8_0": gguf.GGMLQuantizationType.Q8_0, "Q4_K": gguf.GGMLQuantizationType.Q4_K}[form]
    file_type = {"Q8_0": gguf.LlamaFileType.MOSTLY_Q8_0, "Q4_K": gguf.LlamaFileType.MOSTLY_Q4_K_M}[form]
    draw = {"Q8_0": q8_0, "Q4_K": q4_k}[form]
    random = numpy.random.default_rng(1)
    reader = gguf.GGUFReader(vocabulary)
    partial = target + ".partial"
    writer = gguf.GGUFWriter(partial, "llama")
    for field in reader.fields.values():
        if field.name.startswith("tokenizer."):
            array = field.types[0] == gguf.GGUFValueType.ARRAY
            writer.add_key_value(
                field.name, field.contents(), field.types[0], sub_type=field.types[-1] if array else None
            )
    tokens = reader.get_field("tokenizer.ggml.tokens").contents()
    writer.add_name("random-1b")
    writer.add_file_type(file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_block_count(LAYERS)
    writer.add_context_length(8192)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(500000.0)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    add = lambda name, data: writer.add_tensor(name, data, raw_dtype=kind)
    norm = lambda name: writer.add_tensor(name, numpy.ones(HIDDEN, dtype=numpy.float32))
    add("token_embd.weight", draw(random, len(tokens), HIDDEN, 1.0))
    head = draw(random, len(tokens), HIDDEN, HIDDEN**-0.5)
    mute = numpy.array([not plain(token) for token in tokens])
    # A scale of zero makes a logit of zero, which the best of thousands of random ones exceeds.
    per_block = {"Q8_0": (34, slice(0, 2)), "Q4_K": (144, slice(0, 4))}[form]
    blocks = head.reshape(len(tokens), -1, per_block[0])
    blocks[mute, :, per_block[1]] = 0
    add("output.weight", head)
    norm("output_norm.weight")
    for layer in range(LAYERS):
        norm(f"blk.{layer}.attn_norm.weight")
        norm(f"blk.{layer}.ffn_norm.weight")
        for name, (rows, columns) in LINEARS.items():
            add(f"blk.{layer}.{name}.weight", draw(random, rows, columns, columns**-0.5))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(partial, target)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""PEFT directories of a Llama base as llama.cpp reads adapters: python lora_to_gguf.py HEADS KV_HEADS DIRECTORY…

Writes DIRECTORY.gguf. What llama.cpp's convert_lora_to_gguf.py writes for these tensors, without the torch and the
original checkpoint that it asks for.
"""

import json
import os
import pathlib
import sys

import gguf
import numpy
from safetensors.numpy import load_file

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def permuted(rows: numpy.ndarray, heads: int) -> numpy.ndarray:
    """Rows of q and k in the order of interleaved RoPE, as GGUF files of Llama have them."""
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def convert(directory: pathlib.Path, heads: int, kv_heads: int) -> None:
    config = json.loads((directory / "adapter_config.json").read_text())
    target = directory.with_name(directory.name + ".gguf")
    partial = target.with_suffix(".partial")
    writer = gguf.GGUFWriter(partial, "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(config["lora_alpha"]))
    for name, tensor in load_file(directory / "adapter_model.safetensors").items():
        layer, module, factor = split(name)
        if factor == "lora_b" and module in ("attn_q", "attn_k"):
            tensor = permuted(tensor, heads if module == "attn_q" else kv_heads)
        writer.add_tensor(f"blk.{layer}.{module}.weight.{factor}", numpy.ascontiguousarray(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(partial, target)


def split(name: str) -> tuple[int, str, str]:
    """base_model.model.model.layers.7.mlp.up_proj.lora_A.weight: 7, ffn_up, lora_a"""
    parts = name.split(".")
    at = parts.index("layers")
    return int(parts[at + 1]), NAMES[".".join(parts[at + 2 : at + 4])], parts[at + 4].lower()


if __name__ == "__main__":
    for path in sys.argv[3:]:
        convert(pathlib.Path(path), int(sys.argv[1]), int(sys.argv[2]))

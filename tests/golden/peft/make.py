"""Writes the golden files of one family: a tiny random checkpoint, LoRA adapters as PEFT saves them, and what transformers
and PEFT say of both. Needs torch, transformers and peft.

    make.py qwen3 DIR TOKENIZER_DIR

TOKENIZER_DIR is the `base` of another family, whose tokenizer and template are copied. `qwen3` norms each head's queries and
keys before they are rotated; its norm weights are drawn here, because those of a new model are all 1 and would prove nothing.
"""

import json
import pathlib
import shutil
import sys

import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen3Config, Qwen3ForCausalLM

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CONFIGS = {
    "qwen3": (
        Qwen3ForCausalLM,
        Qwen3Config(
            vocab_size=512,
            hidden_size=64,
            intermediate_size=160,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,  # not hidden_size / heads, as in real ones
            max_position_embeddings=256,
            rope_theta=10000.0,
            initializer_range=0.12,
            tie_word_embeddings=False,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=2,
        ),
    )
}
ADAPTERS = {
    "qv": dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"]),
    "all-linear-rslora": dict(r=8, lora_alpha=16, target_modules=LINEAR, use_rslora=True),
    "dora": dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], use_dora=True),
    "patterns": dict(
        r=4,
        lora_alpha=8,
        target_modules=["q_proj", "v_proj", "up_proj"],
        rank_pattern={"layers.1.self_attn.q_proj": 16},
        alpha_pattern={"layers.2.mlp.up_proj": 32},
    ),
    "save-head": dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], modules_to_save=["lm_head"]),
}


@torch.no_grad()
def rows(model):
    generator = torch.Generator().manual_seed(7)
    found = []
    for length in (13, 27, 3, 24, 76):
        tokens = torch.randint(3, 512, (1, length), generator=generator)
        logits = model(tokens).logits[0]
        nll = torch.nn.functional.cross_entropy(logits[:-1], tokens[0, 1:], reduction="none")
        greedy = tokens
        for _ in range(24):
            greedy = torch.cat([greedy, model(greedy).logits[:, -1].argmax(-1, keepdim=True)], 1)
        found.append(
            {
                "input_ids": tokens[0].tolist(),
                "last_logits": [round(value, 5) for value in logits[-1].tolist()],
                "token_nll": [round(value, 5) for value in nll.tolist()],
                "greedy": greedy[0, length:].tolist(),
            }
        )
    return found


def main(family, directory, tokenizer):
    torch.manual_seed(3)
    kind, config = CONFIGS[family]
    directory, tokenizer = pathlib.Path(directory), pathlib.Path(tokenizer)
    base = directory / "base"
    model = kind(config).eval().float()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 1.5)
    model.save_pretrained(base)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(tokenizer / name, base / name)
    (directory / "base.golden.json").write_text(json.dumps(rows(model)))
    for name, options in ADAPTERS.items():
        torch.manual_seed(len(name))
        tuned = get_peft_model(
            kind.from_pretrained(base, torch_dtype=torch.float32),
            LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **options),
        ).eval()
        with torch.no_grad():
            for parameter_name, parameter in tuned.named_parameters():
                if "magnitude" in parameter_name:
                    parameter.mul_(torch.empty_like(parameter).uniform_(0.8, 1.2))
                elif "lora_" in parameter_name or "modules_to_save" in parameter_name:
                    parameter.normal_(0.0, 0.05)
        tuned.save_pretrained(directory / name)
        path = directory / name / "adapter_config.json"
        saved = json.loads(path.read_text())
        saved["base_model_name_or_path"] = "../base"
        path.write_text(json.dumps(saved, indent=2))
        (directory / name / "README.md").unlink(missing_ok=True)
        (directory / f"{name}.golden.json").write_text(json.dumps(rows(tuned)))


if __name__ == "__main__":
    main(*sys.argv[1:4])

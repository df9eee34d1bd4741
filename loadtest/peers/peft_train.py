"""Training with PEFT and torch on the CPU, to be measured beside Cairn's trainer.

    peft_train.py checkpoint DIR               write a random checkpoint of SmolLM2-135M's shapes
    peft_train.py train DIR ROWS LENGTH STEPS  LoRA, r = 16 on all linear layers, float32, gradient checkpointing

The tokens are those of the trainer's example `train_speed`: B is zero in both, so the loss of step 0 must agree. Prints one
JSON object: seconds of each step, losses, peak memory in bytes.
"""

import json
import resource
import sys
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

CONFIG = LlamaConfig(
    vocab_size=49152,
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    max_position_embeddings=8192,
    rope_theta=100000.0,
    rms_norm_eps=1e-5,
    tie_word_embeddings=True,
    bos_token_id=1,
    eos_token_id=2,
)


def checkpoint(directory):
    torch.manual_seed(0)
    LlamaForCausalLM(CONFIG).to(torch.float32).save_pretrained(directory, safe_serialization=True)


def train(directory, rows, length, steps):
    from peft import LoraConfig, get_peft_model

    torch.set_num_threads(2)
    model = LlamaForCausalLM.from_pretrained(directory, torch_dtype=torch.float32)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=targets, task_type="CAUSAL_LM"))
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    tokens = [[(row * 7919 + i * 104_729) % CONFIG.vocab_size for i in range(length)] for row in range(rows)]
    batch = torch.tensor(tokens)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-4, weight_decay=0.0)
    seconds, losses = [], []
    for _ in range(steps + 1):
        start = time.perf_counter()
        loss = model(input_ids=batch, labels=batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - start)
        losses.append(loss.item())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds[1:], "losses": losses, "peak": peak, "tokens": rows * length}))


if __name__ == "__main__":
    if sys.argv[1] == "checkpoint":
        checkpoint(sys.argv[2])
    else:
        train(sys.argv[2], *map(int, sys.argv[3:6]))

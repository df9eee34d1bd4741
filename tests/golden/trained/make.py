"""Writes the golden files of adapters that Cairn trained: our exports, and what Hugging Face PEFT says of held-out rows with
them. Needs torch, transformers and peft, and the trainer's example `trained`:

    cargo build --workspace --all-targets
    make.py ~/.cache/cairn/target/debug/examples/trained
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "loadtest/peers"))
import peft_loads  # noqa: E402


def main(trained):
    for case, family in {"lora": "llama", "rslora": "mistral", "dora": "qwen2", "qlora": "llama"}.items():
        base = HERE.parent / "peft" / family / "base"
        with tempfile.TemporaryDirectory() as out:
            subprocess.run([trained, base, out, case], check=True)
            shutil.rmtree(HERE / case, ignore_errors=True)
            shutil.copytree(pathlib.Path(out) / case, HERE / case)
            rows = json.loads((pathlib.Path(out) / "ours.json").read_text())["rows"]
        alone, with_it = (peft_loads.token_nlls(base, adapter, rows) for adapter in (None, HERE / case))
        golden = {
            "base_perplexity": peft_loads.perplexity(alone),
            "made_with": peft_loads.versions(),
            "rows": [
                {"input_ids": tokens, "token_nll": [round(value, 6) for value in nll]}
                for tokens, nll in zip(rows, with_it)
            ],
        }
        (HERE / f"{case}.golden.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:2])

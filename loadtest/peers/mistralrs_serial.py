"""mistral.rs through its Python Runner, one call at a time. Used by cairn-peers:

python mistralrs_serial.py GGUF < requests.json > seconds.json

requests.json: [[{"prompt", "tokens"}, …], …].
Each inner list is one measurement: its requests run one after the other, and its seconds, prompt tokens and generated
tokens come out.
"""

import json
import pathlib
import sys
import time

from mistralrs import CompletionRequest, Runner, Which


def main(gguf: str) -> None:
    lists = json.load(sys.stdin)
    path = pathlib.Path(gguf)
    which = Which.GGUF(quantized_model_id=str(path.parent), quantized_filename=path.name)
    runner = Runner(which=which, prefix_cache_n=0)
    found = []
    for asks in lists:
        started = time.perf_counter()
        usages = [answer(runner, ask) for ask in asks]
        seconds = time.perf_counter() - started
        prompt = sum(usage.prompt_tokens for usage in usages)
        found.append([seconds, prompt, sum(usage.completion_tokens for usage in usages)])
    print("\n" + json.dumps({"found": found}))


def answer(runner: Runner, ask: dict):
    request = CompletionRequest(
        prompt=ask["prompt"],
        model="default",
        max_tokens=ask["tokens"],
        temperature=0.0,
        ignore_eos=True,
    )
    return runner.send_completion_request(request).usage


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A tiny cross-encoder with random weights, and what transformers says of some pairs: golden scores for the tests.

    python make.py      (torch, transformers and tokenizers from PyPI; run in this directory)

Writes config.json, tokenizer.json, model.safetensors and golden.json. The weights are random, so the scores mean nothing; that
they are the same is what is tested. transformers 4.57, torch 2.15.
"""

import json

import torch
from tokenizers import BertWordPieceTokenizer
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

WORDS = """a an and are as at balanced be b by can disk does each every for from hash heap how in is it keep key kept leaves
linked list many memory node nodes of on one or page root search sorted stack stored table than that the to tree trees used
what when which with word words yellow bananas are fruit apple grows picked autumn""".split()
PAIRS = [
    ("what is a b-tree?", "B-tree\n\nA balanced search tree kept on disk."),
    ("what is a b-tree?", "Bananas are yellow."),
    ("Which trees are stored on a disk", "An oak, unknown here, is a tree."),
    ("", "a passage without a query"),
    ("a query without a passage", ""),
    ("how many nodes has a page", "every page keeps many nodes and each node one key " * 80),
]


def main() -> None:
    torch.manual_seed(7)
    pieces = ["##" + letter for letter in "abcdefghijklmnopqrstuvwxyz0123456789"]
    letters = list("abcdefghijklmnopqrstuvwxyz0123456789.,?!-'")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *pieces, *dict.fromkeys(WORDS)]
    vocabulary = list(dict.fromkeys(vocabulary))
    with open("vocab.txt", "w") as file:
        file.write("\n".join(vocabulary))
    BertWordPieceTokenizer("vocab.txt", lowercase=True).save("tokenizer.json")
    tokenizer = BertTokenizerFast(tokenizer_file="tokenizer.json", do_lower_case=True)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=512, type_vocab_size=2, initializer_range=0.4, num_labels=1,
    )
    model = BertForSequenceClassification(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(".", safe_serialization=True)
    scores = []
    for query, passage in PAIRS:
        # A list of pairs: one pair alone, with an empty passage, would be read as no pair.
        encoded = tokenizer([(query, passage)], truncation="only_second", max_length=512, return_tensors="pt")
        with torch.no_grad():
            scores.append(model(**encoded).logits.item())
    pairs = [{"query": q, "passage": p, "score": s} for (q, p), s in zip(PAIRS, scores)]
    with open("golden.json", "w") as file:
        json.dump(pairs, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()

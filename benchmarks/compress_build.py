"""What the other engines load: encoder and head of a trained artifact, as their own recipes write and quantize them.

`write_encoder`, `build_onnx` and `build_openvino` run beside penjing; the libraries of `peers.txt` want an older
transformers, so this file is also a program for their Python: `python compress_build.py FOLDER < training rows`.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from compress_sides import ENCODER, FP32, HEAD, INT8, IR, MAX_TOKENS, Batched, torch_model

OPSET = 17


def write_encoder(artifact: Path, folder: Path) -> None:
    """The encoder as transformers reads it, and the head; the n-grams that penjing adds to it are left out.

    Raises:
        RuntimeError: they compute something else than the artifact's own model.
    """
    import torch
    from transformers import BertConfig, BertModel

    from penjing.core.artifact import open_artifact
    from penjing.predict.task_file import read_task
    from penjing.train.restore import restore_model

    opened = open_artifact(artifact)
    task = read_task(opened.path)
    ours = restore_model(opened, task)
    ours.ngrams = None
    sizes = ours.encoder.config
    config = BertConfig(
        vocab_size=sizes.vocab_size,
        hidden_size=sizes.hidden_size,
        num_hidden_layers=sizes.num_hidden_layers,
        num_attention_heads=sizes.num_attention_heads,
        intermediate_size=sizes.intermediate_size,
        max_position_embeddings=sizes.max_position_embeddings,
        type_vocab_size=2,
        layer_norm_eps=sizes.layer_norm_eps,
    )
    theirs = BertModel(config, add_pooling_layer=False)
    theirs.load_state_dict(transformers_state(ours.encoder.state_dict(), sizes.num_hidden_layers))
    theirs.save_pretrained(folder / ENCODER)
    # By hand: what transformers 5 writes, the peers' transformers 4 cannot read.
    shutil.copyfile(opened.file("tokenizer.json"), folder / ENCODER / "tokenizer.json")
    (folder / ENCODER / "tokenizer_config.json").write_text(
        json.dumps(tokenizer_settings(opened.file("tokenizer.json")))
    )
    np.savez(folder / HEAD, **{name: tensor.numpy() for name, tensor in ours.head.state_dict().items()})
    (folder / "classes.json").write_text(json.dumps(list(task.labels)))
    batch = {"input_ids": torch.randint(5, sizes.vocab_size, (4, 12)), "attention_mask": torch.ones(4, 12).long()}
    batch["attention_mask"][0, 7:] = 0
    with torch.inference_mode():
        far = float((ours(batch)["logits"] - torch_model(folder)(**batch)).abs().max())
    if far > 1e-3:
        raise RuntimeError(f"the encoder written for the other engines differs from the artifact's by {far:.2g}")


def tokenizer_settings(path: Path) -> dict[str, Any]:
    """What transformers wants to know beside a tokenizer's own file: of BERT's names or RoBERTa's, those it has."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    names = {
        "pad_token": ("[PAD]", "<pad>"), "unk_token": ("[UNK]", "<unk>"), "cls_token": ("[CLS]", "<s>"),
        "sep_token": ("[SEP]", "</s>"), "mask_token": ("[MASK]", "<mask>"),
    }  # fmt: skip
    known = {
        key: next((name for name in two if tokenizer.token_to_id(name) is not None), None) for key, two in names.items()
    }
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": MAX_TOKENS,
        **{key: name for key, name in known.items() if name is not None},
    }


def transformers_state(state: dict[str, Any], num_layers: int) -> dict[str, Any]:
    """Our names → those of transformers, with query, key and value taken apart."""
    found = {
        "embeddings.word_embeddings.weight": state["words.weight"].float(),
        "embeddings.position_embeddings.weight": state["positions.weight"],
        # Exporters try both types on the way; texts are of the first.
        "embeddings.token_type_embeddings.weight": state["types.weight"][:1].expand(2, -1).clone(),
    }
    names = {
        "attention_out": "attention.output.dense",
        "attention_norm": "attention.output.LayerNorm",
        "up": "intermediate.dense",
        "down": "output.dense",
        "output_norm": "output.LayerNorm",
    }
    for part in ("weight", "bias"):
        found[f"embeddings.LayerNorm.{part}"] = state[f"embedding_norm.{part}"]
        for index in range(num_layers):
            ours, theirs = f"layers.{index}.", f"encoder.layer.{index}."
            for name, third in zip(("query", "key", "value"), state[f"{ours}qkv.{part}"].chunk(3), strict=True):
                found[f"{theirs}attention.self.{name}.{part}"] = third
            found |= {f"{theirs}{names[name]}.{part}": state[f"{ours}{name}.{part}"] for name in names}
    return found


def build_onnx(folder: Path) -> None:
    """The exported model, and the same in dynamic int8."""
    import torch

    ids = torch.randint(5, 100, (2, 9))
    torch.onnx.export(
        torch_model(folder, "eager"), (ids, torch.ones_like(ids)), folder / FP32, dynamo=False, opset_version=OPSET,
        input_names=["input_ids", "attention_mask"], output_names=["logits"],
        dynamic_axes={name: {0: "rows", 1: "tokens"} for name in ("input_ids", "attention_mask")},
    )  # fmt: skip
    dynamic_int8(folder / FP32, folder / INT8)


def has_vnni() -> bool:
    """Whether this processor adds up products of bytes without overflowing."""
    return any(name in Path("/proc/cpuinfo").read_text() for name in ("avx512_vnni", "avx_vnni"))


def dynamic_int8(source: Path, target: Path) -> None:
    """Weights in 8 bits, inputs of products rounded batch by batch, as optimum's settings for this processor say.

    They are `AutoQuantizationConfig.avx512_vnni(is_static=False)`, `.avx2` elsewhere; optimum itself wants an older
    transformers. The head stays in 32 bits, as sentence-transformers has it: see `head_name`.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    head, weights = head_name(source), QuantType.QInt8 if has_vnni() else QuantType.QUInt8
    quantize_dynamic(
        source, target, per_channel=True, weight_type=weights, extra_options={"WeightSymmetric": True},
        nodes_to_exclude=[head, f"{head}_MatMul"],  # what a Gemm is called once it was taken apart
    )  # fmt: skip


def head_name(source: Path) -> str:
    """The product that gives the classes, the last one with weights of its own.

    A head that penjing trains may have a weight that is hundreds of times the others, on a number that hardly varies.
    Rounded to 8 bits with it, the others are lost, and with them a third of the answers; that is no fault of a rival's.
    """
    import onnx

    graph = onnx.load(source).graph
    weights = {tensor.name for tensor in graph.initializer}
    products = [node for node in graph.node if node.op_type in {"MatMul", "Gemm"} and node.input[1] in weights]
    return str(products[-1].name)


def static_int8(model: Any, rows: list[dict[str, np.ndarray]], head: str) -> Any:
    """NNCF's recipe for transformers, with its fix for overflows where the processor needs it, but for the head."""
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix

    fix = OverflowFix.FIRST_LAYER if has_vnni() else OverflowFix.ENABLE
    return nncf.quantize(
        model,
        nncf.Dataset(rows),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(rows),
        advanced_parameters=AdvancedQuantizationParameters(overflow_fix=fix),
        ignored_scope=nncf.IgnoredScope(patterns=[f"{re.escape(head)}.*"]),
    )


def build_openvino(folder: Path, texts: list[str]) -> None:
    """NNCF's static quantization of a transformer, calibrated on some hundred texts."""
    import openvino

    batched = Batched(folder, lambda ids, mask: np.zeros((len(ids), 1)))
    rows = [{"input_ids": ids, "attention_mask": mask} for text in texts for _, ids, mask in batched.batches([text])]
    model = static_int8(openvino.convert_model(folder / FP32), rows, head_name(folder / FP32))
    openvino.save_model(model, folder / IR)


def build_peers(folder: Path, texts: list[str], labels: list[str]) -> dict[str, str]:
    """sentence-transformers' folder with its exports, and a trained model2vec; the versions that made them."""
    from importlib.metadata import version

    from model2vec.distill import distill_from_model
    from model2vec.train import StaticModelForClassification
    from sentence_transformers import SentenceTransformer, export_dynamic_quantized_onnx_model
    from sentence_transformers.models import Pooling, Transformer
    from transformers import AutoModel, AutoTokenizer

    target = folder / "sentence"
    encoder = Transformer(str(folder / ENCODER), max_seq_length=MAX_TOKENS)
    SentenceTransformer(modules=[encoder, Pooling(encoder.get_word_embedding_dimension(), "mean")]).save(str(target))
    for backend in ("onnx", "openvino"):
        exported = SentenceTransformer(str(target), backend=backend, device="cpu", model_kwargs={"export": True})
        exported.save_pretrained(str(target))
        if backend == "onnx":
            flags = "avx512_vnni" if "avx512_vnni" in Path("/proc/cpuinfo").read_text() else "avx2"
            export_dynamic_quantized_onnx_model(exported, flags, str(target), file_suffix="int8")
    static = distill_from_model(
        model=AutoModel.from_pretrained(folder / ENCODER), tokenizer=AutoTokenizer.from_pretrained(folder / ENCODER),
        pca_dims=256,
    )  # fmt: skip
    classifier = StaticModelForClassification.from_static_model(model=static)
    classifier.fit(texts, labels)
    classifier.to_pipeline().save_pretrained(str(folder / "model2vec"))
    return {name: version(name) for name in ("sentence-transformers", "transformers", "optimum-onnx", "model2vec")}


if __name__ == "__main__":
    given = json.load(sys.stdin)
    built = build_peers(Path(sys.argv[1]), given["texts"], given["labels"])
    sys.stdout.write("\n" + json.dumps(built) + "\n")

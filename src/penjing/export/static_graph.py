"""A bag of words as an ONNX graph: one row a token, averaged.

An encoder without layers and places gives a token the same vector wherever it stands, and the head of a mean is the
mean of the heads: so what is looked up are the token's own logits, from a table made once.
"""

from __future__ import annotations

import torch
from onnx import TensorProto
from torch import nn

from penjing.core.task import Signature
from penjing.export.graph_writer import Graph
from penjing.models.encoder import Encoder
from penjing.train.gradient.sequence import PairModel, SequenceModel


def is_static(model: nn.Module) -> bool:
    """Whether a model is a mean of what its tokens say, each by itself."""
    if not isinstance(model, SequenceModel) or isinstance(model, PairModel) or model.ngrams is not None:
        return False
    return model.phrases is None and has_static_vectors(model.encoder)


def has_static_vectors(encoder: nn.Module) -> bool:
    """Whether a token's vector is the same wherever it stands."""
    return isinstance(encoder, Encoder) and not len(encoder.layers) and not bool(encoder.positions.weight.any())


@torch.no_grad()
def static_vectors(encoder: Encoder) -> torch.Tensor:
    """[V, H]: of each token of the vocabulary."""
    words_VH = encoder.words(torch.arange(encoder.config.vocab_size)).float()
    return encoder.embedding_norm(words_VH + encoder.types.weight[0])


@torch.no_grad()
def write_static(graph: Graph, model: SequenceModel, signature: Signature) -> None:
    """Nodes from `input_ids` and `attention_mask` to the logits.

    Args:
        graph: where to.
        model: one that `is_static`, on the CPU and in 32 bits.
        signature: names of the output.
    """
    encoder, head = model.encoder, model.head
    rows = graph.add("Gather", graph.tensor(static_vectors(encoder) @ head.weight.T), "input_ids")  # [B, L, C]
    mask = graph.add("Cast", "attention_mask", to=TensorProto.FLOAT)
    total = graph.add("MatMul", graph.add("Unsqueeze", mask, graph.ints(1)), rows)
    count = graph.add("ReduceSum", mask, graph.ints(1), keepdims=1)
    mean = graph.add("Div", graph.add("Squeeze", total, graph.ints(1)), count)
    graph.add("Add", mean, graph.tensor(head.bias), output=signature.outputs[0].name)

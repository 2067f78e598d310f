"""A trained network as an ONNX graph: from tokens to the scores of a head. Written node by node, from arrays alone.

Every pooling but ``max`` is a sum of the states of tokens, whose weights the caller computes
(:func:`hjc.nn.pooling_weights.weights_of`): shares of titles, windows and means are then one product of matrices, and
the graph has no branch. The operations are those of ONNX itself, so that any engine reads them.

S sequences (windows of B texts), T tokens, H hidden, h heads of d, K side tokens.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hjc.nn.light import SIZES, TYPES

Array = npt.NDArray[Any]
#: of the standard operations; 20 is the first with Gelu
OPSET, IR_VERSION = 20, 10
#: what is added to the score of a token that is none: nothing is left of it after the softmax
ABSENT = -1e9


class _Graph:
    """Nodes and weights as they are added."""

    def __init__(self, precision: str) -> None:
        from onnx import helper, numpy_helper

        self.helper, self.numpy_helper, self.precision = helper, numpy_helper, precision
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def op(self, kind: str, inputs: list[str], out: str, **attributes: Any) -> str:
        self.nodes.append(self.helper.make_node(kind, inputs, [out], **attributes))
        return out

    def constant(self, name: str, value: Array) -> str:
        """Small numbers, as they are."""
        self.weights.append(self.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def matrix(self, name: str, value: Array) -> str:
        """A float32 matrix of weights, in bfloat16 on the disk where that is wanted."""
        if self.precision != "bf16":
            return self.constant(name, value.astype(np.float32))
        from onnx import TensorProto

        bits = bfloat16(value)
        stored = self.helper.make_tensor(f"{name}.bf16", TensorProto.BFLOAT16, bits.shape, bits.tobytes(), raw=True)
        self.weights.append(stored)
        return self.op("Cast", [f"{name}.bf16"], name, to=TensorProto.FLOAT)

    def rows(self, name: str, table: Array, ids: str) -> str:
        """The rows of a table; as 8-bit integers each has a scale of its own."""
        if self.precision != "int8":
            return self.op("Gather", [self.matrix(f"{name}.table", table), ids], name)
        from onnx import TensorProto

        values, scale = integers(table)
        found = self.op("Gather", [self.constant(f"{name}.table", values), ids], f"{name}.int8")
        scales = self.op("Gather", [self.constant(f"{name}.scale", scale), ids], f"{name}.scales")
        return self.op("Mul", [self.op("Cast", [found], f"{name}.float", to=TensorProto.FLOAT), scales], name)

    def dense(self, x: str, name: str, weight: Array, bias: Array, *, wide: bool = False) -> str:
        """x @ weight.T + bias, of the (out, in) weights of torch.

        Args:
            wide: a few numbers of ``x`` are far larger than the others, so that one range for all would leave too few
                steps to these: with 8-bit weights the product is then one of float32.
        """
        if self.precision == "int8" and wide:
            from onnx import TensorProto

            values, scale = integers(weight)
            whole = self.op("Cast", [self.constant(f"{name}.weight", values.T)], f"{name}.cast", to=TensorProto.FLOAT)
            matrix = self.op("Mul", [whole, self.constant(f"{name}.scale", scale[:, 0])], f"{name}.matrix")
            product = self.op("MatMul", [x, matrix], f"{name}.product")
        elif self.precision == "int8":
            product = self._integers(x, name, weight)
        else:
            product = self.op("MatMul", [x, self.matrix(f"{name}.weight", weight.T)], f"{name}.product")
        return self.op("Add", [product, self.constant(f"{name}.bias", bias)], name)

    def _integers(self, x: str, name: str, weight: Array) -> str:
        """The product in 8-bit integers: of x by its own range, found anew each time; of weights a scale a column."""
        from onnx import TensorProto

        values, scale = integers(weight)
        if not any(node.output[0] == f"{x}.q" for node in self.nodes):
            self.nodes.append(
                self.helper.make_node("DynamicQuantizeLinear", [x], [f"{x}.q", f"{x}.scale", f"{x}.zero"])
            )
        weights = self.constant(f"{name}.weight", values.T)
        product = self.op("MatMulInteger", [f"{x}.q", weights, f"{x}.zero"], f"{name}.int32")
        product = self.op("Cast", [product], f"{name}.float", to=TensorProto.FLOAT)
        scales = self.op("Mul", [f"{x}.scale", self.constant(f"{name}.scale", scale[:, 0])], f"{name}.scales")
        return self.op("Mul", [product, scales], f"{name}.product")

    def norm(self, x: str, name: str, state: Mapping[str, Array], epsilon: float) -> str:
        weight, bias = (self.constant(f"{name}.{part}", state[f"{name}.{part}"]) for part in ("weight", "bias"))
        return self.op("LayerNormalization", [x, weight, bias], f"{name}.out", epsilon=epsilon, axis=-1)


def bfloat16(value: Array) -> npt.NDArray[np.uint16]:
    """The nearest bfloat16 numbers, as their bits; halves go to the even one."""
    bits = np.ascontiguousarray(value, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def integers(rows: Array) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """(n, m) -> integers of -127 to 127 and (n, 1) scales: each row by its own largest number."""
    scale = np.abs(rows).max(axis=1, keepdims=True) / 127
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    return np.rint(rows / scale).astype(np.int8), scale


def network_graph(
    state: Mapping[str, Array], config: Mapping[str, Any], *, pooling: str, precision: str, offset: bool
) -> bytes:
    """An ONNX model of a network of :class:`hjc.nn.network.Network`, whose encoder is of the BERT family.

    Inputs: ``input_ids`` and ``attention_mask`` (S, T), int64; ``weights`` (S, T) and ``owner`` (B, S), float32, and
    for networks with side variables ``side`` (B, K), int64. Outputs: ``vectors`` (B, H), which the head sees, and
    ``scores`` (B, M), float32. For ``pooling`` max the largest numbers of a sequence are merged by ``owner``; otherwise
    the sum of states by ``weights``, and ``owner`` adds up the sequences of a text.

    Args:
        state: the state dict of the network.
        config: the configuration of its encoder.
        precision: how the weights are stored: as they are (fp32), in bfloat16 (bf16), or as 8-bit integers with a scale
            for each column (int8).
        offset: whether the offset of the head counts in prediction.

    Raises:
        ImportError: the package onnx is not there.
        ValueError: the encoder is of another family.
    """
    from onnx import TensorProto, checker, helper

    if config.get("model_type") not in TYPES or any(type(config.get(name)) is not int for name in SIZES):
        raise ValueError(
            f"encoders of the kinds {', '.join(TYPES)} can be exported (E5, MiniLM, XLM-R, HerBERT ...), "
            f"this one is {config.get('model_type')!r}"
        )
    g = _Graph(precision)
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    x = _embeddings(g, state, config)
    g.constant("one", np.array(1, np.float32))
    g.op("Cast", ["attention_mask"], "mask", to=TensorProto.FLOAT)
    g.op(
        "Mul", [g.op("Sub", ["one", "mask"], "absent"), g.constant("least", np.array(ABSENT, np.float32))], "bias.flat"
    )
    g.op("Unsqueeze", ["bias.flat", g.constant("bias.axes", np.array([1, 2]))], "bias")
    g.constant("split", np.array([0, 0, heads, hidden // heads]))
    g.constant("join", np.array([0, 0, hidden]))
    for layer in range(config["num_hidden_layers"]):
        x = _layer(g, x, f"encoder.encoder.layer.{layer}", state, config)
    if pooling == "max":  # pads are far below every token
        tall = g.op("Unsqueeze", ["absent", g.constant("last", np.array([2]))], "absent.tall")
        low = g.op("Mul", [tall, g.constant("lowest", np.array(-1e30, np.float32))], "low")
        reduced = g.op("Add", [x, low], "tokens")
        g.op("ReduceMax", [reduced, g.constant("along", np.array([1]))], "sequences", keepdims=0)
    else:
        row = g.op("Unsqueeze", ["weights", g.constant("middle", np.array([1]))], "weights.row")
        pooled = g.op("MatMul", [row, x], "pooled.row")
        g.op("Squeeze", [pooled, "middle"], "sequences")
    x = g.op("MatMul", ["owner", "sequences"], "pooled")
    if "norm.weight" in state:
        x = g.norm(x, "norm", state, 1e-5)
    inputs = [("input_ids", TensorProto.INT64, "ST"), ("attention_mask", TensorProto.INT64, "ST"),
              ("owner", TensorProto.FLOAT, "BS")]  # fmt: skip
    if pooling != "max":
        inputs.append(("weights", TensorProto.FLOAT, "ST"))
    if (side := state.get("side.embedding.weight")) is not None:
        found = g.op("Gather", [g.constant("side.table", side), "side"], "side.vectors")
        x = g.op("Add", [x, g.op("ReduceSum", [found, g.constant("beside", np.array([1]))], "side.sum", keepdims=0)],
                 "with.side")  # fmt: skip
        inputs.append(("side", TensorProto.INT64, "BK"))
    g.op("Identity", [x], "vectors")
    bias = state["head.linear.bias"] + (state["head.offset"] if offset and "head.offset" in state else 0)
    scores = g.dense("vectors", "head", state["head.linear.weight"], bias, wide=True)
    g.op("Identity", [scores], "scores")
    graph = helper.make_graph(
        g.nodes,
        "network",
        [helper.make_tensor_value_info(name, kind, list(shape)) for name, kind, shape in inputs],
        [
            helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["B", hidden]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["B", len(bias)]),
        ],
        g.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="hjc")
    model.ir_version = IR_VERSION
    checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def _embeddings(g: _Graph, state: Mapping[str, Array], config: Mapping[str, Any]) -> str:
    """Words, types and positions added, then normalised."""
    home = "encoder.embeddings"
    words = g.rows("words", state[f"{home}.word_embeddings.weight"], "input_ids")
    first = config["pad_token_id"] + 1 if TYPES[config["model_type"]] else 0
    places = state[f"{home}.position_embeddings.weight"][first:] + state[f"{home}.token_type_embeddings.weight"][0]
    g.op("Shape", ["input_ids"], "width", start=1)
    here = g.op("Slice", [g.matrix("positions", places), g.constant("start", np.array([0])), "width"], "places")
    return g.norm(g.op("Add", [words, here], "embedded"), f"{home}.LayerNorm", state, config["layer_norm_eps"])


def _layer(g: _Graph, x: str, home: str, state: Mapping[str, Array], config: Mapping[str, Any]) -> str:
    """Attention, add and normalise, feed-forward, add and normalise; see :class:`hjc.nn.light.LightLayer`."""
    epsilon, own = config["layer_norm_eps"], f"{home}.attention.self"
    scale = np.float32(1 / np.sqrt(config["hidden_size"] // config["num_attention_heads"]))

    def dense(x: str, name: str, scale: Any = 1, *, wide: bool = False) -> str:
        return g.dense(x, name, state[f"{name}.weight"] * scale, state[f"{name}.bias"] * scale, wide=wide)

    def heads(part: str, order: list[int], scale: Any = 1) -> str:
        split = g.op("Reshape", [dense(x, f"{own}.{part}", scale), "split"], f"{own}.{part}.split")
        return g.op("Transpose", [split], f"{own}.{part}.heads", perm=order)

    def added(found: str, x: str, name: str) -> str:
        return g.norm(g.op("Add", [found, x], f"{name}.sum"), f"{name}.LayerNorm", state, epsilon)

    scores = g.op("MatMul", [heads("query", [0, 2, 1, 3], scale), heads("key", [0, 2, 3, 1])], f"{own}.scores")
    proba = g.op("Softmax", [g.op("Add", [scores, "bias"], f"{own}.seen")], f"{own}.proba", axis=-1)
    found = g.op("MatMul", [proba, heads("value", [0, 2, 1, 3])], f"{own}.found")
    found = g.op("Reshape", [g.op("Transpose", [found], f"{own}.back", perm=[0, 2, 1, 3]), "join"], f"{own}.joined")
    x = added(dense(found, f"{home}.attention.output.dense"), x, f"{home}.attention.output")
    inner = g.op("Gelu", [dense(x, f"{home}.intermediate.dense")], f"{home}.gelu")
    return added(dense(inner, f"{home}.output.dense", wide=True), x, f"{home}.output")

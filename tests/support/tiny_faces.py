"""insightface's two models in miniature, as ONNX files in the published layout.

The detector takes a red square for a small face and a blue one for a large face; the embedding is a fixed projection.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
COLOURS = {8: (4.0, -4.0, -4.0), 32: (-4.0, -4.0, 4.0)}  # what makes a cell of that stride a face
REACH = 2.0  # from its cell to a face's sides, in strides
LANDMARKS = ((-1.0, -1.0), (1.0, -1.0), (0.0, 0.0), (-0.8, 1.0), (0.8, 1.0))  # eyes, nose, corners of the mouth
ANCHORS = 2  # for each cell, as in SCRFD; the second of each never fires here


def save_faces(folder: Path) -> None:
    onnx.save(_detector(), folder / "det_10g.onnx")
    onnx.save(_recogniser(), folder / "w600k_r50.onnx")


def _detector() -> onnx.ModelProto:
    """SCRFD's inputs and outputs: scores, boxes and landmarks of three strides, a row for each anchor."""
    nodes, weights, outputs = [], [], {}
    for stride in STRIDES:
        cells = f"cells{stride}"
        nodes.append(
            helper.make_node("AveragePool", ["input"], [cells], kernel_shape=[stride] * 2, strides=[stride] * 2)
        )
        for kind, width, weight, bias in _heads(stride):
            name = f"{kind}{stride}"
            weights += [
                numpy_helper.from_array(array, f"{name}.{part}") for part, array in (("w", weight), ("b", bias))
            ]
            weights.append(numpy_helper.from_array(np.array([-1, width]), f"{name}.shape"))
            nodes.append(helper.make_node("Conv", [cells, f"{name}.w", f"{name}.b"], [f"{name}.conv"]))
            last = f"{name}.conv"
            if kind == "score":
                nodes.append(helper.make_node("Sigmoid", [last], [f"{name}.sigmoid"]))
                last = f"{name}.sigmoid"
            nodes.append(helper.make_node("Transpose", [last], [f"{name}.last"], perm=[0, 2, 3, 1]))
            nodes.append(helper.make_node("Reshape", [f"{name}.last", f"{name}.shape"], [name]))
            outputs[name] = helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, width])
    order = [outputs[f"{kind}{stride}"] for kind in ("score", "box", "landmarks") for stride in STRIDES]
    return _model(nodes, [1, 3, None, None], order, weights)


def _heads(stride: int) -> list[tuple[str, int, np.ndarray, np.ndarray]]:
    """(name, width of a row, weights, bias) of the convolutions on a cell's mean colour, −1 … 1."""
    score = np.zeros((ANCHORS, 3, 1, 1), np.float32)
    score[0, :, 0, 0] = COLOURS.get(stride, (0.0, 0.0, 0.0))
    nothing = [np.zeros((ANCHORS * width, 3, 1, 1), np.float32) for width in (4, 10)]
    return [
        ("score", 1, score, np.array([-9.0, -20.0], np.float32)),
        ("box", 4, nothing[0], np.full(ANCHORS * 4, REACH, np.float32)),
        ("landmarks", 10, nothing[1], np.tile(np.array(LANDMARKS, np.float32).ravel(), ANCHORS)),
    ]


def _recogniser() -> onnx.ModelProto:
    """ArcFace's inputs and outputs: (batch, 3, 112, 112) → (batch, 512)."""
    matrix = np.random.default_rng(0).normal(size=(3 * 7 * 7, 512)).astype(np.float32)
    nodes = [
        helper.make_node("AveragePool", ["input"], ["pooled"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["embedding"]),
    ]
    output = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [None, 512])
    return _model(nodes, [None, 3, 112, 112], [output], [numpy_helper.from_array(matrix, "matrix")])


def _model(
    nodes: list[onnx.NodeProto],
    shape: list[int | None],
    outputs: list[onnx.ValueInfoProto],
    weights: list[onnx.TensorProto],
) -> onnx.ModelProto:
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "faces", [image], outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)

"""A clothes parser, a pose estimator and a person detector in miniature, in transformers' folder formats."""

from pathlib import Path

import torch

CLOTHES = ("Background", "Hat", "Upper-clothes", "Dress")
SIDE = 64


def save_parser(folder: Path) -> None:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor

    torch.manual_seed(0)
    config = SegformerConfig(
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 16, 24, 32],
        num_attention_heads=[1, 2, 2, 4],
        decoder_hidden_size=16,
        id2label=dict(enumerate(CLOTHES)),
        label2id={name: i for i, name in enumerate(CLOTHES)},
    )
    SegformerForSemanticSegmentation(config).save_pretrained(folder)
    SegformerImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)


def save_pose_estimator(folder: Path) -> None:
    from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation, VitPoseImageProcessor

    torch.manual_seed(0)
    backbone = VitPoseBackboneConfig(
        image_size=(SIDE, SIDE), patch_size=(16, 16), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        out_indices=[1],  # pyright: ignore[reportCallIssue]
    )  # fmt: skip
    names = {i: f"point {i}" for i in range(17)}
    config = VitPoseConfig(backbone_config=backbone, use_simple_decoder=True, id2label=names)
    model = VitPoseForPoseEstimation(config)
    torch.nn.init.normal_(model.head.conv.weight, std=1)  # so that some points are sure
    model.save_pretrained(folder)
    VitPoseImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)


def save_detector(folder: Path, bias: float = 4.0) -> None:
    """bias: of the only label, a person; with a negative one nobody is found."""
    from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessor

    torch.manual_seed(0)
    config = YolosConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=[SIDE, SIDE],
        num_detection_tokens=2, id2label={0: "person"}, label2id={"person": 0},
    )  # fmt: skip
    model = YolosForObjectDetection(config)
    last = model.class_labels_classifier.layers[-1]
    torch.nn.init.zeros_(last.weight)  # pyright: ignore[reportArgumentType]
    last.bias.data = torch.tensor([bias, 0.0])
    model.save_pretrained(folder)
    YolosImageProcessor(size={"shortest_edge": SIDE, "longest_edge": SIDE}).save_pretrained(folder)

"""The table of ``scripts/real_packs.py``: real packs, and their nodes that the garment is held beside."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from support import real_pack_models as models
from support.narrow_unet import NEGATIVE, POSITIVE, prompt, sample
from support.real_pack_nodes import (
    SIZE,
    Patch,
    animate_diff,
    both_prompts,
    brushnet,
    call,
    custom_sampled,
    dense_diffusion,
    detail_daemon,
    fabric,
    ic_light,
    ip_adapter,
    latents,
    layer_diffuse,
    left_half,
    node,
    reference_control,
    sampled_by,
    visual_style,
    with_style,
)


@dataclass(frozen=True)
class Case:
    """What is tried of a pack.

    folder: its name on GitHub.
    prompts: makes inputs of the sampler, where they differ.
    sampled: returns the latent of (MODEL, batch, inputs of the sampler), where the pack has a sampler of its own.
    batch: the smallest that the nodes do anything with.
    positive: returns the text of all prompts that the image should follow.
    """

    folder: str
    name: str
    patch: Patch = lambda model: model.clone()
    prompts: Callable[[], dict[str, Any]] = dict
    sampled: Callable[..., Tensor] = lambda model, batch, **inputs: sample(model, batch, SIZE, **inputs)
    batch: int = 1
    positive: Callable[[], list[Tensor]] = lambda: [prompt(POSITIVE)[0][0]]


TILES = {"tile_width": 64, "tile_height": 64, "tile_overlap": 0}
ALWAYS = {"start_percent": 0.0, "end_percent": 1.0}
GUIDANCE, PRE_CFG, JANK = "sd-perturbed-attention", "pre_cfg_comfy_nodes_for_ComfyUI", "comfyui_jankhidiffusion"
CASES = [
    *(
        Case(
            "ComfyUI-TiledDiffusion",
            f"{method}, {n} tiles in a call",
            node("TiledDiffusion", method=method, tile_batch_size=n, **TILES),
        )
        for method in ("MultiDiffusion", "Mixture of Diffusers", "SpotDiffusion")
        for n in (1, 4)
    ),
    *(
        Case(
            "ComfyUI-Advanced-ControlNet",
            f"{kind}, fidelity {fidelity}",
            prompts=lambda kind=kind, fidelity=fidelity: reference_control(
                reference_type=kind, style_fidelity=fidelity
            ),
        )
        for kind, fidelity in (("reference_attn", 0.5), ("reference_attn", 0.0), ("reference_attn+adain", 1.0))
    ),
    *(
        Case("ComfyUI-AutomaticCFG", name.removeprefix("Automatic CFG - "), node(name))
        for name in ("Automatic CFG", "Automatic CFG - Excellent attention", "Automatic CFG - Warp Drive")
    ),
    Case(GUIDANCE, "Perturbed Attention Guidance", node("PerturbedAttention")),
    Case(GUIDANCE, "Smoothed Energy Guidance", node("SmoothedEnergyGuidanceAdvanced")),
    Case(
        GUIDANCE,
        "Sliding Window Guidance",
        node("SlidingWindowGuidanceAdvanced", tile_width=64, tile_height=64, tile_overlap=16, sigma_end=-1.0),
    ),
    Case(GUIDANCE, "Token Perturbation Guidance", node("TokenPerturbationGuidance")),
    Case(GUIDANCE, "PLADIS", node("PLADIS")),
    Case(GUIDANCE, "NAG", lambda model: call("NormalizedAttentionGuidance", model=model, negative=prompt(NEGATIVE))),
    Case("ComfyUI-Inspire-Pack", "HyperTile", node("HyperTile //Inspire", tile_size=64)),
    Case("ComfyUI-Inspire-Pack", "Regional CFG", node("RegionalCFG //Inspire", mask=left_half())),
    Case("ComfyUI_IPAdapter_plus", "IP-Adapter by embeds", ip_adapter),
    Case("RES4LYF", "ReSDPatcher", node("ReSDPatcher", enable=True)),
    Case(
        "RES4LYF", "ClownsharKSampler", sampled=sampled_by("ClownsharKSampler_Beta", sampler_name="exponential/res_2s")
    ),
    Case("ComfyUI-layerdiffuse", "attention sharing", layer_diffuse),
    Case(
        "ComfyUI_VisualStylePrompting",
        "style",
        visual_style,
        with_style,
        batch=2,
        positive=lambda: [prompt(seed)[0][0] for seed in (POSITIVE, 21)],
    ),
    Case("ComfyUI-BrushNet", "BrushNet", brushnet),
    Case("ComfyUI-BrushNet", "RAUNet", node("RAUNet")),
    Case("ComfyUI-AnimateDiff-Evolved", "4 frames", animate_diff(), batch=4),
    Case(
        "ComfyUI-AnimateDiff-Evolved",
        "6 frames in windows of 4",
        animate_diff(context_length=4, context_overlap=2),
        batch=6,
    ),
    Case("ComfyUI-IC-Light-Native", "IC-Light", ic_light),
    Case("ComfyUI-Detail-Daemon", "Detail Daemon", sampled=custom_sampled(detail_daemon)),
    Case(
        "efficiency-nodes-comfyui",
        "KSampler (Efficient)",
        sampled=sampled_by("KSampler (Efficient)", 3, vae_decode="false", prompt={}, my_unique_id="1"),
    ),
    Case(
        "ComfyUI_TiledKSampler",
        "Tiled KSampler",
        sampled=sampled_by("BNK_TiledKSampler", side=64, tiling_strategy="simple", tile_width=256, tile_height=256),
    ),
    Case(
        JANK,
        "RAUNet",
        node("ApplyRAUNet", end_time=1.0, ca_end_time=1.0),
    ),
    Case(JANK, "MSW-MSA attention", node("ApplyMSWMSAAttention")),
    Case("ComfyUI-bleh", "Deep Shrink", node("BlehDeepShrink", end_percent=1.0, start_fadeout_percent=0.9)),
    Case("ComfyUI-bleh", "HyperTile", node("BlehHyperTile", tile_size=64)),
    Case("ComfyUI-bleh", "Block CFG", node("BlehBlockCFG", **ALWAYS)),
    Case("Comfy-WaveSpeed", "First Block Cache", node("ApplyFBCacheOnModel", residual_diff_threshold=0.9)),
    Case("ComfyUI-deepcache", "DeepCache", node("DeepCache")),
    Case("ComfyUI-KJNodes", "CFG-Zero*", node("CFGZeroStarAndInit", use_zero_init=False)),
    Case("ComfyUI-KJNodes", "Patch Model Patcher Order", node("PatchModelPatcherOrder")),
    Case(
        "ComfyUI-Latent-Modifiers",
        "Mega Modifier",
        node("Latent Diffusion Mega Modifier", sharpness_multiplier=1.0, contrast_multiplier=1.0),
    ),
    Case(
        "ComfyUI_densediffusion",
        "DenseDiffusion",
        dense_diffusion,
        prompts=lambda: {"positive": [[both_prompts(), {}]]},
        positive=lambda: [both_prompts()],
    ),
    Case("ComfyUI_experiments", "Tonemap with RescaleCFG", node("TonemapNoiseWithRescaleCFG")),
    Case(
        "ComfyUI_experiments",
        "Reference only",
        node("ReferenceOnlySimple", reference=latents()),
        batch=2,
    ),
    Case("ComfyUI-semantic-aware-guidance", "S-CFG", node("SemanticAwareGuidance")),
    Case("ComfyUI-RAVE_ATTN", "RAVE attention", node("ApplyRaveAttentionNode", grid_size=2), batch=4),
    Case("style_aligned_comfy", "batch align", node("StyleAlignedBatchAlign", share_norm="disabled"), batch=2),
    Case("cgem156-ComfyUI", "attention scale", node("AttentionScale|cgem156", temperature=2.0)),
    Case("cgem156-ComfyUI", "reference", node("ReferenceApply|cgem156"), batch=2),
    Case(
        "cgem156-ComfyUI",
        "attention couple",
        node("AttentionCouple|cgem156", base_mask=left_half(), cond_1=prompt(21), mask_1=1 - left_half()),
    ),
    Case("FreeU_Advanced", "FreeU V2", node("WAS_FreeU_V2", input_block=True, middle_block=True, output_block=True)),
    Case(PRE_CFG, "PAG", node("Pre CFG PAG")),
    Case(PRE_CFG, "zero attention", node("Pre CFG zero attention")),
    Case(PRE_CFG, "perpendicular negative", node("Pre CFG perp-neg", clip=models.EmptyPrompt())),
    Case(PRE_CFG, "Shape attention", node("Shape attention")),
    Case(PRE_CFG, "Excellent attention", node("Excellent attention")),
    Case("Skimmed_CFG", "Skimmed CFG", node("Skimmed CFG")),
    Case("sd-dynamic-thresholding", "Dynamic thresholding", node("DynamicThresholdingFull")),
    Case("ComfyUI_essentials", "Guidance timestepping", node("GuidanceTimestepping+", start_at=0.0, end_at=1.0)),
    # Last: where FABRIC stops, it leaves PyTorch's softmax replaced.
    *(Case("ComfyUI_fabric", f"{a} liked, {b} disliked", fabric(a, b)) for a, b in ((1, 0), (1, 1), (2, 1))),
]

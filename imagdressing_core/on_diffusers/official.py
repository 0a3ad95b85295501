"""The constants of the official scripts (inference_IMAGdressing.py of muzishen/IMAGDressing) for sampling an image.

The official size is in :mod:`..images.preprocess`.
"""

STEPS, GUIDANCE = 50, 7.5
QUALITY_PROMPT = ", best quality, high quality"  # follows every prompt
NEGATIVE_PROMPT = "bare, naked, nude, undressed, monochrome, lowres, bad anatomy, worst quality, low quality"

# OpenAI CLIP's normalisation, as in transformers' CLIPImageProcessor; BLIP took it over.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

# SD1.5's noise schedule, as its own scheduler_config.json has it; 1000 steps.
NOISE_SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False}

"""`transformers:<model type>`: the default configuration of a family, without weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from archcast.graphs.feeds import IMAGE_SIZE, TOKENS, Feed, Slot
from archcast.graphs.zoo import import_zoo, known

_AUTO = "transformers.models.auto.modeling_auto"
_TASKS = (
    "IMAGE_CLASSIFICATION", "MASKED_LM", "CAUSAL_LM", "SEQ_TO_SEQ_CAUSAL_LM", "CTC", "AUDIO_CLASSIFICATION",
    "SPEECH_SEQ_2_SEQ", "SEMANTIC_SEGMENTATION", "OBJECT_DETECTION", "DEPTH_ESTIMATION", "SEQUENCE_CLASSIFICATION",
)  # fmt: skip
AUDIO_SAMPLES = 16_000
SPECTRUM_FRAMES = 1_024


def transformers_model(model_type: str) -> tuple[Callable[[], nn.Module], Callable[[nn.Module], Feed]]:
    """Builder and feed of the family `model_type` with its default configuration.

    The head is the first there is of: image classifier, masked or causal language model, sequence to sequence, speech,
    dense prediction; else the bare model.
    """
    transformers = import_zoo("transformers")
    auto = import_zoo("transformers", _AUTO)
    known("transformers", model_type, transformers.CONFIG_MAPPING)
    class_name = _class_name(auto, model_type)

    def build() -> nn.Module:
        config = transformers.CONFIG_MAPPING[model_type]()
        if hasattr(config, "use_cache"):
            config.use_cache = False  # a forecast needs no key-value cache
        kind = getattr(transformers, class_name)
        try:
            module: nn.Module = kind._from_config(config, attn_implementation="sdpa")
        except (ValueError, ImportError):  # families without fused attention
            module = kind._from_config(config, attn_implementation="eager")
        return module

    return build, feed_of_transformer


def _class_name(auto: Any, model_type: str) -> str:
    for task in _TASKS:
        names: Mapping[str, Any] = getattr(auto, f"MODEL_FOR_{task}_MAPPING_NAMES", {})
        if model_type in names:
            return _first(names[model_type])
    known("transformers", model_type, auto.MODEL_MAPPING_NAMES)
    return _first(auto.MODEL_MAPPING_NAMES[model_type])


def _first(names: str | tuple[str, ...] | list[str]) -> str:
    return names if isinstance(names, str) else names[0]


def feed_of_transformer(module: nn.Module) -> Feed:
    """Every kind of input the forward method names, sized by the configuration."""
    accepted = inspect.signature(module.forward).parameters
    named: dict[str, Slot] = {}
    config: Any = module.config
    generates = any(mark in type(module).__name__ for mark in ("ForMaskedLM", "ForCausalLM"))
    if "pixel_values" in accepted and not (generates and "input_ids" in accepted):
        named["pixel_values"] = Slot(_image_shape(config))
    if "input_ids" in accepted and not ("pixel_values" in named and _only_images(module)):
        named["input_ids"] = Slot((1, TOKENS), "index")
    if "decoder_input_ids" in accepted:
        named["decoder_input_ids"] = Slot((1, TOKENS), "index")
    if "input_values" in accepted:
        named["input_values"] = Slot(_audio_shape(config))
    if "input_features" in accepted:
        named["input_features"] = Slot(_spectrum_shape(config))
    if not named and "inputs" in accepted:
        named["inputs"] = Slot(_image_shape(config))
    return Feed(named=named)


def _only_images(module: nn.Module) -> bool:
    return getattr(module, "main_input_name", "") == "pixel_values"


def _find(config: Any, *names: str, default: Any) -> Any:
    """The first of `names` in the configuration or its vision, backbone, audio or encoder part."""
    parts = [config, *(getattr(config, part, None) for part in _PARTS)]
    for part in parts:
        for name in names:
            value = getattr(part, name, None) if part is not None else None
            if value is not None:
                return value
    return default


_VIDEO = frozenset({"timesformer", "videomae", "vivit"})
_PARTS = ("vision_config", "backbone_config", "encoder", "audio_config", "encoder_config", "text_config")


def _image_shape(config: Any) -> tuple[int, ...]:
    size = _find(config, "image_size", "img_size", "input_size", default=IMAGE_SIZE)
    channels = _find(config, "num_channels", "in_channels", "in_chans", default=3)
    sides = (size, size) if isinstance(size, int) else tuple(size)
    image = (int(channels), *(int(side) for side in sides[-2:]))
    return (1, int(config.num_frames), *image) if config.model_type in _VIDEO else (1, *image)


def _audio_shape(config: Any) -> tuple[int, ...]:
    bins = getattr(config, "num_mel_bins", None)
    frames = getattr(config, "max_length", None)
    if isinstance(bins, int) and isinstance(frames, int) and frames > 100:
        return (1, frames, bins)  # a spectrogram transformer
    return (1, AUDIO_SAMPLES)


def _spectrum_shape(config: Any) -> tuple[int, ...]:
    bins = int(_find(config, "num_mel_bins", "input_feat_per_channel", "feature_size", default=80))
    if config.model_type == "whisper":
        return (1, bins, 2 * int(config.max_source_positions))
    return (1, SPECTRUM_FRAMES, bins)

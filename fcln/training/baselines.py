"""What the paper's baselines (Table 2) are trained on: photographs or crops that each are one region with phrases."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fcln.modeling.fcln import FCLNConfig
from fcln.training.annotations import AnnotatedImage

# Captions of whole photographs have about 11 words, phrases of regions 2 or 3.
CAPTION_WORDS = 20


def baseline_config(config: FCLNConfig, *, max_words: int) -> FCLNConfig:
    """An Image RNN with the layers of a network: convolutions and language model without localization."""
    return replace(
        config, image_rnn=True, stride8_features=False, deep_features=False, context=False, max_words=max_words
    )


def whole_photographs(photographs: Sequence[AnnotatedImage]) -> list[AnnotatedImage]:
    """For the Full Image RNN: whole photographs with their captions; those without captions left out."""
    return [
        replace(
            photo,
            boxes=np.array([[0, 0, photo.width, photo.height]], np.float32),
            phrases=(photo.captions,),
            captions=(),
            weak=(False,),
            numbers=(0,),
        )
        for photo in photographs
        if photo.captions
    ]


def region_crops(photographs: Sequence[AnnotatedImage]) -> list[AnnotatedImage]:
    """For the Region RNN: each region that a person labelled cut out, as a photograph of its own with its phrases."""
    crops = []
    for photo in photographs:
        frame = np.array([photo.width, photo.height] * 2, np.float32)
        for box, phrases, weak in zip(photo.boxes, photo.phrases, photo.weak, strict=True):
            if weak:
                continue
            left, top, right, bottom = (box / frame).tolist()
            width, height = max(1, round(float(box[2] - box[0]))), max(1, round(float(box[3] - box[1])))
            crops.append(
                replace(
                    photo,
                    width=width,
                    height=height,
                    boxes=np.array([[0, 0, width, height]], np.float32),
                    phrases=(phrases,),
                    captions=(),
                    weak=(False,),
                    numbers=(0,),
                    window=(left, top, right, bottom),
                )
            )
    return crops

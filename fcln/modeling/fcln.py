"""FCLNConfig and FCLN: the paper's Fully Convolutional Localization Network, stages in the paper's order."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcln.modeling.anchors import PAPER_IMAGE_SIZE, scaled_anchors
from fcln.modeling.backbone import CHANNELS, STRIDE, make_backbone
from fcln.modeling.boxes import apply_offsets, box_position_features, clip, vote
from fcln.modeling.int8_linear import Int8Linear
from fcln.modeling.language_model import LanguageModel
from fcln.modeling.localization import (
    LocalizationLayer,
    bilinear_mean,
    bilinear_sample,
    inside,
    move_anchors,
    nms_of_each,
)
from fcln.modeling.phrase_encoder import PhraseEncoder
from fcln.modeling.recognition import RecognitionNetwork, mean_features

# Points a side at which a region reads the deepest map: its cells are 32 pixels, most regions cover a few of them.
_DEEP_SIZE = 3
# Photographs whose regions go through the recognition network together on a CPU: what 1,200 regions show stays in its
# cache on the way. 26.8 ms of CPU a photograph against 31.6 in batches of 16 and 31.7 one by one.
_CACHED = 4

# Names of fields in weights files of version 0.1.
_OLD_NAMES = {
    "fine": "stride8_features",
    "samples": "anchors_per_image",
    "positive_iou": "fg_iou",
    "negative_iou": "bg_iou",
    "rois": "rois_per_image",
    "roi_pool": "roi_candidates",
    "roi_positive_iou": "roi_fg_iou",
    "roi_negative_iou": "roi_bg_iou",
    "box_gradient": "caption_box_gradient",
    "score_overlap": "iou_aware_score",
    "box_beta": "smooth_l1_beta",
    "proposals": "post_nms_top_n",
    "considered": "pre_nms_top_n",
    "proposal_iou": "proposal_nms_iou",
    "proposal_share": "proposal_logit_weight",
    "final_iou": "final_nms_iou",
}


# Fields that training does not read (but for proposal_nms_iou, which it does).
_TEST_TIME = {"pre_nms_top_n", "post_nms_top_n", "proposal_logit_weight", "final_nms_iou", "box_voting_iou"}


@dataclass(frozen=True)
class FCLNConfig:
    """Every number that shapes the network or how it is used at test time; saved with the weights."""

    # The photograph and its features
    backbone: str = "resnet50"  # a key of backbone.CHANNELS
    caffe_strides: bool = True  # a resnet50's: see backbone.make_backbone
    image_size: int = 448  # longest side at which photographs are seen, pixels
    neck_channels: int = 512  # 1x1 convolution after the backbone; 0: none (paper)

    # Localization layer
    localization_channels: int = 256
    anchors: tuple[tuple[float, float], ...] = scaled_anchors(448)  # k (width, height), pixels

    # Bilinear sampling
    roi_channels: int = 160  # 1x1 convolution before sampling; 0: none (paper)
    roi_size: int = 7  # X = Y of the paper
    stride8_features: bool = True  # regions are sampled at stride 8, from the maps of 8 and 16 together; the paper: 16

    # Recognition network
    image_rnn: bool = False  # the paper's baselines: no proposals, the whole photograph is the only region
    hidden_size: int = 1024  # fc6
    hidden_rank: int = 0  # of fc6 as a product of two matrices; 0, the paper: one matrix
    code_size: int = 512  # fc7: the region code, D of the paper
    context: bool = True  # the code also sees the whole photograph and the box's place in it
    deep_features: bool = False  # the code also reads the map of stride 32, which the paper's network does not have
    dropout: float = 0.3

    # Language model
    word_size: int = 384
    lstm_size: int = 384
    max_words: int = 10  # longest generated phrase, and longest phrase trained on (paper: 10)

    # Phrase encoder
    piece_size: int = 192
    phrase_hidden_size: int = 256
    embedding_size: int = 256
    scene: bool = False  # embeddings of regions also say what their photograph shows; the paper has no embeddings

    # Training: which boxes the losses see
    anchors_per_image: int = 256  # B of the paper: anchors that train the localization layer
    fg_iou: float = 0.7
    bg_iou: float = 0.3
    rois_per_image: int = 48  # proposals that train the recognition network; the paper: the same B
    roi_candidates: int = 300  # they are drawn from that many which test time would look at; 0, the paper: from all
    roi_fg_iou: float = 0.5  # of those; Girshick 2015's: what is left between 0.3 and 0.7 crowds the best out
    roi_bg_iou: float = 0.5  # the paper: 0.7 and 0.3
    caption_box_gradient: float = 0.01  # share of the captions' gradient that reaches the sampled boxes; the paper: all
    iou_aware_score: bool = True  # the final score learns how well its box fits; the paper: only whether it may do
    smooth_l1_beta: float = 1 / 9  # smooth L1 is linear beyond it (Ren et al. 2015's code); the paper: 1

    # Test time
    pre_nms_top_n: int = 2000  # best-scored boxes that take part in non-maximum suppression
    post_nms_top_n: int = 450  # proposals that it keeps (paper: 300)
    proposal_nms_iou: float = 0.7
    proposal_logit_weight: float = 0.4  # of a proposal's log-odds in its final score's; the paper: none
    final_nms_iou: float = 0.48  # suppression after refinement; the released code: 0.3
    box_voting_iou: float = 0.55  # what is left moves to the mean of boxes that overlap it so; 1, the paper: none

    @classmethod
    def default(cls) -> "FCLNConfig":
        """Fast on a CPU; the configuration of the weights that ship with the package, but for their `hidden_rank`.

        223 proposals and the whole photograph are 14 times 16 regions, in which 8-bit layers multiply; as many labelled
        boxes are found as with 300 (0.773 of them at IoU 0.5).
        """
        return cls(backbone="efficientnet_lite2", deep_features=True, roi_channels=128, post_nms_top_n=223, scene=True)

    @classmethod
    def paper(cls) -> "FCLNConfig":
        """The paper's network: VGG-16, 4096-d codes, 720 pixels, 256 regions trained on, 300 proposals.

        Where paper and released code differ, the paper: one logistic score an anchor (code: a softmax of two), weight
        0.1 of the proposals' box loss (code: 0.05, and a decay of all offsets), captions' loss a mean over words (code:
        a sum), phrases of at most 10 words (code: 15), 300 proposals at test time (code: 1000).
        Where the paper is silent, the code: the anchors' sizes, 256 channels, offsets that start from zero, the
        suppression at 0.3 after refinement.
        Neither: scores of proposals are learnt on anchors (code: on moved ones), proposals that cross the border are
        cut (code: not trained on), points beyond the outermost cells take their values (both: 0), regions with the
        whole photograph among them, torchvision's weights and normalisation (code: Caffe's), fc6 and fc7 from fresh
        weights (code: VGG-16's), the phrase encoder.
        """
        return cls(
            backbone="vgg16",
            image_size=PAPER_IMAGE_SIZE,
            neck_channels=0,
            anchors=scaled_anchors(PAPER_IMAGE_SIZE),
            roi_channels=0,
            stride8_features=False,
            hidden_size=4096,
            code_size=4096,
            context=False,
            dropout=0.5,
            word_size=512,
            lstm_size=512,
            embedding_size=512,
            rois_per_image=256,
            roi_candidates=0,
            roi_fg_iou=0.7,
            roi_bg_iou=0.3,
            caption_box_gradient=1.0,
            iou_aware_score=False,
            smooth_l1_beta=1.0,
            pre_nms_top_n=20_000,
            post_nms_top_n=300,
            proposal_logit_weight=0.0,
            final_nms_iou=0.3,
            box_voting_iou=1.0,
        )

    def trained(self) -> "FCLNConfig":
        """Defaults in place of what only test time reads: the same for networks that train in the same way."""
        defaults: dict[str, Any] = {f.name: f.default for f in dataclasses.fields(self) if f.name in _TEST_TIME}
        return dataclasses.replace(self, **defaults)

    def to_json(self) -> dict:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict) -> "FCLNConfig":
        """The inverse of to_json, of version 0.1's too; TypeError for a field that this version does not know."""
        values = {_OLD_NAMES.get(name, name): value for name, value in values.items()}
        anchors = tuple((float(w), float(h)) for w, h in values["anchors"])
        return cls(**{**values, "anchors": anchors})


@dataclass(frozen=True)
class Maps:
    """A batch's features as the stages above the backbone read them."""

    neck: Tensor  # (B, C, h, w) at stride 16: what the localization layer sees
    regions: Tensor  # (B, C', h', w') what regions are sampled from
    regions_stride: int  # pixels
    context: Tensor  # (B, C'', h'', w'') whose mean tells the photograph's context
    context_stride: int
    deep: Tensor | None  # (B, code_size, h'', w'') at stride 32: what regions read of the deepest map

    def of(self, part: slice) -> "Maps":
        """Those of some of the photographs."""
        maps = {name: getattr(self, name) for name in ("neck", "regions", "context", "deep")}
        return dataclasses.replace(self, **{name: each[part] for name, each in maps.items() if each is not None})


@dataclass(frozen=True)
class Anchors:
    """What the localization layer says of a batch's A anchors."""

    scores: Tensor  # (B, A) float32 log-odds of a thing
    offsets: Tensor  # (B, A, 4) float32 tx ty tw th
    boxes: Tensor  # (A, 4) float32, the anchors themselves, pixels of the network's input


@dataclass(frozen=True)
class Stages:
    """A forward pass: what each stage of the network says of a batch."""

    anchors: Anchors
    boxes: Tensor  # (B, R, 4) float32, the regions sampled, pixels of the network's input
    codes: Tensor  # (B, R, code_size)
    logits: Tensor  # (B, R) float32, final log-odds of a thing
    offsets: Tensor  # (B, R, 4) float32, from the sampled box to the final one


@dataclass(frozen=True)
class Detection:
    """The regions of one photograph, R of them, best score first; boxes in pixels of the network's input."""

    boxes: Tensor  # (R, 4) float32 x1 y1 x2 y2
    scores: Tensor  # (R,) float32 in [0, 1]
    codes: Tensor  # (R, code_size) float32
    whole: Tensor  # (code_size,) float32, the code of the whole photograph, which is one of them


class FCLN(nn.Module):
    """Photographs -> regions with codes; codes -> phrases and embeddings; phrases -> embeddings."""

    def __init__(self, config: FCLNConfig, *, vocabulary: int, pieces: int, backbone: bool = True):
        """vocabulary: words with the special ones. pieces: word pieces of the phrase encoder.

        backbone: False leaves it out, for those who only ask: it takes half of the time that loading takes.
        """
        super().__init__()
        self.config = config
        self.backbone: nn.Module = nn.Identity()
        if backbone:
            self.backbone = make_backbone(config.backbone, caffe_strides=config.caffe_strides)
        channels, neck = CHANNELS[config.backbone], config.neck_channels
        self.neck = nn.Sequential(nn.Conv2d(channels[STRIDE], neck, 1), nn.ReLU()) if neck else nn.Identity()
        if 32 in channels:  # the top-down step of a feature pyramid from stride 32
            self.top_down = nn.Conv2d(channels[32], neck, 1, bias=False)
        neck = neck or channels[STRIDE]
        self.localization = LocalizationLayer(neck, config.localization_channels, config.anchors, STRIDE)
        roi = config.roi_channels
        self.roi = nn.Conv2d(neck, roi, 1) if roi else nn.Identity()
        if config.stride8_features:
            self.lateral = nn.Conv2d(channels[8], roi or neck, 1, bias=False)
            nn.init.zeros_(self.lateral.weight)  # training begins with what stride 16 shows
        self.recognition = RecognitionNetwork(
            roi or neck,
            config.roi_size,
            config.hidden_size,
            config.code_size,
            context=channels.get(32, neck) if config.context else 0,
            dropout=config.dropout,
            rank=config.hidden_rank,
        )
        if config.deep_features:
            self.deep = nn.Conv2d(channels[32], config.code_size, 1, bias=False)
        self.language = LanguageModel(config.code_size, config.word_size, config.lstm_size, vocabulary)
        self.embedding = nn.Linear(config.code_size, config.embedding_size)
        if config.scene:
            # Fitted in one go when all else is trained (scripts.train.scene); until then it says nothing.
            self.scene = nn.Linear(config.code_size, config.embedding_size).requires_grad_(False)
            nn.init.zeros_(self.scene.weight)
            nn.init.zeros_(self.scene.bias)
        self.phrases = PhraseEncoder(pieces, config.piece_size, config.phrase_hidden_size, config.embedding_size)
        self._deepest_in_int8: Int8Linear | None = None  # top_down and deep, see prepare_inference

    @torch.no_grad()
    def prepare_inference(self, dtype: torch.dtype) -> None:
        """Keep copies of weights as a CPU runs fastest with, for a network whose weights change no more.

        dtype: in which what is above the backbone will run; torch.int8: the layers that take longest, see `Int8Linear`.
        """
        self.localization.prepare_inference(dtype)
        self.recognition.prepare_inference(dtype)
        if dtype == torch.int8 and 32 in CHANNELS[self.config.backbone]:
            # A linear layer of each cell: oneDNN takes ten times as long for 8-bit convolutions of single cells.
            layers = [self.top_down, self.deep] if self.config.deep_features else [self.top_down]
            weight = torch.cat([layer.weight.flatten(1) for layer in layers])
            self._deepest_in_int8 = Int8Linear(weight)

    def features(self, images: Tensor) -> list[Tensor]:
        """Normalised RGB (B, 3, H, W), H and W multiples of 16 -> maps by stride, see backbone.make_backbone."""
        return self.backbone(images)

    def forward(self, features: list[Tensor], sizes: Tensor, select: Callable[[Anchors], Tensor]) -> Stages:
        """The stages in the paper's order, the same in training and at test time but for what `select` does.

        features: of `features`. sizes: (B, 2) width and height of each photograph in pixels of the network's input,
        padding excluded. select: which boxes go on to the recognition network, (B, R, 4): in training a sample of
        positives and negatives, at test time what non-maximum suppression leaves (paper 3.2).
        """
        maps = self.maps(features)
        anchors = self.localize(maps)
        boxes = select(anchors)
        codes = self.codes(maps, sizes, boxes)
        logits, offsets = self.recognition.score_and_offset(codes)
        return Stages(anchors, boxes, codes, logits, offsets)

    def maps(self, features: list[Tensor]) -> Maps:
        """Features by stride -> what localization, sampling and context are read from."""
        by_stride = dict(zip(CHANNELS[self.config.backbone], features, strict=True))
        stride16, deepest = by_stride[STRIDE], by_stride.get(32)
        if deepest is None:
            neck = context = self.neck(stride16)
            context_stride, deep = STRIDE, None
        else:  # a 1x1 convolution commutes with interpolation: cheaper before it
            above, deep = self._read_deepest(deepest)
            above = F.interpolate(above, size=stride16.shape[-2:], mode="bilinear")
            lateral: nn.Module = self.neck[0]  # type: ignore[index]  # a Sequential: with stride 32 there is a neck
            neck, context, context_stride = F.relu(lateral(stride16) + above), deepest, 32
        if not self.config.stride8_features:
            regions = F.relu(self.roi(neck)) if self.config.roi_channels else neck
            return Maps(neck, regions, STRIDE, context, context_stride, deep)
        # The top-down path of Lin et al. (Feature Pyramid Networks, CVPR 2017), one step of it: what a thing is comes
        # from stride 16, where its edges are from stride 8. Without it half of the things below 50 pixels are missed.
        above = F.interpolate(self.roi(neck), size=by_stride[8].shape[-2:], mode="bilinear")
        return Maps(neck, F.relu(above + self.lateral(by_stride[8])), 8, context, context_stride, deep)

    def _read_deepest(self, deepest: Tensor) -> tuple[Tensor, Tensor | None]:
        """What stride 32 adds to the map of stride 16, and to region codes."""
        if self._deepest_in_int8 is None:
            return self.top_down(deepest), self.deep(deepest) if self.config.deep_features else None
        rows, columns = deepest.shape[-2:]
        cells = deepest.permute(0, 2, 3, 1).flatten(1, 2).float()  # (B, rows * columns, C)
        both = torch.stack([self._deepest_in_int8.of_positive(one) for one in cells])
        both = both.unflatten(1, (rows, columns)).permute(0, 3, 1, 2)
        above = both[:, : self.top_down.out_channels]
        return above, both[:, above.shape[1] :] if self.config.deep_features else None

    def localize(self, maps: Maps) -> Anchors:
        """The localization layer's scores and offsets (paper 3.2)."""
        return Anchors(*self.localization(maps.neck))

    def codes(self, maps: Maps, sizes: Tensor, boxes: Tensor) -> Tensor:
        """Region codes of boxes: sizes (B, 2), boxes (B, R, 4) -> (B, R, code_size)."""
        batch = len(boxes)
        if boxes.device.type == "cuda" or torch.is_grad_enabled() or batch <= _CACHED:
            return self._codes(maps, sizes, boxes)
        parts = [slice(start, start + _CACHED) for start in range(0, batch, _CACHED)]
        return torch.cat([self._codes(maps.of(part), sizes[part], boxes[part]) for part in parts])

    def _codes(self, maps: Maps, sizes: Tensor, boxes: Tensor) -> Tensor:
        config = self.config
        regions = bilinear_sample(maps.regions, boxes, stride=maps.regions_stride, size=config.roi_size)
        batch, count = boxes.shape[:2]
        context = mean_features(maps.context, sizes, maps.context_stride)
        places = box_position_features(boxes, sizes[:, None])
        deep = None
        if maps.deep is not None:
            deep = bilinear_mean(maps.deep, boxes, stride=32, size=_DEEP_SIZE).flatten(0, 1)
        codes = self.recognition(regions.flatten(0, 1), context, places.flatten(0, 1), deep)
        return codes.view(batch, count, -1)

    def embed(self, codes: Tensor) -> Tensor:
        """What regions show by themselves: codes (..., code_size) -> (..., embedding_size) float32, unit length."""
        return F.normalize(self.embedding(codes).float(), dim=-1)

    def embed_in_scene(self, embeddings: Tensor, whole: Tensor) -> Tensor:
        """Embeddings of regions moved towards what their photographs show, or as they are without `config.scene`.

        embeddings: (..., embedding_size), of `embed`. whole: (..., code_size), the code of each one's whole photograph.
        Returns (..., embedding_size) float32, unit length.
        """
        if not self.config.scene:
            return embeddings
        return F.normalize(embeddings + self.scene(whole).float(), dim=-1)

    def proposals(self, anchors: Anchors, sizes: Tensor, *, count: int) -> tuple[Tensor, Tensor]:
        """Where the localization layer sees things (paper 3.2, test time): at most `count` boxes of each photograph.

        sizes: (B, 2), see forward. Returns boxes (B, P, 4) float32 x1 y1 x2 y2 in pixels of the network's input, best
        first, and their log-odds (B, P). P is the most of any photograph; others' rows end with log-odds of -inf.
        """
        config = self.config
        width, height = sizes[:, :1], sizes[:, 1:]
        moved = move_anchors(anchors.boxes, anchors.offsets, width, height)
        nowhere = ~inside(anchors.boxes, width, height) | ~torch.isfinite(anchors.scores)
        scores = anchors.scores.masked_fill(nowhere, -torch.inf)
        kept, counts = nms_of_each(
            moved, scores, iou=config.proposal_nms_iou, pre_nms_top_n=config.pre_nms_top_n, post_nms_top_n=count
        )
        return _rows(moved, kept), scores.gather(1, kept).masked_fill(~counts, -torch.inf)

    @torch.no_grad()
    def detect(self, features: list[Tensor], sizes: Tensor, *, max_regions: int) -> list[Detection]:
        """The regions of each photograph (test time: paper 3.2, the released code's final suppression, box voting).

        features, sizes: see forward. The whole photograph is always one region of each: many phrases (a street, the
        beach) name all of it, and no proposal is certain to cover it.
        """
        config = self.config
        whole = whole_boxes(sizes)
        if config.image_rnn:
            codes = self.codes(self.maps(features), sizes, whole)
            return [
                Detection(box, box.new_ones(1), code.float(), code[0].float())
                for box, code in zip(whole, codes, strict=True)
            ]
        of_proposals: list[Tensor] = []

        def suppress(anchors: Anchors) -> Tensor:
            boxes, logits = self.proposals(anchors, sizes, count=config.post_nms_top_n)
            of_proposals.append(logits)
            # Photographs may have fewer proposals than others: their rows are filled with the whole photograph.
            return torch.cat([whole, torch.where((logits == -torch.inf)[..., None], whole, boxes)], dim=1)

        stages = self(features, sizes, suppress)
        (proposal_logits,) = of_proposals
        missing = proposal_logits == -torch.inf
        added = config.proposal_logit_weight * proposal_logits.masked_fill(missing, 0.0)
        logits = (stages.logits[:, 1:] + added).masked_fill(missing, -torch.inf)
        logits = torch.cat([stages.logits[:, :1], logits], dim=1)
        final = clip(apply_offsets(stages.boxes, stages.offsets), sizes[:, :1], sizes[:, 1:])
        final = torch.cat([whole, final[:, 1:]], dim=1)
        kept, counts = nms_of_each(
            final[:, 1:],
            logits[:, 1:],
            iou=config.final_nms_iou,
            pre_nms_top_n=logits.shape[1] - 1,
            post_nms_top_n=max_regions - 1,
        )
        kept = torch.cat([kept.new_zeros(len(kept), 1), kept + 1], dim=1)
        counts = torch.cat([counts.new_ones(len(counts), 1), counts], dim=1)
        left = logits.gather(1, kept).masked_fill(~counts, -torch.inf)
        order = left.argsort(dim=1, descending=True, stable=True)
        kept, scores = kept.gather(1, order), left.gather(1, order).sigmoid()
        boxes, codes = _rows(final, kept), _rows(stages.codes, kept).float()
        if config.box_voting_iou < 1:
            # The whole photograph, which is the first row, neither votes nor moves.
            voted = vote(boxes, final[:, 1:], logits[:, 1:].float().sigmoid(), least=config.box_voting_iou)
            boxes = torch.where((kept == 0)[..., None], boxes, voted)
        return [
            Detection(b[:count], s[:count], c[:count], all_of_it)
            for b, s, c, all_of_it, count in zip(
                boxes, scores, codes, stages.codes[:, 0].float(), counts.sum(1).tolist(), strict=True
            )
        ]


def _rows(values: Tensor, indices: Tensor) -> Tensor:
    """Rows of each photograph: (B, N, C), (B, K) -> (B, K, C)."""
    return values.gather(1, indices[..., None].expand(-1, -1, values.shape[2]))


def whole_boxes(sizes: Tensor) -> Tensor:
    """The region that is all of each photograph: sizes (B, 2) width height -> (B, 1, 4)."""
    return torch.cat([torch.zeros_like(sizes), sizes], dim=1)[:, None]

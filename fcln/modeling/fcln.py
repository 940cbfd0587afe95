"""FCLNConfig and FCLN: the paper's Fully Convolutional Localization Network, stages in the paper's order."""

import dataclasses
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcln.modeling.anchors import PAPER_IMAGE_SIZE, scaled_anchors
from fcln.modeling.backbone import CHANNELS, FINE_CHANNELS, FINE_STRIDE, STRIDE, make_backbone, split_features
from fcln.modeling.boxes import apply_offsets, clip, geometry
from fcln.modeling.language_model import LanguageModel
from fcln.modeling.localization import LocalizationLayer, bilinear_sample, inside, move_anchors, propose
from fcln.modeling.phrase_encoder import PhraseEncoder
from fcln.modeling.recognition import RecognitionNetwork, photograph_context


@dataclass(frozen=True)
class FCLNConfig:
    """Every number that shapes the network or how it is used at test time; saved with the weights."""

    backbone: str = "resnet50"  # vgg16, resnet50 or resnet18, to stride 16
    caffe_strides: bool = True  # a resnet50's: see backbone.make_backbone
    image_size: int = 448  # longest side at which photographs are seen, pixels
    neck_channels: int = 512  # 1x1 convolution after the backbone; 0: none (paper)
    localization_channels: int = 256
    anchors: tuple[tuple[float, float], ...] = scaled_anchors(448)  # k (width, height), pixels
    roi_channels: int = 160  # 1x1 convolution before sampling; 0: none (paper)
    roi_size: int = 7  # X = Y of the paper
    image_rnn: bool = False  # the paper's baselines: no proposals, the whole photograph is the only region
    fine: bool = True  # regions are sampled from maps of stride 8, the backbone's of 8 and 16 together; the paper: 16
    hidden_size: int = 1024  # fc6
    code_size: int = 512  # fc7: the region code, D of the paper
    context: bool = True  # the code also sees the whole photograph and the box's place in it
    dropout: float = 0.3
    word_size: int = 384
    lstm_size: int = 384
    max_words: int = 10  # longest generated phrase, and longest phrase trained on (paper: 10)
    piece_size: int = 192  # the phrase encoder's
    phrase_hidden_size: int = 256
    embedding_size: int = 256
    samples: int = 256  # B of the paper: proposals a photograph that train the localization layer
    positive_iou: float = 0.7
    negative_iou: float = 0.3
    rois: int = 48  # proposals a photograph that train the recognition network; the paper: the same B
    roi_pool: int = 300  # they are drawn from that many which test time would look at; 0, the paper: from all
    roi_positive_iou: float = 0.5  # of those; Girshick 2015's: what is left between 0.3 and 0.7 crowds the best out
    roi_negative_iou: float = 0.5  # the paper: 0.7 and 0.3
    box_gradient: float = 0.01  # share of the captions' gradient that reaches the boxes they sample; the paper: all
    score_overlap: bool = True  # the final score learns how well its box fits; the paper: only whether it may do
    box_beta: float = 1 / 9  # smooth L1 is linear beyond it (Ren et al. 2015's code); the paper: 1
    proposals: int = 450  # kept by non-maximum suppression at test time (paper: 300)
    considered: int = 2000  # best-scored boxes that take part in it
    proposal_iou: float = 0.7
    proposal_share: float = 0.4  # of a proposal's log-odds in its final score's; the paper: none
    final_iou: float = 0.48  # suppression after refinement; the released code: 0.3

    @classmethod
    def default(cls) -> "FCLNConfig":
        """Fast on a CPU; the configuration whose weights ship with the package."""
        return cls()

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
            fine=False,
            hidden_size=4096,
            code_size=4096,
            context=False,
            dropout=0.5,
            word_size=512,
            lstm_size=512,
            embedding_size=512,
            rois=256,
            roi_pool=0,
            roi_positive_iou=0.7,
            roi_negative_iou=0.3,
            box_gradient=1.0,
            score_overlap=False,
            box_beta=1.0,
            proposals=300,
            considered=20_000,
            proposal_share=0.0,
            final_iou=0.3,
        )

    def to_json(self) -> dict:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict) -> "FCLNConfig":
        """The inverse of to_json; TypeError for a field that this version does not know."""
        anchors = tuple((float(w), float(h)) for w, h in values["anchors"])
        return cls(**{**values, "anchors": anchors})


@dataclass(frozen=True)
class Maps:
    """A batch's features as the stages above the backbone read them."""

    neck: Tensor  # (B, C, h, w) at stride 16: proposals, and the photograph as context
    regions: Tensor  # (B, C', h', w') what regions are sampled from
    stride: int  # of `regions`, pixels


@dataclass(frozen=True)
class Detection:
    """The regions of one photograph, R of them, best score first; boxes in pixels of the network's input."""

    boxes: Tensor  # (R, 4) float32 x1 y1 x2 y2
    scores: Tensor  # (R,) float32 in [0, 1]
    codes: Tensor  # (R, code_size) float32


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
            self.backbone = make_backbone(config.backbone, caffe_strides=config.caffe_strides, fine=config.fine)
        channels, neck = CHANNELS[config.backbone], config.neck_channels
        self.neck = nn.Sequential(nn.Conv2d(channels, neck, 1), nn.ReLU()) if neck else nn.Identity()
        channels = neck or channels
        self.localization = LocalizationLayer(channels, config.localization_channels, config.anchors, STRIDE)
        roi = config.roi_channels
        self.roi = nn.Conv2d(channels, roi, 1) if roi else nn.Identity()
        if config.fine:
            self.lateral = nn.Conv2d(FINE_CHANNELS[config.backbone], roi or channels, 1, bias=False)
            nn.init.zeros_(self.lateral.weight)  # training begins with what stride 16 shows
        self.recognition = RecognitionNetwork(
            roi or channels,
            config.roi_size,
            config.hidden_size,
            config.code_size,
            context=channels if config.context else 0,
            dropout=config.dropout,
        )
        self.language = LanguageModel(config.code_size, config.word_size, config.lstm_size, vocabulary)
        self.embedding = nn.Linear(config.code_size, config.embedding_size)
        self.phrases = PhraseEncoder(pieces, config.piece_size, config.phrase_hidden_size, config.embedding_size)

    def features(self, images: Tensor) -> Tensor:
        """Normalised RGB (B, 3, H, W), H and W multiples of 16 -> (B, C, H/16, W/16), see backbone.make_backbone."""
        return self.backbone(images)

    def maps(self, features: Tensor) -> Maps:
        """(B, C, h, w) of `features` -> what proposals, context and regions are read from."""
        if not self.config.fine:
            neck = self.neck(features)
            return Maps(neck, F.relu(self.roi(neck)) if self.config.roi_channels else neck, STRIDE)
        # The top-down path of Lin et al. (Feature Pyramid Networks, CVPR 2017), one step of it: what a thing is comes
        # from stride 16, where its edges are from stride 8. Without it half of the things below 50 pixels are missed.
        coarse, fine = split_features(features, self.config.backbone)
        neck = self.neck(coarse)
        above = F.interpolate(self.roi(neck), scale_factor=STRIDE // FINE_STRIDE, mode="bilinear")
        return Maps(neck, F.relu(above + self.lateral(fine)), FINE_STRIDE)

    def codes(self, maps: Maps, sizes: Tensor, boxes: Tensor) -> Tensor:
        """Region codes of boxes: sizes (B, 2), boxes (B, R, 4) -> (B, R, code_size)."""
        config = self.config
        regions = bilinear_sample(maps.regions, boxes, stride=maps.stride, size=config.roi_size)
        batch, count = boxes.shape[:2]
        context = photograph_context(maps.neck, sizes, STRIDE)[:, None].expand(-1, count, -1)
        places = torch.cat([geometry(b, *size) for b, size in zip(boxes, sizes.tolist(), strict=True)])
        codes = self.recognition(regions.flatten(0, 1), context.flatten(0, 1), places)
        return codes.view(batch, count, -1)

    def embed(self, codes: Tensor) -> Tensor:
        """Region embeddings: codes (..., code_size) -> (..., embedding_size) float32, unit length."""
        return F.normalize(self.embedding(codes).float(), dim=-1)

    def propose(self, maps: Maps, sizes: Tensor, *, count: int) -> list[tuple[Tensor, Tensor]]:
        """Where the localization layer sees things (paper 3.2, test time): at most `count` boxes of each photograph.

        sizes: (B, 2), see detect. Returns for each photograph boxes (P, 4) float32 x1 y1 x2 y2 in pixels of the
        network's input, best first, and their log-odds (P,).
        """
        config = self.config
        scores, offsets, anchors = self.localization(maps.neck)
        proposals = []
        for s, o, (width, height) in zip(scores, offsets, sizes.tolist(), strict=True):
            moved = move_anchors(anchors, o, width, height)
            s = s.masked_fill(~inside(anchors, width, height), -torch.inf)
            before = min(config.considered, int(torch.isfinite(s).sum()))
            kept = propose(moved, s, count=count, iou=config.proposal_iou, before=before)
            proposals.append((moved[kept], s[kept]))
        return proposals

    @torch.no_grad()
    def detect(self, features: Tensor, sizes: Tensor, *, max_regions: int) -> list[Detection]:
        """The regions of each photograph (test time: paper 3.2 and the released code's final suppression).

        features: (B, C, h, w) of `features`. sizes: (B, 2) width and height of each photograph in pixels of the
        network's input, padding excluded. The whole photograph is always one region of each: many phrases (a street,
        the beach) name all of it, and no proposal is certain to cover it.
        """
        config = self.config
        maps, whole = self.maps(features), whole_boxes(sizes)
        if config.image_rnn:
            codes = self.codes(maps, sizes, whole)
            return [Detection(box, box.new_ones(1), code.float()) for box, code in zip(whole, codes, strict=True)]
        proposals = self.propose(maps, sizes, count=config.proposals)
        # Photographs may have fewer proposals than others: their rows are filled with the whole photograph.
        counts = [1 + len(p) for p, _ in proposals]
        rows = [torch.cat([w, p, w.expand(max(counts) - 1 - len(p), -1)]) for w, (p, _) in zip(whole, proposals)]
        boxes = torch.stack(rows)
        codes = self.codes(maps, sizes, boxes)
        logits, refine = self.recognition.score_and_offset(codes)
        found = []
        for b, (count, (_, first)) in enumerate(zip(counts, proposals, strict=True)):
            logits[b, 1:count] += config.proposal_share * first
            width, height = sizes[b].tolist()
            final = clip(apply_offsets(boxes[b, :count], refine[b, :count]), width, height)
            final[0] = boxes[b, 0]
            kept = propose(final[1:], logits[b, 1:count], count=max_regions - 1, iou=config.final_iou, before=count) + 1
            kept = torch.cat([kept.new_zeros(1), kept])
            kept = kept[logits[b, kept].argsort(descending=True, stable=True)]
            found.append(Detection(final[kept], logits[b, kept].sigmoid(), codes[b, kept].float()))
        return found


def whole_boxes(sizes: Tensor) -> Tensor:
    """The region that is all of each photograph: sizes (B, 2) width height -> (B, 1, 4)."""
    return torch.cat([torch.zeros_like(sizes), sizes], dim=1)[:, None]

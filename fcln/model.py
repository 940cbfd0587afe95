"""FCLNConfig and FCLN: the paper's Fully Convolutional Localization Network, stages in the paper's order."""

import dataclasses
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcln.anchors import PAPER_IMAGE_SIZE, scaled_anchors
from fcln.backbone import CHANNELS, STRIDE, make_backbone
from fcln.boxes import apply_offsets, clip, geometry
from fcln.language import LanguageModel
from fcln.localization import LocalizationLayer, bilinear_sample, inside, move_anchors, propose
from fcln.phrases import PhraseEncoder
from fcln.recognition import RecognitionNetwork, photograph_context


@dataclass(frozen=True)
class FCLNConfig:
    """Every number that shapes the network or how it is used at test time; saved with the weights."""

    backbone: str = "resnet50"  # vgg16, resnet50 or resnet18, to stride 16
    caffe_strides: bool = True  # a resnet50's: see backbone.make_backbone
    image_size: int = 384  # longest side at which photographs are seen, pixels
    neck_channels: int = 512  # 1x1 convolution after the backbone; 0: none (paper)
    localization_channels: int = 256
    anchors: tuple[tuple[float, float], ...] = scaled_anchors(384)  # k (width, height), pixels
    roi_channels: int = 160  # 1x1 convolution before sampling; 0: none (paper)
    roi_size: int = 7  # X = Y of the paper
    hidden_size: int = 1024  # fc6
    code_size: int = 512  # fc7: the region code, D of the paper
    context: bool = True  # the code also sees the whole photograph and the box's place in it
    dropout: float = 0.2
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
    box_beta: float = 1 / 9  # smooth L1 is linear beyond it (Ren et al. 2015's code); the paper: 1
    proposals: int = 300  # kept by non-maximum suppression at test time (paper: 300)
    considered: int = 2000  # best-scored boxes that take part in it
    proposal_iou: float = 0.7
    final_iou: float = 0.5  # suppression after refinement; the released code: 0.3

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
            box_beta=1.0,
            proposals=300,
            considered=20_000,
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
        if backbone:
            self.backbone, channels = make_backbone(config.backbone, caffe_strides=config.caffe_strides)
        else:
            self.backbone, channels = nn.Identity(), CHANNELS[config.backbone]
        neck = config.neck_channels
        self.neck = nn.Sequential(nn.Conv2d(channels, neck, 1), nn.ReLU()) if neck else nn.Identity()
        channels = neck or channels
        self.localization = LocalizationLayer(channels, config.localization_channels, config.anchors, STRIDE)
        roi = config.roi_channels
        self.roi = nn.Sequential(nn.Conv2d(channels, roi, 1), nn.ReLU()) if roi else nn.Identity()
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
        """Normalised RGB (B, 3, H, W), H and W multiples of 16 -> (B, C, H/16, W/16)."""
        return self.backbone(images)

    def codes(self, neck: Tensor, sizes: Tensor, boxes: Tensor) -> Tensor:
        """Region codes of boxes: neck features (B, C, h, w), sizes (B, 2), boxes (B, R, 4) -> (B, R, code_size)."""
        config = self.config
        regions = bilinear_sample(self.roi(neck), boxes, stride=STRIDE, size=config.roi_size)
        batch, count = boxes.shape[:2]
        context = photograph_context(neck, sizes, STRIDE)[:, None].expand(-1, count, -1)
        places = torch.cat([geometry(b, *size) for b, size in zip(boxes, sizes.tolist(), strict=True)])
        codes = self.recognition(regions.flatten(0, 1), context.flatten(0, 1), places)
        return codes.view(batch, count, -1)

    def embed(self, codes: Tensor) -> Tensor:
        """Region embeddings: codes (..., code_size) -> (..., embedding_size) float32, unit length."""
        return F.normalize(self.embedding(codes).float(), dim=-1)

    @torch.no_grad()
    def detect(self, features: Tensor, sizes: Tensor, *, max_regions: int) -> list[Detection]:
        """The regions of each photograph (test time: paper 3.2 and the released code's final suppression).

        features: (B, C, h, w) of the backbone. sizes: (B, 2) width and height of each photograph in pixels of the
        network's input, padding excluded. The whole photograph is always one region of each: many phrases (a street,
        the beach) name all of it, and no proposal is certain to cover it.
        """
        config = self.config
        neck = self.neck(features)
        scores, offsets, anchors = self.localization(neck)
        proposals = []
        for s, o, (width, height) in zip(scores, offsets, sizes.tolist(), strict=True):
            moved = move_anchors(anchors, o, width, height)
            s = s.masked_fill(~inside(anchors, width, height), -torch.inf)
            count = min(config.considered, int(torch.isfinite(s).sum()))
            kept = propose(moved, s, count=config.proposals, iou=config.proposal_iou, before=count)
            proposals.append(torch.cat([moved.new_tensor([[0, 0, width, height]]), moved[kept]]))
        # Photographs may have fewer proposals than others: their rows are filled with the whole photograph.
        most = max(map(len, proposals))
        boxes = torch.stack([torch.cat([p, p[:1].expand(most - len(p), -1)]) for p in proposals])
        codes = self.codes(neck, sizes, boxes)
        logits, refine = self.recognition.score_and_offset(codes)
        found = []
        for b, count in enumerate(map(len, proposals)):
            width, height = sizes[b].tolist()
            final = clip(apply_offsets(boxes[b, :count], refine[b, :count]), width, height)
            final[0] = boxes[b, 0]
            kept = propose(final[1:], logits[b, 1:count], count=max_regions - 1, iou=config.final_iou, before=count) + 1
            kept = torch.cat([kept.new_zeros(1), kept])
            kept = kept[logits[b, kept].argsort(descending=True, stable=True)]
            found.append(Detection(final[kept], logits[b, kept].sigmoid(), codes[b, kept].float()))
        return found

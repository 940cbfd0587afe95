"""What training minimises: the paper's five losses, and three that teach photographs and phrases one vector space."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcln.modeling.boxes import apply_offsets, find_offsets, iou
from fcln.modeling.fcln import FCLN, FCLNConfig, whole_boxes
from fcln.modeling.localization import inside, move_anchors, propose
from fcln.training.sampling import sample_boxes

# Paper 3.5: the four of the localization layer and the recognition network 0.1 each, the captions 1.
PAPER_WEIGHTS = {
    "proposal_score": 0.1,
    "proposal_box": 0.1,
    "final_score": 0.1,
    "final_box": 0.1,
    "caption": 1.0,
}
DETECTION_LOSSES = ("proposal_score", "proposal_box", "final_score", "final_box")
# The phrase encoder's, ours: see ContrastiveLoss.
CONTRASTIVE_WEIGHTS = {"photographs": 1.0, "phrases": 1.0, "grounding": 1.0}
# With a sentence-embedding teacher: see meaning_loss.
TEACHER_WEIGHTS = {"meaning": 1.0}

# How much of a phrase's target is shared out to photographs whose phrases mean nearly the same, by the teacher.
_SHARED = 0.3
# The teacher's similarities are divided by these before they are compared: nearly the same is 0.8 and more.
_TEACHER_TEMPERATURE, _MEANING_TEMPERATURE = 0.1, 0.07

# Offsets beyond this are those of degenerate boxes; the released code leaves them out too.
_MAX_OFFSET = 10.0
# A region answers a phrase if it overlaps the phrase's box by this much.
_ANSWERS = 0.5


@dataclass(frozen=True)
class Batch:
    """B photographs and what is known of them. Boxes in pixels of the network's input."""

    images: Tensor | None  # (B, 3, H, W) uint8 RGB, padded right and below; None if features are given
    features: Tensor | None  # (B, C, H/16, W/16) of a frozen backbone
    sizes: Tensor  # (B, 2) float32 width, height without padding
    boxes: list[Tensor]  # B of (G, 4) float32, G >= 1
    captions: list[Tensor]  # B of (G, T) int64: one phrase of each box, padded with 0
    phrases: Tensor  # (Q, T) int64 word pieces of the batch's phrases, padded with 0
    phrase_photo: Tensor  # (Q,) int64, photograph of each phrase, 0..B-1
    phrase_boxes: Tensor  # (Q, most G) bool, the boxes of each phrase in its photograph; none: all of the photograph
    phrase_group: Tensor  # (Q,) bool, phrases that make up their photograph's query of several phrases
    also_true: Tensor  # (Q, B) bool, other photographs that are known to have the same phrase
    names: list[str]  # B photographs' names, for messages
    # From a sentence-embedding teacher, if there is one: unit vectors (zeros: not known) of the batch's phrases, and
    # more texts without photographs.
    phrase_vectors: Tensor | None = None  # (Q, D)
    texts: Tensor | None = None  # (M, T) int64 word pieces
    text_vectors: Tensor | None = None  # (M, D)

    def only(self, photo: int) -> "Batch":
        """The batch of one of its photographs."""
        mine = self.phrase_photo == photo
        return Batch(
            images=None if self.images is None else self.images[photo : photo + 1],
            features=None if self.features is None else self.features[photo : photo + 1],
            sizes=self.sizes[photo : photo + 1],
            boxes=[self.boxes[photo]],
            captions=[self.captions[photo]],
            phrases=self.phrases[mine],
            phrase_photo=torch.zeros_like(self.phrase_photo[mine]),
            phrase_boxes=self.phrase_boxes[mine],
            phrase_group=self.phrase_group[mine],
            also_true=self.also_true[mine, photo : photo + 1],
            names=[self.names[photo]],
            phrase_vectors=None if self.phrase_vectors is None else self.phrase_vectors[mine],
            texts=self.texts,
            text_vectors=self.text_vectors,
        )


class ContrastiveLoss(nn.Module):
    """Agreement of region and phrase embeddings; holds the two temperatures, trained too.

    photographs: the score that retrieval ranks by (mean over a photograph's phrases of the best region's similarity),
    cross-entropy both ways against the batch's other photographs: the thing that is measured.
    phrases: the same for each single phrase, caption or not, against the other photographs.
    grounding: of its photograph's regions, the phrase must pick those that overlap a box of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor([3.0, 2.7]))  # of a query of several phrases, of a phrase

    def forward(self, regions: Tensor, boxes: Tensor, phrases: Tensor, batch: Batch) -> dict[str, Tensor]:
        """regions (B, R, E) unit length, the last the whole photograph; boxes (B, R, 4); phrases (Q, E) unit length."""
        group_scale, scale = self.log_scale.clamp(max=4.0).exp()
        similarity = torch.einsum("qe,bre->qbr", phrases, regions)  # (Q, B, R)
        best = similarity.amax(2)  # (Q, B)
        logits = (best * scale).masked_fill(batch.also_true, -torch.inf)
        return {
            "photographs": self._query(best, batch, group_scale),
            "phrases": -(_phrase_targets(batch) * F.log_softmax(logits, 1).masked_fill(batch.also_true, 0))
            .sum(1)
            .mean(),
            "grounding": self._grounding(similarity * scale, boxes, batch),
        }

    @staticmethod
    def _query(best: Tensor, batch: Batch, scale: Tensor) -> Tensor:
        """The retrieval of the paper as a loss, phrases -> photograph and photograph -> phrases."""
        count = best.shape[1]
        member = F.one_hot(batch.phrase_photo, count).T.to(best.dtype) * batch.phrase_group  # (B, Q)
        sizes = member.sum(1)
        asked = sizes > 0  # photographs with at least one phrase in the group
        if not asked.any():  # weak labels only
            return best.sum() * 0
        scores = (member @ best)[asked] / sizes[asked, None] * scale  # (B', B): query x photograph
        target = asked.nonzero()[:, 0]
        forward = F.cross_entropy(scores, target)
        backward = F.cross_entropy(scores[:, asked].T, torch.arange(len(target), device=best.device))
        return (forward + backward) / 2

    @staticmethod
    def _grounding(logits: Tensor, boxes: Tensor, batch: Batch) -> Tensor:
        terms = []
        for photo, truth in enumerate(batch.boxes):
            mine = (batch.phrase_photo == photo).nonzero()[:, 0]
            asked = batch.phrase_boxes[mine, : len(truth)]  # (q, G)
            whole = torch.cat([boxes.new_zeros(2), batch.sizes[photo]])[None]
            asked = torch.cat([asked, ~asked.any(1, keepdim=True)], dim=1)  # (q, G + 1)
            every = iou(torch.cat([truth, whole]), boxes[photo].detach())  # (G + 1, R)
            overlap = (every * asked[..., None]).amax(1)  # (q, R): with the best of a phrase's boxes
            right = overlap * (overlap >= torch.minimum(overlap.amax(1, keepdim=True), overlap.new_tensor(_ANSWERS)))
            right = right / right.sum(1, keepdim=True).clamp(min=1e-6)
            terms.append(-(right * F.log_softmax(logits[mine, photo], dim=1)).sum(1))
        return torch.cat(terms).mean()


def _phrase_targets(batch: Batch) -> Tensor:
    """(Q, B) which photographs a phrase should find: its own, and to a part those with phrases of nearly its meaning.

    Photographs lack labels: another one of the batch may well show "a black dog running" and be labelled "black dog".
    """
    own = F.one_hot(batch.phrase_photo, len(batch.sizes)).float()
    if batch.phrase_vectors is None:
        return own
    alike = batch.phrase_vectors @ batch.phrase_vectors.T  # (Q, Q)
    per_photo = torch.stack([alike[:, batch.phrase_photo == b].amax(1) for b in range(len(batch.sizes))], 1)  # (Q, B)
    per_photo = torch.where(own > 0, 1.0, per_photo).masked_fill(batch.also_true, -torch.inf)
    return (1 - _SHARED) * own + _SHARED * F.softmax(per_photo / _TEACHER_TEMPERATURE, 1)


def meaning_loss(phrases: Tensor, vectors: Tensor) -> Tensor:
    """How far phrases resemble others unlike the teacher has it: cross-entropy of two softmaxes over the other phrases.

    phrases: (N, E) ours, unit length. vectors: (N, D) the teacher's; zeros: not known, left out.
    """
    known = vectors.abs().sum(1) > 0
    phrases, vectors = phrases[known], vectors[known]
    self_ = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    target = F.softmax((vectors @ vectors.T / _MEANING_TEMPERATURE).masked_fill(self_, -torch.inf), 1)
    ours = (phrases @ phrases.T / _MEANING_TEMPERATURE).masked_fill(self_, -torch.inf)
    return -(target * F.log_softmax(ours, 1).masked_fill(self_, 0)).sum(1).mean()


def training_losses(
    model: FCLN, contrastive: ContrastiveLoss, batch: Batch, features: Tensor, generator: torch.Generator
) -> dict[str, Tensor]:
    """All losses of a batch, unweighted, by the names of PAPER_WEIGHTS and CONTRASTIVE_WEIGHTS.

    features: (B, C, h, w) of the backbone. Of an Image RNN (FCLNConfig.image_rnn) only the caption's.
    """
    config = model.config
    maps = model.maps(features)
    if config.image_rnn:
        codes = model.codes(maps, batch.sizes, whole_boxes(batch.sizes))
        return {"caption": _caption_loss(model, list(codes), batch.captions)}
    scores, offsets, anchors = model.localization(maps.neck)
    losses: dict[str, list[Tensor]] = {name: [] for name in PAPER_WEIGHTS}
    chosen, samples = [], []
    whole = whole_boxes(batch.sizes)
    for photo, truth in enumerate(batch.boxes):
        width, height = batch.sizes[photo].tolist()
        allowed = inside(anchors, width, height)
        # The localization layer is judged on anchors, as in the paper's model for it (Ren et al. 2015). The released
        # code judges moved proposals, which feeds back: measured here, anchors far away are pulled onto every large
        # thing, the box loss grows without end and after an epoch only 24 % of labelled boxes are found.
        sample = sample_boxes(
            anchors,
            truth,
            allowed,
            count=config.samples,
            positive_iou=config.positive_iou,
            negative_iou=config.negative_iou,
            generator=generator,
        )
        positive = sample.indices[: sample.positives]
        losses["proposal_score"].append(_objectness(scores[photo, sample.indices], scores.new_ones(sample.positives)))
        losses["proposal_box"].append(
            _box_loss(offsets[photo, positive], anchors[positive], truth[sample.matched], config.box_beta)
        )
        # The recognition network is judged on proposals. Drawn from all of them it would hardly ever see what it must
        # tell apart at test time: negatives that the localization layer likes.
        proposals = move_anchors(anchors, offsets[photo], width, height)
        sample = sample_boxes(
            proposals.detach(),
            truth,
            _pool(proposals.detach(), scores[photo].detach(), truth, allowed, config) if config.roi_pool else allowed,
            count=config.rois,
            positive_iou=config.roi_positive_iou,
            negative_iou=config.roi_negative_iou,
            generator=generator,
        )
        samples.append(sample)
        roi = proposals[sample.indices]
        chosen.append(torch.cat([roi, whole[photo].expand(config.rois + 1 - len(roi), -1)]))

    # (B, rois + 1, 4): the captions' gradient reaches the offsets through them (paper 3.2)
    boxes = _scale_gradient(torch.stack(chosen), config.box_gradient)
    codes = model.codes(maps, batch.sizes, boxes)
    logits, refine = model.recognition.score_and_offset(codes)
    caption_codes, captions = [], []
    for photo, (sample, truth) in enumerate(zip(samples, batch.boxes, strict=True)):
        count = sample.positives
        fit = logits.new_ones(count)
        if config.score_overlap:
            refined = apply_offsets(boxes[photo, :count], refine[photo, :count]).detach()
            fit = iou(refined, truth[sample.matched]).diagonal()
        losses["final_score"].append(_objectness(logits[photo, : len(sample.indices)], fit))
        losses["final_box"].append(
            _box_loss(refine[photo, :count], boxes[photo, :count], truth[sample.matched], config.box_beta)
        )
        caption_codes.append(codes[photo, :count])
        captions.append(batch.captions[photo][sample.matched])
    losses["caption"].append(_caption_loss(model, caption_codes, captions))

    result = {name: torch.stack(terms).mean() for name, terms in losses.items()}
    regions, phrases = model.embed(codes), model.phrases(batch.phrases)
    with torch.autocast(codes.device.type, enabled=False):  # logits are similarities times 20: bfloat16 is too coarse
        result |= contrastive(regions, boxes, phrases, batch)
        if batch.texts is not None and batch.phrase_vectors is not None and batch.text_vectors is not None:
            everything = torch.cat([phrases, model.phrases(batch.texts)])
            result["meaning"] = meaning_loss(everything, torch.cat([batch.phrase_vectors, batch.text_vectors]))
        return result


def _pool(boxes: Tensor, scores: Tensor, truth: Tensor, allowed: Tensor, config: FCLNConfig) -> Tensor:
    """(A,) bool: the proposals that test time would look at, and the best one of each true box."""
    scores = scores.masked_fill(~allowed, -torch.inf)
    before = min(3 * config.roi_pool, int(allowed.sum()))
    pool = torch.zeros_like(allowed)
    pool[propose(boxes, scores, count=config.roi_pool, iou=config.proposal_iou, before=before)] = True
    pool[iou(boxes, truth).masked_fill(~allowed[:, None], -1.0).argmax(0)] = True
    return pool


def _caption_loss(model: FCLN, codes: list[Tensor], captions: list[Tensor]) -> Tensor:
    """Cross-entropy of the words, END among them (paper 3.5): a mean over the words of all photographs.

    codes: B of (N, code_size). captions: B of (N, T) words padded with 0, T of each photograph its own.
    """
    width = max(c.shape[1] for c in captions)
    tokens = torch.cat([F.pad(c, (0, width - c.shape[1])) for c in captions])
    log_probability = model.language(torch.cat(codes), tokens)
    known = ((tokens != 0).any(1)).float()  # boxes without a phrase short enough train no caption
    spoken = ((tokens != 0).sum(1) + 1) * known
    return -(log_probability.sum(1) * known).sum() / spoken.sum().clamp(min=1)


def _scale_gradient(values: Tensor, share: float) -> Tensor:
    return values.detach() + share * (values - values.detach())


def _objectness(logits: Tensor, positives: Tensor) -> Tensor:
    """Binary logistic loss (paper 3.5), mean over the samples: the first ones' targets are given, the others' 0.

    A target of 1 for a positive is the paper's; of its overlap with the truth, Jiang et al.'s (IoU-Net, ECCV 2018).
    """
    target = torch.zeros_like(logits)
    target[: len(positives)] = positives
    return F.binary_cross_entropy_with_logits(logits, target)


def _box_loss(offsets: Tensor, start: Tensor, truth: Tensor, beta: float) -> Tensor:
    """Smooth L1 in transform coordinates (paper 3.5), mean over positives; gradients reach `start` too."""
    target = find_offsets(start, truth)
    sane = (target.abs() < _MAX_OFFSET).all(1, keepdim=True)
    return F.smooth_l1_loss(offsets * sane, target * sane, beta=beta)

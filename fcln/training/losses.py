"""What training minimises: the paper's five losses, and those that teach photographs and phrases one vector space."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcln.modeling.boxes import apply_offsets, find_offsets, iou
from fcln.modeling.fcln import FCLN, Anchors, FCLNConfig, Stages, whole_boxes
from fcln.modeling.localization import batched_nms, inside, move_anchors
from fcln.training.batch import Batch
from fcln.training.region_targets import RegionTargets
from fcln.training.sampling import Sample, sample_boxes

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
# With a sentence-embedding teacher: see distillation_loss.
TEACHER_WEIGHTS = {"meaning": 1.0}
# With terms, and with an image classifier as teacher: see naming_losses, RegionDistillation.
NAMING_WEIGHTS = {"names": 1.0, "named_photographs": 0.5, "region_names": 0.5}
DISTILLATION_WEIGHTS = {"region_features": 1.0, "region_classes": 0.5}

# How much of a phrase's target is shared out to photographs whose phrases mean nearly the same, by the teacher.
_SHARED = 0.3
# The teacher's similarities are divided by these before they are compared: nearly the same is 0.8 and more.
_TEACHER_TEMPERATURE, _MEANING_TEMPERATURE = 0.1, 0.07

# Offsets beyond this are those of degenerate boxes; the released code leaves them out too.
_MAX_OFFSET = 10.0
# A region answers a phrase if it overlaps the phrase's box by this much.
_ANSWERS = 0.5


def training_losses(
    model: FCLN, auxiliary: "AuxiliaryLosses", batch: Batch, features: list[Tensor], generator: torch.Generator
) -> dict[str, Tensor]:
    """All losses of a batch, unweighted, by the names of the tables of weights above.

    features: of the backbone. generator: on the batch's device. Of an Image RNN only the caption's.
    """
    if model.config.image_rnn:
        whole = whole_boxes(batch.sizes)
        codes = model.codes(model.maps(features), batch.sizes, whole)
        return {"caption": caption_loss(model, codes[:, 0], batch.captions[:, 0])}
    rois: list[Sample] = []

    def sample(anchors: Anchors) -> Tensor:
        boxes, chosen = sample_rois(anchors, batch, model.config, generator)
        rois.append(chosen)
        return boxes

    stages = model(features, batch.sizes, sample)
    losses = localization_losses(stages.anchors, batch, model.config, generator)
    losses |= recognition_losses(stages, rois[0], batch, model.config)
    regions, phrases = model.embed(stages.codes), model.phrases(batch.phrases)
    with torch.autocast(batch.sizes.device.type, enabled=False):  # similarities times 20: bfloat16 is too coarse
        losses |= auxiliary.contrastive(regions, stages.boxes, phrases, batch)
        if batch.texts is not None and batch.phrase_vectors is not None and batch.text_vectors is not None:
            everything = torch.cat([phrases, model.phrases(batch.texts)])
            losses["meaning"] = distillation_loss(everything, torch.cat([batch.phrase_vectors, batch.text_vectors]))
    best_named = None
    if batch.terms is not None:
        terms = model.phrases(batch.terms)
        with torch.autocast(batch.sizes.device.type, enabled=False):
            named, best_named = naming_losses(regions, terms, auxiliary.term_scale, rois[0], batch)
            losses |= named
            if auxiliary.distillation is not None and batch.target_rows is not None:
                losses["region_classes"] = auxiliary.distillation.class_loss(
                    regions, terms, auxiliary.term_scale, rois[0], batch
                )
    if auxiliary.distillation is not None and batch.target_rows is not None:
        losses["region_features"] = auxiliary.distillation(stages.codes, rois[0], batch.target_rows)
    losses["caption"] = caption_loss(model, *spoken_regions(stages.codes, rois[0], batch, best_named))
    return losses


class AuxiliaryLosses(nn.Module):
    """What losses need of their own: temperatures, the teacher's linear layer. Trained too, dropped afterwards."""

    def __init__(self, targets: RegionTargets | None = None, *, code_size: int = 0):
        """targets: if an image classifier teaches codes of code_size numbers."""
        super().__init__()
        self.contrastive = ContrastiveLoss()
        self.log_term_scale = nn.Parameter(torch.tensor(2.7))
        self.distillation = None if targets is None else RegionDistillation(targets, code_size)

    @property
    def term_scale(self) -> Tensor:
        return self.log_term_scale.clamp(max=4.0).exp()


# --- The localization layer (paper 3.2, 3.5) ---


def localization_losses(
    anchors: Anchors, batch: Batch, config: FCLNConfig, generator: torch.Generator
) -> dict[str, Tensor]:
    """Scores and offsets of a sample of anchors.

    The localization layer is judged on anchors, as in the paper's model for it (Ren et al. 2015). The released code
    judges moved proposals, which feeds back: measured here, anchors far away are pulled onto every large thing, the box
    loss grows without end and after an epoch only 24 % of labelled boxes are found.
    """
    sample = sample_boxes(
        anchors.boxes[None].expand(len(batch.sizes), -1, -1),
        batch.boxes,
        batch.is_box,
        _inside(anchors, batch),
        count=config.anchors_per_image,
        fg_iou=config.fg_iou,
        bg_iou=config.bg_iou,
        generator=generator,
    )
    start = anchors.boxes[sample.indices]
    return {
        "proposal_score": objectness_loss(
            anchors.scores.gather(1, sample.indices), sample.positive.float(), _judged(sample, batch)
        ),
        "proposal_box": box_loss(
            _rows(anchors.offsets, sample.indices), start, _rows(batch.boxes, sample.matched), _trusted(sample, batch),
            config.smooth_l1_beta,
        ),
    }  # fmt: skip


def _inside(anchors: Anchors, batch: Batch) -> Tensor:
    return inside(anchors.boxes, batch.sizes[:, :1], batch.sizes[:, 1:])


def _judged(sample: Sample, batch: Batch) -> Tensor:
    """(B, count) bool: what is not labelled is background only where people labelled all that matters."""
    return _trusted(sample, batch) | (sample.negative & batch.complete[:, None])


def _trusted(sample: Sample, batch: Batch) -> Tensor:
    """(B, count) bool: positives, but not a detector's where people labelled all that matters.

    People box what they would speak of; a detector's boxes beside theirs would teach another idea of a thing.
    """
    return sample.positive & ~(batch.is_weak.gather(1, sample.matched) & batch.complete[:, None])


def _rows(values: Tensor, indices: Tensor) -> Tensor:
    """values (B, A, D), indices (B, S) -> (B, S, D)."""
    return values.gather(1, indices[..., None].expand(-1, -1, values.shape[2]))


def objectness_loss(logits: Tensor, target: Tensor, judged: Tensor) -> Tensor:
    """Binary logistic loss (paper 3.5): mean over a photograph's judged samples, then over photographs.

    logits, target, judged: (B, S). A target of 1 for a positive is the paper's; of its overlap with the truth, Jiang et
    al.'s (IoU-Net, ECCV 2018).
    """
    terms = F.binary_cross_entropy_with_logits(logits, target, reduction="none") * judged
    return _mean_of_photographs(terms.sum(1), judged.sum(1))


def box_loss(offsets: Tensor, start: Tensor, truth: Tensor, positive: Tensor, beta: float) -> Tensor:
    """Smooth L1 in transform coordinates (paper 3.5): mean over a photograph's positives, then over photographs.

    offsets, start, truth: (B, S, 4). positive: (B, S). Gradients reach `start` too.
    """
    target = find_offsets(start, truth)
    sane = (target.abs() < _MAX_OFFSET).all(-1, keepdim=True)
    terms = F.smooth_l1_loss(offsets * sane, target * sane, beta=beta, reduction="none").mean(2) * positive
    return _mean_of_photographs(terms.sum(1), positive.sum(1))


def _mean_of_photographs(sums: Tensor, counts: Tensor) -> Tensor:
    """Mean over the photographs of which something is counted; 0 if there is none."""
    return (sums / counts.clamp(min=1)).sum() / (counts > 0).sum().clamp(min=1)


# --- The recognition network (paper 3.3, 3.5) ---


def sample_rois(
    anchors: Anchors, batch: Batch, config: FCLNConfig, generator: torch.Generator
) -> tuple[Tensor, Sample]:
    """The regions that train what is above the localization layer: a sample of proposals, and the whole photograph.

    Returns (B, S + 1, 4), the whole photographs last, and the sample of S. The captions' gradient reaches the offsets
    through the boxes (paper 3.2).
    """
    widths, heights = batch.sizes[:, :1], batch.sizes[:, 1:]
    proposals = move_anchors(anchors.boxes, anchors.offsets, widths, heights)
    allowed = _inside(anchors, batch)
    if config.roi_candidates:
        # Drawn from all of them it would hardly ever see what it must tell apart at test time: negatives that the
        # localization layer likes.
        allowed = _candidates(proposals.detach(), anchors.scores.detach(), batch, allowed, config)
    sample = sample_boxes(
        proposals.detach(),
        batch.boxes,
        batch.is_box,
        allowed,
        count=config.rois_per_image,
        fg_iou=config.roi_fg_iou,
        bg_iou=config.roi_bg_iou,
        generator=generator,
    )
    whole = whole_boxes(batch.sizes)
    used = (sample.positive | sample.negative)[..., None]
    boxes = torch.where(used, _rows(proposals, sample.indices), whole)
    share = config.caption_box_gradient
    boxes = boxes.detach() + share * (boxes - boxes.detach())
    return torch.cat([boxes, whole], 1), sample


def _candidates(boxes: Tensor, scores: Tensor, batch: Batch, allowed: Tensor, config: FCLNConfig) -> Tensor:
    """(B, A) bool: the proposals that test time would look at, and the best one of each true box."""
    scores = scores.masked_fill(~allowed, -torch.inf)
    top = scores.topk(min(3 * config.roi_candidates, scores.shape[1]), dim=1)
    kept = batched_nms(_rows(boxes, top.indices), iou_threshold=config.proposal_nms_iou) & torch.isfinite(top.values)
    kept &= kept.cumsum(1) <= config.roi_candidates
    found = torch.zeros_like(allowed).scatter_(1, top.indices, kept)
    overlap = iou(boxes, batch.boxes).masked_fill_(~allowed[:, :, None], -1.0)
    best = torch.zeros_like(scores).scatter_reduce_(1, overlap.argmax(1), batch.is_box.to(scores.dtype), "amax")
    return found | ((best > 0) & allowed)


def recognition_losses(stages: Stages, rois: Sample, batch: Batch, config: FCLNConfig) -> dict[str, Tensor]:
    """Final scores and offsets of the sampled regions."""
    count = rois.indices.shape[1]
    boxes, offsets = stages.boxes[:, :count], stages.offsets[:, :count]
    truth = _rows(batch.boxes, rois.matched)
    target = rois.positive.float()
    if config.iou_aware_score:
        refined = apply_offsets(boxes, offsets).detach()
        target = target * iou(refined.flatten(0, 1)[:, None], truth.flatten(0, 1)[:, None]).view_as(target)
    return {
        "final_score": objectness_loss(stages.logits[:, :count], target, _judged(rois, batch)),
        "final_box": box_loss(offsets, boxes, truth, _trusted(rois, batch), config.smooth_l1_beta),
    }


# --- Captions (paper 3.4, 3.5) ---


def spoken_regions(codes: Tensor, rois: Sample, batch: Batch, best_named: Tensor | None) -> tuple[Tensor, Tensor]:
    """Codes (N, code_size) of the regions that have something to say, and their words (N, T).

    Positives say a phrase of their box. Of a photograph that has a name, the whole says it, and the region that answers
    it best (best_named: (B,) index, see naming_losses).
    """
    where = rois.positive.nonzero(as_tuple=True)
    spoken, tokens = [codes[where]], [batch.captions[where[0], rois.matched[where]]]
    named = (batch.whole_captions[:, 0] > 0).nonzero()[:, 0]
    if len(named):
        spoken.append(codes[named, -1])
        tokens.append(batch.whole_captions[named])
        if best_named is not None:
            spoken.append(codes[named, best_named[named]])
            tokens.append(batch.whole_captions[named])
    longest = max(t.shape[1] for t in tokens)
    return torch.cat(spoken), torch.cat([F.pad(t, (0, longest - t.shape[1])) for t in tokens])


def caption_loss(model: FCLN, codes: Tensor, tokens: Tensor) -> Tensor:
    """Cross-entropy of the words, END among them (paper 3.5): a mean over the words of all photographs.

    codes: (N, code_size). tokens: (N, T) words padded with 0; all 0: a region that trains no caption.
    """
    known = (tokens != 0).any(1)
    codes, tokens = codes[known], tokens[known]
    if not len(codes):
        return codes.sum() * 0
    log_probability = model.language(codes, tokens)
    return -log_probability.sum() / ((tokens != 0).sum() + len(tokens))


# --- Phrases and photographs in one space (ours) ---


class ContrastiveLoss(nn.Module):
    """Agreement of region and phrase embeddings; holds the two temperatures, trained too.

    photographs: the score that retrieval ranks by (mean over a photograph's phrases of the best region's similarity),
    cross-entropy both ways against the batch's other photographs: the thing that is measured.
    phrases: the same for each single phrase, caption or name, against the other photographs.
    grounding: of its photograph's regions, the phrase must pick those that overlap a box of it; names of things that
    are somewhere in a photograph are free to pick any.
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
        log_probability = F.log_softmax(logits, 1).masked_fill(batch.also_true, 0)
        return {
            "photographs": self._query(best, batch, group_scale),
            "phrases": -(_phrase_targets(batch) * log_probability).sum(1).mean(),
            "grounding": self._grounding(similarity * scale, boxes, batch),
        }

    @staticmethod
    def _query(best: Tensor, batch: Batch, scale: Tensor) -> Tensor:
        """The retrieval of the paper as a loss, phrases -> photograph and photograph -> phrases."""
        count = best.shape[1]
        member = F.one_hot(batch.phrase_photo, count).T.to(best.dtype) * batch.phrase_group  # (B, Q)
        sizes = member.sum(1)
        target = (sizes > 0).nonzero()[:, 0]  # photographs with at least one phrase in the group
        if not len(target):  # weak labels only
            return best.sum() * 0
        scores = (member @ best)[target] / sizes[target, None] * scale  # (B', B): query x photograph
        forward = F.cross_entropy(scores, target)
        backward = F.cross_entropy(scores[:, target].T, torch.arange(len(target), device=best.device))
        return (forward + backward) / 2

    @staticmethod
    def _grounding(logits: Tensor, boxes: Tensor, batch: Batch) -> Tensor:
        photo = batch.phrase_photo
        truth = torch.cat([batch.boxes, whole_boxes(batch.sizes)], 1)
        asked = torch.cat([batch.phrase_boxes, batch.phrase_whole[:, None]], 1)  # (Q, G + 1)
        every = iou(truth, boxes.detach())[photo]  # (Q, G + 1, R)
        overlap = (every * asked[..., None]).amax(1)  # (Q, R): with the best of a phrase's boxes
        right = overlap * (overlap >= torch.minimum(overlap.amax(1, keepdim=True), overlap.new_tensor(_ANSWERS)))
        right = right / right.sum(1, keepdim=True).clamp(min=1e-6)
        own = logits[torch.arange(len(photo), device=photo.device), photo]  # (Q, R)
        placed = asked.any(1)
        return -(right * F.log_softmax(own, 1)).sum(1).masked_fill(~placed, 0).sum() / placed.sum().clamp(min=1)


def _phrase_targets(batch: Batch) -> Tensor:
    """(Q, B) which photographs a phrase should find: its own, and to a part those with phrases of nearly its meaning.

    Photographs lack labels: another one of the batch may well show "a black dog running" and be labelled "black dog".
    """
    count = len(batch.sizes)
    own = F.one_hot(batch.phrase_photo, count).float()
    if batch.phrase_vectors is None:
        return own
    alike = batch.phrase_vectors @ batch.phrase_vectors.T  # (Q, Q)
    photo = batch.phrase_photo.expand(len(alike), -1)
    per_photo = alike.new_full((len(alike), count), -1.0).scatter_reduce(1, photo, alike, "amax")  # (Q, B)
    per_photo = torch.where(own > 0, 1.0, per_photo).masked_fill(batch.also_true, -torch.inf)
    return (1 - _SHARED) * own + _SHARED * F.softmax(per_photo / _TEACHER_TEMPERATURE, 1)


def distillation_loss(phrases: Tensor, vectors: Tensor) -> Tensor:
    """How far phrases resemble others unlike the teacher has it: cross-entropy of two softmaxes over the other phrases.

    phrases: (N, E) ours, unit length. vectors: (N, D) the teacher's; zeros: not known, left out.
    """
    known = vectors.abs().sum(1) > 0
    phrases, vectors = phrases[known], vectors[known]
    self_ = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    target = F.softmax((vectors @ vectors.T / _MEANING_TEMPERATURE).masked_fill(self_, -torch.inf), 1)
    ours = (phrases @ phrases.T / _MEANING_TEMPERATURE).masked_fill(self_, -torch.inf)
    return -(target * F.log_softmax(ours, 1).masked_fill(self_, 0)).sum(1).mean()


# --- Names of things (ours) ---


def naming_losses(
    regions: Tensor, terms: Tensor, scale: Tensor, rois: Sample, batch: Batch
) -> tuple[dict[str, Tensor], Tensor]:
    """What photographs and boxes are called, among M terms; and (B,), the region that answers its photograph's name.

    names: a photograph's terms through the region that answers each best (multiple-instance learning), against the
    terms that nothing says it shows; a softmax over each of its terms and all of those.
    named_photographs: the same for each term over the batch's photographs, which is what a search compares.
    region_names: the terms of a box, for the regions that are matched with it.
    """
    assert batch.photo_terms is not None and batch.box_terms is not None and batch.main_term is not None
    similarity = torch.einsum("me,bre->bmr", terms, regions)  # (B, M, R)
    best = similarity.amax(2) * scale
    shown, other = batch.photo_terms == 1, batch.photo_terms == 0
    losses = {
        "names": _one_against_others(best, shown, other),
        "named_photographs": _one_against_others(best.T, shown.T, other.T),
    }
    where = rois.positive.nonzero(as_tuple=True)
    own = batch.box_terms[where[0], rois.matched[where]]  # (N, K)
    is_named = (own >= 0).any(1)
    own, photo, region = own[is_named], where[0][is_named], where[1][is_named]
    is_own = similarity.new_zeros(len(own), similarity.shape[1] + 1)
    is_own = is_own.scatter_(1, own.where(own >= 0, similarity.shape[1]), 1)[:, :-1] > 0
    # What the photograph may show besides is no wrong answer for a box of it: it may lie inside.
    wrong = ~is_own & (batch.photo_terms[photo] == 0)
    losses["region_names"] = _one_against_others(similarity[photo, :, region] * scale, is_own, wrong)
    main = batch.main_term.clamp(min=0)
    best_region = similarity[torch.arange(len(main), device=main.device), main].argmax(1)
    return losses, best_region


def _one_against_others(logits: Tensor, right: Tensor, wrong: Tensor) -> Tensor:
    """Mean over rows of the mean over a row's right columns of -log softmax of that column and all wrong ones.

    logits: (N, M). right, wrong: (N, M) bool. Rows without a right or without a wrong column are left out.
    """
    against = logits.masked_fill(~wrong, -torch.inf).logsumexp(1, keepdim=True)
    terms = torch.logaddexp(logits, against) - logits
    counts = right.sum(1)
    used = (counts > 0) & wrong.any(1)
    terms = terms.masked_fill(~(right & used[:, None]), 0)
    return (terms.sum(1) / counts.clamp(min=1)).sum() / used.sum().clamp(min=1)


class RegionDistillation(nn.Module):
    """Codes must tell, through one linear layer, what an image classifier sees in the region cut out: 1 - cosine."""

    targets: Tensor  # (N, D) float16
    classes: Tensor  # (N, 5) int16
    probabilities: Tensor  # (N, 5) float16

    def __init__(self, targets: RegionTargets, code_size: int):
        super().__init__()
        self.register_buffer("targets", torch.from_numpy(targets.vectors), persistent=False)
        self.register_buffer("classes", torch.from_numpy(targets.classes), persistent=False)
        self.register_buffer("probabilities", torch.from_numpy(targets.probabilities), persistent=False)
        self.linear = nn.Linear(code_size, targets.vectors.shape[1])

    def forward(self, codes: Tensor, rois: Sample, target_rows: Tensor) -> Tensor:
        """codes (B, S + 1, code_size), the whole photographs last; target_rows (B, G + 1), see Batch."""
        rows = self._rows(rois, target_rows)
        where = (rows >= 0).nonzero(as_tuple=True)
        if not len(where[0]):
            return codes.sum() * 0
        wanted = self.targets[rows[where]].float()
        return (1 - F.cosine_similarity(self.linear(codes[where]).float(), wanted, dim=1)).mean()

    def class_loss(self, regions: Tensor, terms: Tensor, scale: Tensor, rois: Sample, batch: Batch) -> Tensor:
        """What the classifier takes a region for, in words: cross-entropy of its five likeliest classes' terms.

        regions (B, S + 1, E) unit length, the whole photographs last. terms (M, E). Against the terms that nothing says
        the photograph shows, as in naming_losses.
        """
        assert batch.target_rows is not None and batch.class_terms is not None and batch.photo_terms is not None
        rows = self._rows(rois, batch.target_rows)
        where = (rows >= 0).nonzero(as_tuple=True)
        if not len(where[0]):
            return regions.sum() * 0
        columns = batch.class_terms[self.classes[rows[where]].long()]  # (N, 5)
        share = self.probabilities[rows[where]].float() * (columns >= 0)
        columns = columns.clamp(min=0)
        logits = regions[where] @ terms.T * scale  # (N, M)
        mine = logits.new_zeros(len(logits), logits.shape[1] + 1)
        mine = mine.scatter_(1, columns.where(share > 0, logits.shape[1]), 1)[:, :-1] > 0
        other = (batch.photo_terms[where[0]] == 0) | mine
        log_probability = F.log_softmax(logits.masked_fill(~other, -torch.inf), 1).gather(1, columns)
        return -(share * log_probability.masked_fill(share == 0, 0)).sum(1).mean()

    @staticmethod
    def _rows(rois: Sample, target_rows: Tensor) -> Tensor:
        """(B, S + 1) int64: the row of each region's box, and of the whole photograph; -1: none."""
        rows = torch.where(rois.positive, target_rows[:, :-1].gather(1, rois.matched), -1)
        return torch.cat([rows, target_rows[:, -1:]], 1)

"""Batches of annotated photographs, made ahead by worker processes or a thread."""

import random
import re
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fcln.modeling.backbone import STRIDE
from fcln.modeling.boxes import resize_shape
from fcln.modeling.fcln import FCLNConfig
from fcln.training.annotations import WHOLE, AnnotatedImage, cut, read_pixels
from fcln.training.batch import Batch
from fcln.training.distillation import TeacherVectors
from fcln.training.distributed import World
from fcln.training.feature_cache import FeatureCache
from fcln.training.region_targets import RegionTargets
from fcln.training.terms import Terms
from fcln.vocabulary import Vocabulary, words_of
from fcln.word_pieces import WordPieces

# Phrases of a photograph that a batch asks for, and how many of them make up its query of several phrases (paper: 4);
# of names, which have no boxes, so many.
_PHRASES = 7
_GROUP = 4
_NAMES = 4
# Texts of the teacher's that a batch brings besides its photographs' phrases.
_TEXTS = 256
# Augmentation: half of the photographs are cut to a window of this share of their sides or more, unless told otherwise;
# brightness, contrast and colour change by at most this factor.
SMALLEST_WINDOW, _TINT = 0.55, 0.35
# On a GPU batches are filled up to few different shapes: for each its library seeks the fastest convolution once more.
_PAD_MULTIPLE = 64
# An image classifier that is that sure names the region; what it finds that likely may be shown.
_SURE, _LIKELY = 0.7, 0.05
# Where people boxed things a detector's names train no captions; elsewhere this share of them, else eighty words
# crowd out all others.
_SPOKEN_WEAK = 0.4
# Terms of a box that are kept: its own and broader ones.
_TERMS_OF_BOX = 12
# A photograph with at most so many names shows little else: the first is what a caption of the whole says.
_FEW_NAMES = 2


@dataclass(frozen=True)
class Labels:
    """What a photograph's words mean, worked out once."""

    texts: frozenset[str]  # its phrases, plain
    shown: frozenset[int]  # terms that it shows
    possible: frozenset[int]  # terms that it may show besides
    named: tuple[int, ...]  # terms of its names
    box_terms: tuple[tuple[int, ...], ...]  # of each box
    rows: tuple[int, ...] = field(default=())  # of RegionTargets: the whole photograph and each box


class BatchLoader:
    """Batches of photographs in an order that seed and epoch fix, the next ones prepared while one is used."""

    def __init__(
        self,
        photographs: Sequence[AnnotatedImage] | Sequence[Sequence[AnnotatedImage]],
        vocabulary: Vocabulary,
        pieces: WordPieces,
        config: FCLNConfig,
        *,
        batch_size: int,
        seed: int,
        weights: Sequence[float] = (),
        cache: FeatureCache | None = None,
        teacher: TeacherVectors | None = None,
        terms: Terms | None = None,
        terms_per_batch: int = 1024,
        targets: RegionTargets | None = None,
        flip: bool = True,
        augment: bool = False,
        smallest_window: float = SMALLEST_WINDOW,
        workers: int = 0,
        world: World | None = None,
    ):
        """photographs: of one data set, or of several, of which every batch has its share.

        weights: how often an epoch shows each data set, 1 if none are given. cache: use a frozen backbone's features of
        the photographs instead of their pixels (then: no augmentation). teacher: its vectors of phrases, and texts
        without photographs, go with every batch. terms, targets: names of things and an image classifier's targets go
        with every batch. augment: half of the photographs are cut to a part of them, and all change in brightness,
        contrast and colour. smallest_window: a part's sides, as shares of the photograph's. workers: processes that
        make batches; 0: a thread. world: of several processes that train together each takes its batches of an epoch.
        """
        sets: list[list[AnnotatedImage]]
        if photographs and isinstance(photographs[0], AnnotatedImage):
            sets = [list(photographs)]  # type: ignore[arg-type]
        else:
            sets = [list(one) for one in photographs]  # type: ignore[arg-type]
        self.photographs = [photo for one in sets for photo in one]
        self._weights = list(weights) or [1.0] * len(sets)
        self._sets: list[list[int]] = []
        for one in sets:
            start = sum(len(before) for before in self._sets)
            self._sets.append(list(range(start, start + len(one))))
        self.vocabulary = vocabulary
        self.pieces = pieces
        self.config = config
        self.batch_size = batch_size
        self.seed = seed
        self.cache = cache
        self.teacher = teacher
        self.terms = terms
        self.terms_per_batch = min(terms_per_batch, len(terms)) if terms else 0
        self.targets = targets
        self.flip = flip
        self.augment = augment
        self.smallest_window = smallest_window
        self.workers = workers
        self._world = world or World()
        if terms:  # (terms, forms, T)
            encoded = pieces.encode([form for forms in terms.forms for form in forms])
            self._term_pieces = torch.from_numpy(encoded).view(len(terms), 3, -1)
        self._pad_multiple = _PAD_MULTIPLE if torch.cuda.is_available() else 1
        self._ordered: tuple[int, list[list[int]]] | None = None  # the last epoch asked for
        self._labels = [self._read_labels(photo) for photo in self.photographs]

    def __len__(self) -> int:
        """Batches an epoch for each process; the last, smaller one is left out."""
        return max(1, self._in_epoch() // self._world.size)

    def _in_epoch(self) -> int:
        return max(1, int(sum(len(s) * w for s, w in zip(self._sets, self._weights))) // self.batch_size)

    def epoch(self, number: int, *, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from the start-th on."""
        return self.batches(number * len(self) + start, (number + 1) * len(self))

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """The batches of steps start to stop - 1, across epochs."""
        if self.workers and stop > start:
            yield from DataLoader(
                _Batches(self, start, stop),
                batch_size=None,
                num_workers=min(self.workers, stop - start),
                prefetch_factor=2,
                pin_memory=torch.cuda.is_available(),
                multiprocessing_context="fork" if sys.platform == "linux" else None,  # shares the labels' memory
            )
            return
        with ThreadPoolExecutor(1) as ahead:
            waiting = [ahead.submit(self.at_step, step) for step in range(start, min(start + 2, stop))]
            for step in range(start, stop):
                batch = waiting.pop(0).result()
                if step + 2 < stop:
                    waiting.append(ahead.submit(self.at_step, step + 2))
                yield batch

    def at_step(self, step: int) -> Batch:
        """The batch of a step of the whole run."""
        epoch, number = divmod(step, len(self))
        if self._ordered is None or self._ordered[0] != epoch:
            self._ordered = epoch, self._order(epoch)
        number = (number * self._world.size + self._world.rank) % len(self._ordered[1])
        return self.batch(self._ordered[1][number], (self.seed, epoch, number))

    def _order(self, epoch: int) -> list[list[int]]:
        """Batches with their share of each data set and of mostly one shape, so that little of a batch is padding."""
        rng = random.Random(f"{self.seed}/{epoch}")
        total = self._in_epoch()
        if total * self.batch_size > sum(len(s) * w for s, w in zip(self._sets, self._weights)):
            return [list(range(len(self.photographs)))]  # fewer photographs than one batch holds
        shares = [len(s) * w for s, w in zip(self._sets, self._weights)]
        ends = np.round(np.cumsum(shares) / sum(shares) * self.batch_size).astype(int).tolist()
        batches: list[list[int]] = [[] for _ in range(total)]
        for indices, size in zip(self._sets, np.diff([0, *ends]).tolist()):
            drawn: list[int] = []
            while len(drawn) < size * total:
                again = list(indices)
                rng.shuffle(again)
                drawn += again
            drawn = drawn[: size * total]
            # Sorted by shape within blocks, so that what meets in a batch differs from epoch to epoch.
            for first in range(0, total, 40):
                last = min(first + 40, total)
                block = sorted(drawn[first * size : last * size], key=lambda n: self._shape(self.photographs[n]))
                for i in range(first, last):
                    batches[i] += block[(i - first) * size : (i - first + 1) * size]
        rng.shuffle(batches)
        return batches

    def _shape(self, photo: AnnotatedImage) -> tuple[int, int]:
        return resize_shape(photo.width, photo.height, self.config.image_size, STRIDE)

    def _read_labels(self, photo: AnnotatedImage) -> Labels:
        texts = frozenset(" ".join(words_of(p)) for ps in photo.phrases for p in ps)
        rows = self.targets.rows(photo.image_id, len(photo.boxes)) if self.targets else None
        if self.terms is None:
            return Labels(texts, frozenset(), frozenset(), (), ((),) * len(photo.boxes), tuple(rows or ()))
        terms = self.terms
        named = tuple(terms.of_image.get(photo.image_id, ())) if photo.names else ()
        box_terms, boxed = [], set()
        for number, phrases in enumerate(photo.phrases):
            own = {term for phrase in phrases if (term := terms.of_phrase(phrase)) is not None}
            if rows and photo.weak[number]:
                own |= self._sure_class(rows[1 + number])
            boxed |= own
            box_terms.append(tuple(sorted(own) + sorted(terms.closure(own) - own))[:_TERMS_OF_BOX])
        shown = terms.closure([*named, *boxed])
        possible = set().union(*map(terms.within, photo.captions)) if photo.captions else set()
        if rows:
            assert self.targets is not None
            if not photo.complete:
                shown |= terms.closure(self._sure_class(rows[0]))
            for row in rows:
                likely = self.targets.classes[row][self.targets.probabilities[row] > _LIKELY]
                possible |= {terms.classes[c] for c in likely}
        possible = terms.closure(possible) - shown
        return Labels(texts, frozenset(shown), frozenset(possible), named, tuple(box_terms), tuple(rows or ()))

    def _sure_class(self, row: int) -> set[int]:
        assert self.targets is not None and self.terms is not None
        sure = self.targets.probabilities[row, 0] > _SURE
        return {self.terms.classes[self.targets.classes[row, 0]]} if sure else set()

    def batch(self, indices: Sequence[int], key: tuple[int, ...]) -> Batch:
        """The batch of these photographs; key fixes everything that is drawn by chance."""
        rng = random.Random("/".join(map(str, key)))
        flips = [self.flip and rng.random() < 0.5 for _ in indices]
        windows = [self._window(self.photographs[index], rng) for index in indices]
        labels = [self._labels[index] for index in indices]
        seen: list[AnnotatedImage] = []
        sizes, boxes, texts, photo_of, boxes_of, whole, group = [], [], [], [], [], [], []
        captions, whole_captions = [], []
        for n, (index, flipped, window) in enumerate(zip(indices, flips, windows, strict=True)):
            photo = self.photographs[index]
            width, height = self._shape(photo)
            photo = photo if window == photo.window else cut(photo, window)
            seen.append(photo)
            sizes.append([width, height])
            scaled = torch.from_numpy(photo.boxes) * torch.tensor(
                [width / photo.width, height / photo.height] * 2, dtype=torch.float32
            )
            if flipped:
                scaled = torch.stack([width - scaled[:, 2], scaled[:, 1], width - scaled[:, 0], scaled[:, 3]], 1)
            boxes.append(scaled)
            captions.append(
                [
                    self._words(self._spoken(rng.choice(phrases)), flipped)
                    if not weak or (not photo.complete and rng.random() < _SPOKEN_WEAK)
                    else []
                    for phrases, weak in zip(photo.phrases, photo.weak, strict=True)
                ]
            )
            whole_captions.append(self._whole_caption(photo, labels[n]))
            for text, named, of_whole, in_group in self._phrases(photo, labels[n], rng):
                texts.append(mirror(text) if flipped else text)
                photo_of.append(n)
                boxes_of.append(named)
                whole.append(of_whole)
                group.append(in_group)
        most = max(1, *map(len, boxes))
        phrase_boxes = torch.zeros(len(texts), most, dtype=torch.bool)
        for q, named in enumerate(boxes_of):
            phrase_boxes[q, named] = True
        images = features = None
        if self.cache is not None:
            maps = [self.cache.read(photo.image_id) for photo in seen]
            mirrored = [[np.flip(m, 2) if flip else m for m in ms] for ms, flip in zip(maps, flips)]
            features = [pad_stack([torch.from_numpy(m.copy()) for m in level]) for level in zip(*mirrored)]
        else:
            pixels = [self._pixels(*which) for which in zip(indices, flips, windows, strict=True)]
            images = pad_stack(pixels, self._pad_multiple)
        phrase_vectors = more = more_vectors = None
        if self.teacher is not None:
            phrase_vectors = torch.from_numpy(self.teacher.vectors(texts))
            drawn = self.teacher.draw(_TEXTS, rng)
            more = torch.from_numpy(self.pieces.encode(drawn))
            more_vectors = torch.from_numpy(self.teacher.vectors(drawn))
        return Batch(
            images=images,
            features=features,
            sizes=torch.tensor(sizes, dtype=torch.float32),
            boxes=_padded(boxes, most),
            is_box=torch.tensor([[n < len(b) for n in range(most)] for b in boxes]),
            is_weak=torch.tensor([[n < len(photo.weak) and photo.weak[n] for n in range(most)] for photo in seen]),
            complete=torch.tensor([photo.complete for photo in seen]),
            captions=_tokens(captions, most),
            whole_captions=_tokens([[words] for words in whole_captions], 1)[:, 0],
            phrases=torch.from_numpy(self.pieces.encode(texts)),
            phrase_photo=torch.tensor(photo_of),
            phrase_boxes=phrase_boxes,
            phrase_whole=torch.tensor(whole),
            phrase_group=torch.tensor(group),
            also_true=self._also_true(texts, photo_of, labels, flips),
            names=[str(photo.path) for photo in seen],
            tints=self._tints(len(seen), rng),
            phrase_vectors=phrase_vectors,
            texts=more,
            text_vectors=more_vectors,
            target_rows=self._target_rows(seen, labels, most) if self.targets else None,
            **self._terms(seen, labels, most, rng),
        )

    def _also_true(
        self, texts: Sequence[str], photo_of: Sequence[int], labels: Sequence[Labels], flips: Sequence[bool]
    ) -> Tensor:
        also = np.zeros((len(texts), len(labels)), bool)
        for q, (text, owner) in enumerate(zip(texts, photo_of, strict=True)):
            plain = " ".join(words_of(text))
            mirrored = mirror(plain)
            term = self.terms.exactly(text) if self.terms else None
            for n, known in enumerate(labels):
                same = (mirrored if flips[n] else plain) in known.texts
                also[q, n] = same or (term is not None and (term in known.shown or term in known.possible))
            also[q, owner] = False
        return torch.from_numpy(also)

    def _target_rows(self, seen: Sequence[AnnotatedImage], labels: Sequence[Labels], most: int) -> Tensor:
        rows = torch.full((len(seen), most + 1), -1, dtype=torch.int64)
        for n, (photo, known) in enumerate(zip(seen, labels, strict=True)):
            if known.rows:
                for column, number in enumerate(photo.numbers):
                    rows[n, column] = known.rows[1 + number]
                if photo.window == WHOLE:
                    rows[n, -1] = known.rows[0]
        return rows

    def _terms(
        self, seen: Sequence[AnnotatedImage], labels: Sequence[Labels], most: int, rng: random.Random
    ) -> dict[str, Tensor]:
        """The batch's terms and as many others as fit, for Batch."""
        if self.terms is None:
            return {}
        mentioned = sorted(set().union(*(known.shown for known in labels)))
        rng.shuffle(mentioned)
        chosen = mentioned[: self.terms_per_batch]
        others = sorted(set(range(len(self.terms))) - set(chosen))
        chosen += rng.sample(others, self.terms_per_batch - len(chosen))
        place = {term: number for number, term in enumerate(chosen)}
        photo_terms = torch.zeros(len(labels), len(chosen), dtype=torch.int8)
        box_terms = torch.full((len(labels), most, _TERMS_OF_BOX), -1, dtype=torch.int64)
        main = torch.full((len(labels),), -1, dtype=torch.int64)
        for n, (photo, known) in enumerate(zip(seen, labels, strict=True)):
            # Of a window it is not known which of the photograph's things it still shows, but for its boxes.
            in_boxes = {term for number in photo.numbers for term in known.box_terms[number]}
            shown = known.shown if photo.window == WHOLE or len(known.named) == 1 else in_boxes
            for value, terms in ((-1, known.possible | known.shown), (1, shown)):
                photo_terms[n, [place[term] for term in terms if term in place]] = value
            for column, number in enumerate(photo.numbers):
                own = [place[term] for term in known.box_terms[number] if term in place]
                box_terms[n, column, : len(own)] = torch.tensor(own, dtype=torch.int64)
            if known.named and known.named[0] in place:
                main[n] = place[known.named[0]]
        return {
            "terms": self._term_pieces[chosen, rng.choices(range(3), (2, 1, 1), k=len(chosen))],
            "photo_terms": photo_terms,
            "box_terms": box_terms,
            "main_term": main,
            "class_terms": torch.tensor([place.get(term, -1) for term in self.terms.classes]),
        }

    def _window(self, photo: AnnotatedImage, rng: random.Random) -> tuple[float, float, float, float]:
        """The part of a photograph that a batch sees: of its aspect, and with a labelled box in it, else the whole."""
        if not self.augment or photo.window != WHOLE:
            return photo.window
        side = rng.uniform(self.smallest_window, 1.0)
        left, top = rng.uniform(0, 1 - side), rng.uniform(0, 1 - side)
        window = (left, top, left + side, top + side)
        if rng.random() < 0.5 or (photo.complete and all(cut(photo, window).weak)):
            return WHOLE
        return window

    def _tints(self, count: int, rng: random.Random) -> Tensor | None:
        if not self.augment:
            return None
        return torch.tensor([[rng.uniform(1 - _TINT, 1 + _TINT) for _ in range(3)] for _ in range(count)])

    def _pixels(self, index: int, flipped: bool, window: tuple[float, float, float, float]) -> Tensor:
        pixels, _ = read_pixels(self.photographs[index], self.config.image_size, window=window)
        return pixels.flip(2) if flipped else pixels

    def _words(self, text: str, flipped: bool) -> list[int]:
        """Ids of a phrase's words, none if it is too long (paper 4: over 10)."""
        ids = self.vocabulary.encode(mirror(text) if flipped else text)
        return ids if len(ids) <= self.config.max_words else []

    def _spoken(self, phrase: str) -> str:
        """A bare name as people say it: "pizza" -> "a pizza"."""
        if self.terms is None or (term := self.terms.of_phrase(phrase)) is None or phrase not in self.terms.forms[term]:
            return phrase
        return self.terms.forms[term][0]

    def _whole_caption(self, photo: AnnotatedImage, known: Labels) -> list[int]:
        if self.terms is None or not known.named or len(photo.names) > _FEW_NAMES:
            return []
        return self._words(self.terms.forms[known.named[0]][0], flipped=False)

    def _phrases(
        self, photo: AnnotatedImage, known: Labels, rng: random.Random
    ) -> list[tuple[str, list[int], bool, bool]]:
        """(phrase, its boxes, of the whole, part of the photograph's query): distinct phrases, longer ones likelier."""
        pool: dict[str, tuple[str, set[int]]] = {}
        for box, phrases in enumerate(photo.phrases):
            for phrase in phrases if not photo.weak[box] else ():
                pool.setdefault(phrase.lower(), (phrase, set()))[1].add(box)
        entries = [(phrase, sorted(boxes)) for phrase, boxes in pool.values()]
        weights = [min(3, len(words_of(p))) + 1e-3 for p, _ in entries]
        # Weighted draw without replacement: the largest of u^(1/w).
        entries = [
            e for _, e in sorted(zip((rng.random() ** (1 / w) for w in weights), entries, strict=True), reverse=True)
        ]
        chosen = [(p, boxes, False, n < _GROUP) for n, (p, boxes) in enumerate(entries[:_PHRASES])]
        weak = [box for box, is_weak in enumerate(photo.weak) if is_weak]
        if weak and len(chosen) < _PHRASES:
            box = rng.choice(weak)
            chosen.append((photo.phrases[box][0], [box], False, False))
        if known.named and self.terms is not None:
            names = rng.sample(known.named, min(_NAMES, len(known.named)))
            broader = sorted(self.terms.closure(names) - set(known.named))
            names += rng.sample(broader, min(1, len(broader)))
            # Something somewhere in it; of a photograph with one name, most of it.
            chosen += [(self.terms.form(name, rng), [], False, not chosen) for name in names]
        if photo.captions:
            chosen.append((rng.choice(photo.captions), [], True, False))
        return chosen or [(photo.names[0] if photo.names else "a photo", [], True, False)]


class _Batches(Dataset):
    """What worker processes make."""

    def __init__(self, loader: BatchLoader, start: int, stop: int):
        self._loader, self._start, self._stop = loader, start, stop

    def __len__(self) -> int:
        return self._stop - self._start

    def __getitem__(self, number: int) -> Batch:
        return self._loader.at_step(self._start + number)


def _padded(boxes: Sequence[Tensor], most: int) -> Tensor:
    """(G, 4) each -> (B, most, 4), zeros after each photograph's."""
    result = torch.zeros(len(boxes), most, 4)
    for n, own in enumerate(boxes):
        result[n, : len(own)] = own
    return result


def _tokens(captions: Sequence[Sequence[Sequence[int]]], most: int) -> Tensor:
    """(B, most, T) int64, padded with 0."""
    longest = max((len(words) for rows in captions for words in rows), default=0)
    tokens = torch.zeros(len(captions), most, max(1, longest), dtype=torch.int64)
    for n, rows in enumerate(captions):
        for column, words in enumerate(rows):
            tokens[n, column, : len(words)] = torch.tensor(words, dtype=torch.int64)
    return tokens


def pad_stack(maps: Sequence[Tensor], multiple: int = 1) -> Tensor:
    """(C, H, W) each -> (B, C, H', W'), zeros to the right and below; the largest sides, up to the next multiple."""
    height, width = (-(-max(m.shape[axis] for m in maps) // multiple) * multiple for axis in (1, 2))
    result = maps[0].new_zeros(len(maps), maps[0].shape[0], height, width)
    for n, m in enumerate(maps):
        result[n, :, : m.shape[1], : m.shape[2]] = m
    return result


_SIDE = re.compile(r"\b(left|right)\b", re.IGNORECASE)


def mirror(text: str) -> str:
    """What is left in a photograph is right in its mirror image."""
    return _SIDE.sub(lambda match: "right" if match.group().lower() == "left" else "left", text)

"""What a commit refuses, whatever the back end: arrays that do not fit together, changes that contradict each other."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from db.records import FailedFile, ModelIdentity, NewPath, NewPhoto


def check_photo(photo: NewPhoto, model: ModelIdentity) -> None:
    """Refuse arrays that do not fit together or the model; one NaN would make a region that no search can find.

    Raises:
        ValueError: names the photo and the array.
    """
    count = len(photo.phrases)
    if count == 0:
        raise ValueError(f"{photo.path}: a photograph without regions")
    for name, array, shape in (
        ("boxes", photo.boxes, (count, 4)),
        ("scores", photo.scores, (count,)),
        ("codes", photo.codes, (count, model.code_size)),
        ("embeddings", photo.embeddings, (count, model.embedding_size)),
    ):
        if array.shape != shape:
            raise ValueError(f"{photo.path}: {name} are {array.shape} instead of {shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{photo.path}: {name} are not finite")
    if not np.allclose(np.linalg.norm(photo.embeddings, axis=1), 1, atol=0.01):
        raise ValueError(f"{photo.path}: embeddings are not of unit length")


def check_changes(
    new: Sequence[NewPhoto],
    moved: Mapping[int, NewPath],
    touched: Collection[int],
    gone: Collection[int],
    failed: Sequence[FailedFile],
) -> None:
    """Refuse two changes of one photo or of one path in one commit.

    Raises:
        ValueError: there are such.
    """
    ids = [*moved, *touched, *gone]
    if len(set(ids)) != len(ids):
        raise ValueError("a photograph is moved, touched or gone twice in one commit")
    files: list[NewPhoto | NewPath | FailedFile] = [*new, *moved.values(), *failed]
    if len({(file.root_id, file.path) for file in files}) != len(files):
        raise ValueError("a path has two photographs in one commit")

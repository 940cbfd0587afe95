"""Everyday questions, asked through the product's own search and judged by what is known of the photographs.

    python -m scripts.evaluate.questions --photos PHOTOS --annotations VAL

Indexes the photographs with the product's own pipeline and ranks all of them for each question of `questions.json`.
Either it lists the photographs that answer ([{"question", "answers": [image_id, ...]}]; photographs without boxes are
ranked too), or words ([{"question", "all_of": [[word, ...], ...]}]): a photograph answers if its captions
(`captions.json`) together contain at least one word of each group. Captions leave things out, so a perfect search
scores below 1. Where it is known how likely a photograph answers, the list that stops by itself is judged too: beside
the best cut-off in hindsight, and beside the cut-off of somebody who knows how many photographs answer, but not which.
Questions that no photograph answers are not asked. Chance: the mean AP to expect of a random order.
"""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from tqdm import tqdm

from fcln.errors import in_words
from fcln.predictor import Predictor
from fcln.training.annotations import load_annotations
from fcln.vocabulary import words_of
from scripts.evaluate.command import collection_options, errors_as_sentences, scoring_options, show
from scripts.evaluate.errors import EvaluationError
from scripts.evaluate.labelled_collection import LabelledPhoto, labelled_collection
from search.likelihood import JUDGED_REGIONS
from search.metrics import average_precision, best_f1, expected_by_chance, list_f1, precision_at
from search.searcher import Answer, Searcher


@dataclass(frozen=True)
class Question:
    """A question, and what a photograph's captions say if it answers."""

    text: str
    all_of: tuple[frozenset[str], ...] = ()  # lower-case words, at least one of each group
    answers: frozenset[int] | None = None  # image ids of the photographs that answer; None: captions tell

    def is_answered(self, captions: Sequence[str], image_id: int | None = None) -> bool:
        """Whether a photograph is one of the answers, or its captions together contain a word of each group."""
        if self.answers is not None:
            return image_id in self.answers
        words = {word for caption in captions for word in words_of(caption)}
        return all(words & group for group in self.all_of)


@click.command(help=__doc__)
@collection_options
@scoring_options
@click.option(
    "--questions",
    "questions_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Default: questions.json in the folder of --annotations.",
)
@click.option("--as-one-phrase", is_flag=True, help="Do not read a question as its noun phrases too, to compare.")
def main(photos: Path, annotations: Path, weights: Path | None, device: str, collection: Path | None, max_regions: int,
         as_json: bool, scoring: str | None, exact: bool, questions_file: Path | None,
         as_one_phrase: bool) -> None:  # fmt: skip
    with errors_as_sentences():
        questions = read_questions(questions_file or annotations / "questions.json")
        listed = any(question.answers is not None for question in questions)
        photographs = load_annotations(photos, annotations, unlabelled=listed)
        predictor = Predictor.load(weights, device=device)
        with labelled_collection(photographs, predictor, max_regions=max_regions, kept_at=collection) as labelled:
            searcher = Searcher(labelled.collection, predictor)
            answers = {question: find_answers(question, labelled.photos) for question in questions}
            results = []
            for question in tqdm([q for q in questions if answers[q]], unit="question", desc="Asking", mininterval=5):
                # Several phrases are read as given: a question asked twice over is one phrase, whatever is in it.
                phrases = [question.text] * 2 if as_one_phrase else [question.text]
                judged = None if exact else JUDGED_REGIONS
                ranked = searcher.rank(phrases, scoring=scoring, judged_regions=judged).photo_ids
                listed_hits = searcher.search(phrases, scoring=scoring)
                results.append(
                    judge(question, ranked.tolist(), answers[question])
                    | judge_list(listed_hits, ranked.tolist(), answers[question])
                )
            chance = expected_by_chance(len(labelled.photos), [result["answers"] for result in results])
    unanswered = len(questions) - len(results)
    if unanswered:
        click.echo(f"{unanswered} of {len(questions)} questions are answered by no photograph here.", err=True)
    summary = summarize(results, chance=chance)
    show(summary, lambda: table(summary), as_json=as_json)


def read_questions(path: Path) -> list[Question]:
    """The questions of a file. Raises EvaluationError if it is missing or holds something else."""
    try:
        return [
            Question(entry["question"], answers=frozenset(map(int, entry["answers"])))
            if "answers" in entry
            else Question(entry["question"], tuple(frozenset(map(str.lower, group)) for group in entry["all_of"]))
            for entry in json.loads(path.read_text(encoding="utf-8"))
        ]
    except FileNotFoundError as error:
        raise EvaluationError(f"{path} does not exist: name a file with --questions.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvaluationError(f"{path} is not a list of questions ({in_words(error)}).") from error


def find_answers(question: Question, photos: Sequence[LabelledPhoto]) -> set[int]:
    """The ids of the photographs that answer."""
    return {p.photo_id for p in photos if question.is_answered(p.labels.captions, p.labels.image_id)}


def judge(question: Question, ranked: Sequence[int], answers: set[int]) -> dict:
    """How well a whole ranking, photo ids best first, answers a question."""
    relevant = [photo_id in answers for photo_id in ranked]
    return {
        "question": question.text,
        "average_precision": average_precision(relevant),
        "precision@5": precision_at(relevant, 5),
        "answers": len(answers),
    }


def judge_list(answer: Answer, ranked: Sequence[int], answers: set[int]) -> dict:
    """How well the list that stops by itself answers a question; nothing where lists do not stop.

    Its F1, the best that any cut-off of the whole ranking would have had, and what a list of as many photographs as
    answer would have had. A list that says that it holds nothing convincing is judged like any other.
    """
    if answer.end is None:
        return {}
    listed = [hit.photo_id in answers for hit in answer.hits]
    relevant = [photo_id in answers for photo_id in ranked]
    return {
        "listed": len(listed),
        "list_f1": list_f1(listed, len(answers)),
        "counted_f1": list_f1(relevant[: len(answers)], len(answers)),
        "best_f1": best_f1(relevant),
    }


def summarize(results: Sequence[dict], *, chance: float) -> dict:
    """Means over the questions, and the questions. Raises EvaluationError if there is none."""
    if not results:
        raise EvaluationError("No photograph answers any of the questions: is there a captions.json?")
    lists = {
        name: statistics.fmean(result[name] for result in results)
        for name in ("list_f1", "counted_f1", "best_f1")
        if all(name in result for result in results)
    }
    return {
        "mean_ap": statistics.fmean(result["average_precision"] for result in results),
        "precision@5": statistics.fmean(result["precision@5"] for result in results),
        "chance": chance,
        **lists,
        "questions": list(results),
    }


def table(summary: dict) -> str:
    """A line a question, one for their means and one for chance."""
    lines = [f"{'question':<36} {'answers':>7} {'AP':>6} {'P@5':>6}"]
    for result in summary["questions"]:
        lines.append(
            f"{result['question']:<36} {result['answers']:>7} "
            f"{result['average_precision']:6.3f} {result['precision@5']:6.2f}"
        )
    lines.append(f"{'mean':<36} {'':>7} {summary['mean_ap']:6.3f} {summary['precision@5']:6.2f}")
    lines.append(f"{'chance':<36} {'':>7} {summary['chance']:6.3f}")
    if "list_f1" in summary:
        lines += ["", f"F1 of lists where they stop {summary['list_f1']:.3f}, "
                  f"of as many photographs as answer {summary['counted_f1']:.3f}, "
                  f"of the best cut-off in hindsight {summary['best_f1']:.3f}"]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    main()

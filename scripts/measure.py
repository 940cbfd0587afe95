"""Measure the shipped weights and write the figures into the documents.

\b
    python -m scripts.measure --photos PHOTOS --annotations VAL --wide-photos PHOTOS --wide-annotations WIDE_VAL
    python -m scripts.measure ... \\
        --full-image runs/full-image/weights.safetensors --region runs/region/weights.safetensors

Runs the evaluations as anybody can run them (each row of the tables names its command), all of search on one collection
that the product's own pipeline fills (and one for the second kind of photographs), and replaces docs/shortlist.png and
what stands between markers: the tables and the questions one by one (`<!-- figures -->`, `<!-- questions -->`) in
docs/results.md, five figures (`<!-- headline -->`) in README.md, the tables in the model card. Given the weights of the
paper's baselines, also the paper's retrieval table (`<!-- baselines -->` in docs/results.md), which takes longer than
all else. Needs Java and the package pycocoevalcap (pip install -e '.[eval]').
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from fcln.weights_file import DEFAULT_WEIGHTS
from scripts.evaluate.command import errors_as_sentences
from scripts.evaluate.errors import EvaluationError
from scripts.evaluate.retrieval_table import line
from scripts.evaluate.retrieval_table import table as baselines_table

_REPOSITORY = Path(__file__).parent.parent
README = _REPOSITORY / "README.md"
RESULTS = _REPOSITORY / "docs" / "results.md"
MODEL_CARD = _REPOSITORY / "fcln" / "weights" / "README.md"
SHORTLIST_PLOT = _REPOSITORY / "docs" / "shortlist.png"
# Crops of a photograph that the baselines read: 50 would take most of a day without bfloat16.
CROPS = 10

# The figures of search: which program is asked, and for what beside the photographs and their collection.
_EVALUATIONS = {
    "retrieval": ("evaluate.retrieval",),
    "questions": ("evaluate.questions",),
    "as_one_phrase": ("evaluate.questions", "--as-one-phrase"),
    "proposals": ("evaluate.proposals",),
    "words": ("evaluate.words",),
    "confidence": ("train.choose_confidence", str(DEFAULT_WEIGHTS), "--dry-run"),
}


@click.command(help=__doc__)
@click.option("--photos", required=True, help="As for scripts.evaluate.retrieval.")
@click.option("--annotations", required=True, help="As for scripts.evaluate.retrieval.")
@click.option("--wide-photos", help="Photographs of everyday things of all kinds; with --wide-annotations.")
@click.option("--wide-annotations", help="Their folder of image_data.json and questions.json, which lists answers.")
@click.option("--full-image", help="As for scripts.evaluate.retrieval_table; with --region.")
@click.option("--region", help="As for scripts.evaluate.retrieval_table; with --full-image.")
def main(
    photos: str,
    annotations: str,
    wide_photos: str | None,
    wide_annotations: str | None,
    full_image: str | None,
    region: str | None,
) -> None:
    if bool(full_image) != bool(region):
        raise click.UsageError("--full-image and --region go together: the retrieval table has rows of both.")
    if bool(wide_photos) != bool(wide_annotations):
        raise click.UsageError("--wide-photos and --wide-annotations go together.")
    with errors_as_sentences(), tempfile.TemporaryDirectory(prefix="densecap-measure-") as folder:
        kept = ("--collection", str(Path(folder) / "collection"))
        kept_wide = ("--collection", str(Path(folder) / "wide"))
        plot = Path(folder) / "shortlist.png"

        def ask(script: str, *options: str, of: tuple[str, str] = (photos, annotations)) -> dict:
            command = [sys.executable, "-m", f"scripts.{script}", *options, "--photos", of[0]]
            command += ["--annotations", of[1], "--json"]
            click.echo(" ".join(command[1:]), err=True)
            done = subprocess.run(command, check=False, stdout=subprocess.PIPE)
            if done.returncode:
                raise EvaluationError(f"scripts.{script} failed, as it says above; no document was changed.")
            return json.loads(done.stdout)

        asked = {"captions": ask("evaluate.captions")}  # first: it says at once if Java is missing
        if wide_photos and wide_annotations:
            asked["wide"] = ask("evaluate.questions", *kept_wide, of=(wide_photos, wide_annotations))
        asked |= {name: ask(script, *options, *kept) for name, (script, *options) in _EVALUATIONS.items()}
        sets: tuple[str, ...] = ()
        if wide_photos and wide_annotations:
            sets = ("--photos", wide_photos, "--annotations", wide_annotations, *kept_wide)
        answers = ("train.calibrate_answers", str(DEFAULT_WEIGHTS), "--dry-run")
        asked["answers"] = ask(*answers, *sets, *kept)
        asked["shortlist"] = ask("evaluate.shortlist", "--plot", str(plot), *kept)
        texts = {(path, "figures"): figures(asked) for path in (RESULTS, MODEL_CARD)}
        texts |= {(RESULTS, "questions"): question_tables(asked), (README, "headline"): headline(asked)}
        if full_image and region:
            baselines = ("--full-image", full_image, "--region", region, "--regions", str(CROPS))
            texts[RESULTS, "baselines"] = baselines_table(ask("evaluate.retrieval_table", *baselines, *kept))
        SHORTLIST_PLOT.write_bytes(plot.read_bytes())
    for (path, marker), text in texts.items():
        path.write_text(replace_between(path.read_text(encoding="utf-8"), marker, text), encoding="utf-8")
        click.echo(f"{path}: {marker}")


def headline(asked: Mapping[str, dict]) -> str:
    """The five figures of README.md, Markdown; four without the second kind of photographs. asked: as for figures."""
    retrieval, found = asked["retrieval"], asked["captions"]["predicted_boxes"]
    recall = " / ".join(f"{retrieval[name]:.2f}" for name in ("recall@1", "recall@5", "recall@10"))
    lines = [
        "| | here | the paper, on Visual Genome |",
        "|---|---|---|",
        f"| the photograph that four phrases describe, of {retrieval['images']:,}: first / among five / ten | "
        f"{recall} | 0.27 / 0.53 / 0.67 |",
        f"| where in it: boxes with IoU of at least 0.5 / median IoU | {retrieval['localization@0.5']:.2f} / "
        f"{retrieval['median_iou']:.2f} | 0.15 / 0.14 |",
        f"| labelled boxes found among 50 regions, IoU of at least 0.5 | {asked['proposals']['found@0.5']:.2f} | |",
        f"| dense captioning, mean AP | {found['mean_ap']:.1f} | 5.4 |",
    ]
    if "wide" in asked:
        wide = asked["wide"]
        lines.insert(
            2,
            f'| everyday things ("a pizza", "a kitchen", {len(wide["questions"])} questions): right ones among the '
            f"first five / mean AP (chance {wide['chance']:.2f}) | {wide['precision@5']:.2f} / {wide['mean_ap']:.2f} "
            "| |",
        )
    return "\n".join(lines)


def question_tables(asked: Mapping[str, dict]) -> str:
    """Every question with its figures, best first, Markdown; a table for each kind of photographs."""
    tables = []
    for kind, name in (("Everyday things of all kinds", "wide"), ("Flickr8k", "questions")):
        if name in asked:
            results = sorted(asked[name]["questions"], key=lambda result: -result["average_precision"])
            lines = [f"{kind}:", "", "| question | photographs that answer | AP | precision@5 |", "|---|---|---|---|"]
            lines += [
                f"| {result['question']} | {result['answers']} | {result['average_precision']:.2f} | "
                f"{result['precision@5']:.1f} |"
                for result in results
            ]
            tables.append("\n".join(lines))
    return "\n\n".join(tables)


def answered_often(questions: Sequence[dict]) -> list[str]:
    """A row for precision@5 where it can be 1: of the questions that at least five photographs answer."""
    precisions = [question["precision@5"] for question in questions if question["answers"] >= 5]
    if len(precisions) in (0, len(questions)):
        return []
    most = statistics.fmean(min(question["answers"], 5) / 5 for question in questions)
    return [
        f"| the same, of the {len(precisions)} questions that five photographs or more answer (of all, no search "
        f"reaches more than {most:.3f}) | {statistics.fmean(precisions):.3f} | |"
    ]


def figures(asked: Mapping[str, dict]) -> str:
    """The tables, Markdown. asked: what the program of each figure says."""
    retrieval, questions, words = asked["retrieval"], asked["questions"], asked["words"]
    found, given = asked["captions"]["predicted_boxes"], asked["captions"]["labelled_boxes"]
    recall, confidence, shortlist = asked["captions"]["box_recall"], asked["confidence"], asked["shortlist"]
    same_word = [pair for pair in words["synonym_pairs"] if pair["read_as"] == pair["known"]]
    others = [pair["overlap"] for pair in words["synonym_pairs"] if pair["read_as"] != pair["known"]]
    shares = [
        format(point["places"], ".3f")
        for curve in shortlist["curves"]
        for point in curve["points"]
        if point["size"] == shortlist["default_size"]
    ]
    wide_lines = []
    if "wide" in asked:
        wide = asked["wide"]
        wide_lines = [
            f"| everyday things of all kinds, mean AP ({len(wide['questions'])} questions; photographs that answer are "
            f"listed) / chance | {wide['mean_ap']:.3f} / {wide['chance']:.3f} | `python -m scripts.evaluate.questions "
            "--photos WIDE_PHOTOS --annotations WIDE_VAL` |",
            f"| the same, precision@5 | {wide['precision@5']:.3f} | |",
            *answered_often(wide["questions"]),
        ]
    lines = [
        f"Retrieval (paper, Table 2's protocol) on {retrieval['images']} photographs that the network was not trained",
        f"on: 10 draws of {retrieval['queries']} queries of four phrases of three words or more, ± standard error over",
        "draws; at most 50 regions a photograph; `python -m scripts.evaluate.retrieval`:",
        "",
        "| scoring | recall@1 | @5 | @10 | median rank | localization@0.1 | @0.3 | @0.5 | median IoU |",
        "|---|---|---|---|---|---|---|---|---|",
        line(retrieval["scoring"], retrieval),
        "",
        "| what | figure | command |",
        "|---|---|---|",
        *wide_lines,
        f"| everyday questions, mean AP ({len(questions['questions'])} questions, judged by captions) | "
        f"{questions['mean_ap']:.3f} | `python -m scripts.evaluate.questions` |",
        f"| the same, precision@5 | {questions['precision@5']:.3f} | |",
        *answered_often(questions["questions"]),
        f"| the same, each question read as one phrase only, mean AP | {asked['as_one_phrase']['mean_ap']:.3f} | "
        "`python -m scripts.evaluate.questions --as-one-phrase` |",
        f"| labelled boxes found at IoU 0.3 / 0.5 among at most 50 regions | {asked['proposals']['found@0.3']:.3f} / "
        f"{asked['proposals']['found@0.5']:.3f} | `python -m scripts.evaluate.proposals` |",
        f"| dense captioning (paper, Table 1): mean AP / METEOR / localization AP | {found['mean_ap']:.2f} / "
        f"{found['meteor']:.3f} / {found['localization_ap']:.2f} | `python -m scripts.evaluate.captions` |",
        f"| the same with the labelled boxes given: mean AP / METEOR | {given['mean_ap']:.2f} / "
        f"{given['meteor']:.3f} | |",
        f"| labelled boxes found at IoU 0.5 among {' / '.join(recall)} proposals | "
        f"{' / '.join(format(row['0.5'], '.3f') for row in recall.values())} | |",
        "| first ten photographs shared by a word and a synonym that no training phrase or caption has "
        f"({len(words['synonym_pairs'])} pairs) | {words['synonyms']:.3f} | `python -m scripts.evaluate.words` |",
        f"| the same without the {len(same_word)} synonyms that are read as the very word | "
        f"{sum(others) / max(len(others), 1):.3f} | |",
        "| the same, all synonyms as typed, in word pieces / as an unknown word / random pairs of words | "
        f"{words['synonyms_as_typed']:.3f} / {words['as_unknown']:.3f} / {words['random']:.3f} | |",
        f"| the same, {len(words['slip_pairs'])} misspelt words / taken as typed | "
        f"{words['slips']:.3f} / {words['as_typed']:.3f} | |",
        f"| the same, {', '.join(pair['other'] + ' for ' + pair['known'] for pair in words['named_pairs'])} | "
        f"{' / '.join(format(pair['overlap'], '.1f') for pair in words['named_pairs'])} | |",
        f"| share of these that people describe with one of the two words, asked for "
        f"{', '.join(pair['other'] + ' (' + pair['known'] + ')' for pair in words['named_pairs'])} | "
        + " / ".join(f"{pair['other_shows_it']:.1f} ({pair['known_shows_it']:.1f})" for pair in words["named_pairs"])
        + " | |",
        f"| first ten places as with `--exact`, a shortlist of {shortlist['default_size']} photographs: "
        f"one phrase / four | {' / '.join(shares)} | `python -m scripts.evaluate.shortlist` |",
        "| confidences of `search detect`, half of the photographs fitted, half judged: calibration error / of boxes "
        f"from 0.1 on | {confidence['calibration_error']:.3f} / {confidence['calibration_error_from_0.1']:.3f} | "
        "`python -m scripts.train.choose_confidence fcln/weights/default.safetensors --dry-run` |",
        f"| the same, average precision of the boxes | {confidence['average_precision']:.3f} | |",
        *answer_lines(asked),
        "",
        "(each with `--photos PHOTOS --annotations VAL` unless it says otherwise)",
    ]
    return "\n".join(lines)


def answer_lines(asked: Mapping[str, dict]) -> list[str]:
    """Rows of the table: probabilities of photographs, and lists that stop by them; none where they are not known."""
    lines = []
    if (answers := asked.get("answers")) is not None:
        each = " / ".join(f"{one['calibration_error_from_0.1']:.3f}" for one in answers["sets"])
        lines.append(
            "| probabilities of photographs, half fitted, half judged: calibration error of those from 0.1 on, all "
            f"/ each / pairs of things | {answers['calibration_error_from_0.1']:.3f} / {each} / "
            f"{answers.get('pairs_calibration_error_from_0.1', 0):.3f} | `python -m scripts.train.calibrate_answers "
            "fcln/weights/default.safetensors --dry-run --photos WIDE_PHOTOS --annotations WIDE_VAL --photos PHOTOS "
            "--annotations VAL` |"
        )
    named = {
        "questions": ("everyday questions", ""),
        "wide": ("everyday things", " --photos WIDE_PHOTOS --annotations WIDE_VAL"),
    }
    for name, (what, where) in named.items():
        if name in asked and "list_f1" in asked[name]:
            found, counted, best = (asked[name][f"{cut}_f1"] for cut in ("list", "counted", "best"))
            lines.append(
                f"| lists that stop by themselves, {what}: F1 / of each question's best cut-off in hindsight / ratio / "
                "ratio of lists of as many photographs as answer "
                f"| {found:.3f} / {best:.3f} / {found / best:.2f} / {counted / best:.2f} "
                f"| `python -m scripts.evaluate.questions{where}` |"
            )
    return lines


def replace_between(document: str, marker: str, text: str) -> str:
    """The document with other text between `<!-- marker -->` and `<!-- /marker -->`; ValueError if it lacks them."""
    begin, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    before, _, rest = document.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"the document has no {begin} ... {end}")
    return f"{before}{begin}\n{text}\n{end}{after}"


if __name__ == "__main__":
    main()

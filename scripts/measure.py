"""Measure the shipped weights and write the figures into the README and the model card.

\b
    python -m scripts.measure --photos ../shared/data/photos --annotations ../shared/data/val
    python -m scripts.measure --photos ... --annotations ... \\
        --full-image runs/full-image/weights.safetensors --region runs/region/weights.safetensors

Runs the evaluations as anybody can run them (each row of the tables names its command), all of search on one collection
that the product's own pipeline fills, and replaces what stands between the markers `<!-- figures -->` and
`<!-- /figures -->`, and docs/shortlist.png. Given the weights of the paper's baselines, also the paper's retrieval
table, which takes longer than all else, between `<!-- baselines -->` and `<!-- /baselines -->` of the README. Needs
Java and the package pycocoevalcap (pip install -e '.[eval]').
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import click

from fcln.weights_file import DEFAULT_WEIGHTS
from scripts.evaluate.command import errors_as_sentences
from scripts.evaluate.labelled_collection import EvaluationError
from scripts.evaluate.retrieval_table import line
from scripts.evaluate.retrieval_table import table as baselines_table

_REPOSITORY = Path(__file__).parent.parent
README = _REPOSITORY / "README.md"
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
@click.option("--full-image", help="As for scripts.evaluate.retrieval_table; with --region.")
@click.option("--region", help="As for scripts.evaluate.retrieval_table; with --full-image.")
def main(photos: str, annotations: str, full_image: str | None, region: str | None) -> None:
    if bool(full_image) != bool(region):
        raise click.UsageError("--full-image and --region go together: the retrieval table has rows of both.")
    with errors_as_sentences(), tempfile.TemporaryDirectory(prefix="densecap-measure-") as folder:
        kept = ("--collection", str(Path(folder) / "collection"))
        plot = Path(folder) / "shortlist.png"

        def ask(script: str, *options: str) -> dict:
            command = [sys.executable, "-m", f"scripts.{script}", *options, "--photos", photos]
            command += ["--annotations", annotations, "--json"]
            click.echo(" ".join(command[1:]), err=True)
            done = subprocess.run(command, check=False, stdout=subprocess.PIPE)
            if done.returncode:
                raise EvaluationError(f"scripts.{script} failed, as it says above; no document was changed.")
            return json.loads(done.stdout)

        asked = {"captions": ask("evaluate.captions")}  # first: it says at once if Java is missing
        asked |= {name: ask(script, *options, *kept) for name, (script, *options) in _EVALUATIONS.items()}
        asked["shortlist"] = ask("evaluate.shortlist", "--plot", str(plot), *kept)
        texts = {(path, "figures"): figures(asked) for path in (README, MODEL_CARD)}
        if full_image and region:
            baselines = ("--full-image", full_image, "--region", region, "--regions", str(CROPS))
            texts[README, "baselines"] = baselines_table(ask("evaluate.retrieval_table", *baselines, *kept))
        SHORTLIST_PLOT.write_bytes(plot.read_bytes())
    for (path, marker), text in texts.items():
        path.write_text(replace_between(path.read_text(encoding="utf-8"), marker, text), encoding="utf-8")
        click.echo(f"{path}: {marker}")


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
        f"| everyday questions, mean AP ({len(questions['questions'])} questions, judged by captions) | "
        f"{questions['mean_ap']:.3f} | `python -m scripts.evaluate.questions` |",
        f"| the same, precision@5 | {questions['precision@5']:.3f} | |",
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
        "",
        "(each with `--photos PHOTOS --annotations VAL`)",
    ]
    return "\n".join(lines)


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

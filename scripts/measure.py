"""Measure the shipped weights and write the figures into the README and the model card.

    python -m scripts.measure --photos ../shared/data/photos --annotations ../shared/data/val

Runs the evaluations as anybody can run them (each row of the tables names its command), all of search on one collection
that the product's own pipeline fills, and replaces what stands between the markers `<!-- figures -->` and
`<!-- /figures -->`. Needs Java and the package pycocoevalcap (pip install -e '.[eval]').
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from search.query import SCORINGS

_REPOSITORY = Path(__file__).parent.parent
_DOCUMENTS = (_REPOSITORY / "README.md", _REPOSITORY / "fcln" / "weights" / "README.md")
# The language model takes a thousand times as long as a cosine.
_DRAWS, _SLOW_DRAWS = 10, 2
_BEGIN, _END = "<!-- figures -->", "<!-- /figures -->"


@click.command(help=__doc__)
@click.option("--photos", required=True, help="As for scripts.evaluate_retrieval.")
@click.option("--annotations", required=True, help="As for scripts.evaluate_retrieval.")
@click.option("--scoring", "scorings", multiple=True, type=click.Choice(SCORINGS), help="Default: all three.")
def main(photos: str, annotations: str, scorings: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory(prefix="densecap-measure-") as folder:

        def ask(script: str, *options: str) -> dict:
            command = [sys.executable, "-m", f"scripts.{script}", "--photos", photos, "--annotations", annotations]
            command += ["--json", *options]
            click.echo(" ".join(command[1:]), err=True)
            return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)

        def ask_collection(script: str, *options: str) -> dict:
            return ask(script, "--collection", str(Path(folder) / "collection"), *options)

        captions = ask("evaluate_captions")  # first: it says at once if Java is missing
        draws = {scoring: _DRAWS if scoring == "embedding" else _SLOW_DRAWS for scoring in scorings or SCORINGS}
        text = figures(
            {
                (scoring, count): ask_collection("evaluate_retrieval", "--scoring", scoring, "--draws", str(count))
                for scoring, count in draws.items()
            },
            ask_collection("evaluate_questions"),
            ask_collection("evaluate_questions", "--as-one-phrase"),
            ask_collection("evaluate_proposals"),
            captions,
            ask_collection("evaluate_words"),
        )
    for path in _DOCUMENTS:
        path.write_text(replace_figures(path.read_text(encoding="utf-8"), text), encoding="utf-8")
        click.echo(path)


def figures(
    retrieval: dict[tuple[str, int], dict],
    questions: dict,
    as_one_phrase: dict,
    proposals: dict,
    captions: dict,
    words: dict,
) -> str:
    """The tables, Markdown. retrieval: by scoring and number of draws."""
    first = next(iter(retrieval.values()))
    lines = [
        f"Retrieval (paper, Table 2's protocol) on {first['images']} photographs that the network was not trained on:",
        f"{first['queries']} queries of four phrases of three words or more a draw, ± standard error over draws;",
        "at most 50 regions a photograph. `python -m scripts.evaluate_retrieval --photos PHOTOS --annotations VAL`",
        "(`--scoring` and `--draws` for the rows)",
        "",
        "| scoring | draws | recall@1 | @5 | @10 | median rank | localization@0.1 | @0.3 | @0.5 | median IoU |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    names = ("recall@1", "recall@5", "recall@10", "median_rank", "localization@0.1", "localization@0.3",
             "localization@0.5", "median_iou")  # fmt: skip
    for (scoring, draws), row in retrieval.items():
        cells = [f"{row[name]:.3g} ± {row['standard_error'][name]:.2g}" for name in names]
        lines.append(f"| {scoring} | {draws} | " + " | ".join(cells) + " |")
    found, given, recall = captions["predicted_boxes"], captions["labelled_boxes"], captions["box_recall"]
    lines += [
        "",
        "| what | figure | command |",
        "|---|---|---|",
        f"| everyday questions, mean AP ({len(questions['questions'])} questions, judged by captions) | "
        f"{questions['mean_ap']:.3f} | `python -m scripts.evaluate_questions` |",
        f"| the same, precision@5 | {questions['precision@5']:.3f} | |",
        f"| the same, each question read as one phrase only, mean AP | {as_one_phrase['mean_ap']:.3f} | "
        "`python -m scripts.evaluate_questions --as-one-phrase` |",
        f"| labelled boxes found at IoU 0.3 / 0.5 among at most 50 regions | {proposals['found@0.3']:.3f} / "
        f"{proposals['found@0.5']:.3f} | `python -m scripts.evaluate_proposals` |",
        f"| dense captioning (paper, Table 1): mean AP / METEOR / localization AP | {found['mean_ap']:.2f} / "
        f"{found['meteor']:.3f} / {found['localization_ap']:.2f} | `python -m scripts.evaluate_captions` |",
        f"| the same with the labelled boxes given: mean AP / METEOR | {given['mean_ap']:.2f} / "
        f"{given['meteor']:.3f} | |",
        f"| labelled boxes found at IoU 0.5 among {' / '.join(recall)} proposals | "
        f"{' / '.join(format(row['0.5'], '.3f') for row in recall.values())} | |",
        "| first ten photographs shared by a word and a synonym unseen in training "
        f"({len(words['synonym_pairs'])} pairs) | {words['synonyms']:.3f} | `python -m scripts.evaluate_words` |",
        "| the same, the synonym as typed, in word pieces / as an unknown word / random pairs of words | "
        f"{words['synonyms_as_typed']:.3f} / {words['as_unknown']:.3f} / {words['random']:.3f} | |",
        f"| the same, {len(words['slip_pairs'])} misspelt words / taken as typed | "
        f"{words['slips']:.3f} / {words['as_typed']:.3f} | |",
    ]
    return "\n".join(lines)


def replace_figures(document: str, text: str) -> str:
    """The document with other text between its markers; ValueError if it lacks them."""
    before, _, rest = document.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not end:
        raise ValueError(f"the document has no {_BEGIN} ... {_END}")
    return f"{before}{_BEGIN}\n{text}\n{_END}{after}"


if __name__ == "__main__":
    main()

"""What goes between the markers of the README and the model card."""

import pytest

from scripts.measure import figures, replace_figures

NAMES = ("recall@1", "recall@5", "recall@10", "median_rank", "localization@0.1", "localization@0.3", "localization@0.5",
         "median_iou")  # fmt: skip


def test_figures_go_between_the_markers():
    document = "before\n<!-- figures -->\nold\n<!-- /figures -->\nafter\n"
    assert replace_figures(document, "new") == "before\n<!-- figures -->\nnew\n<!-- /figures -->\nafter\n"
    with pytest.raises(ValueError, match="figures"):
        replace_figures("no markers", "new")


def test_every_figure_is_in_a_table():
    row = {name: number / 10 for number, name in enumerate(NAMES, 1)}
    row |= {"images": 1000, "queries": 100, "standard_error": dict.fromkeys(NAMES, 0.012)}
    questions = {"mean_ap": 0.345, "precision@5": 0.456, "questions": [{}] * 23}
    captions = {
        "predicted_boxes": {"mean_ap": 5.394, "meteor": 0.2734, "localization_ap": 25.25},
        "labelled_boxes": {"mean_ap": 27.032, "meteor": 0.3054, "localization_ap": 100.0},
        "box_recall": {"10": {"0.5": 0.4321}, "300": {"0.5": 0.8765}},
    }
    found = {"found@0.3": 0.888, "found@0.5": 0.777}
    words = {
        "synonyms": 0.511,
        "synonyms_as_typed": 0.159,
        "as_unknown": 0.022,
        "random": 0.013,
        "slips": 0.944,
        "as_typed": 0.155,
    }
    words |= {"synonym_pairs": [{}] * 61, "slip_pairs": [{}] * 21}
    text = figures({("embedding", 10): row}, questions, {"mean_ap": 0.234}, found, captions, words)
    assert "1000 photographs" in text
    cells = " | ".join(f"{n / 10:.3g} ± 0.012" for n in range(1, 9))
    assert f"| embedding | 10 | {cells} |" in text
    dense = ("| 5.39 / 0.273 / 25.25 |", "| 27.03 / 0.305 |", "among 10 / 300 proposals | 0.432 / 0.876 |")
    rare = ("(61 pairs) | 0.511", "0.159 / 0.022 / 0.013", "21 misspelt words", "0.944 / 0.155")
    for figure in ("23 questions", "0.345", "0.456", "0.234", "0.888 / 0.777", *dense, *rare):
        assert figure in text

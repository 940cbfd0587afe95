"""Index real photographs, ask three questions, draw the best hits: what `make demo` runs.

    python -m scripts.demo [--photos DIR]

Without --photos: the photographs that scikit-image and scikit-learn carry in their wheels. Everything is kept in
`demo/` (or in the folder of --out), so a second run only answers.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import click

from scripts.options import own_photos_option

# What the two wheels' photographs show; microscope pictures, textures and test charts are left out.
_SKIMAGE = ("astronaut.png", "chelsea.png", "coffee.png", "camera.png", "motorcycle_left.png", "rocket.jpg")
_SKLEARN = ("china.jpg", "flower.jpg")
_QUESTIONS = ("a cat", "a motorcycle", "a cup on a table")
_OWN_QUESTIONS = ("a person", "a dog on the grass", "a red car")


@click.command(help=__doc__)
@own_photos_option
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("demo"), show_default=True)
def main(photos: Path | None, out: Path) -> None:
    questions = _OWN_QUESTIONS if photos else _QUESTIONS
    collection = out / ("own-collection" if photos else "collection")
    folder = photos or copy_photographs(out / "photos")
    picture = out / "hits.png"
    _run("indexer", "build", str(folder), "--collection", str(collection))
    for question in questions:
        click.echo(f'\n$ search query "{question}"', err=True)
        # The contact sheet is the first question's.
        draw = ["--draw", str(picture)] if question == questions[0] else []
        _run(
            "search",
            "query",
            question,
            "--table",
            "--collection",
            str(collection),
            *draw,
            may_find_nothing=True,
        )
    click.echo(f"\nThe best hits of the first question, drawn: {picture.resolve()}")


def copy_photographs(folder: Path) -> Path:
    """Copy the wheels' photographs into a folder; those that a later version lacks are left out."""
    import skimage
    import sklearn.datasets

    sources = [Path(skimage.__file__).parent / "data" / name for name in _SKIMAGE]
    sources += [Path(sklearn.datasets.__file__).parent / "images" / name for name in _SKLEARN]
    folder.mkdir(parents=True, exist_ok=True)
    for source in sources:
        target = folder / source.name
        if source.exists() and not target.exists():
            shutil.copyfile(source, target)
    return folder


def _run(*command: str, may_find_nothing: bool = False) -> None:
    code = subprocess.run([sys.executable, "-m", *command], check=False).returncode
    if code and not (may_find_nothing and code == 1):
        sys.exit(code)


if __name__ == "__main__":
    main()

"""Options that several of the programs have."""

from pathlib import Path

import click

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document instead of a table.")
weights_option = click.option(
    "--weights", type=click.Path(path_type=Path), help="Weights file; default: the embedded one."
)
device_option = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
# Of benchmarks: what is measured with, and how often.
own_photos_option = click.option(
    "--photos", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Your own folder."
)
regions_option = click.option(
    "--regions", type=click.IntRange(1), default=50, show_default=True, help="Of each photograph."
)
rounds_option = click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)

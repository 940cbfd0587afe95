"""Asking `search serve` from Python, with nothing but its standard library. Start it first: search serve

python examples/page_api.py "dog on a couch" [ADDRESS]
"""

import json
import sys
from urllib.parse import urlencode
from urllib.request import urlopen


def ask(page: str, path: str, **parameters: object) -> dict:
    """The document that the server answers with. An error is an HTTPError whose body is {"error": SENTENCE}."""
    query = urlencode(parameters, doseq=True)
    with urlopen(f"{page}/api/v1{path}?{query}") as reply:
        return json.load(reply)


def main() -> None:
    question = sys.argv[1] if len(sys.argv) > 1 else "dog on a couch"
    page = sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8420"
    answer = ask(page, "/search", q=question)
    for hit in answer["hits"]:
        print(f"{hit.get('probability', hit['score']):6.2f}  {hit['path']}")
        for region in hit["regions"]:
            x, y, width, height = region["box"]
            print(
                f"        {region['for']}: {width:.0f} x {height:.0f} pixels at {x:.0f}, {y:.0f} ({region['phrase']})"
            )
    if not answer.get("convincing", True):
        print("Nothing convincing: these are only the closest ones.")


if __name__ == "__main__":
    main()

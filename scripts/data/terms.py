"""Names of things as phrases, and what is broader than what: terms for `scripts.train --terms`. Run once.

\b
    python -m scripts.data.terms runs/terms.json --wordnet /usr/share/wordnet --annotations TRAIN --annotations WIDE

A term is one thing that a photograph may show ("iguana"), with the forms that ask for it ("an iguana", "iguana",
"iguanas") and the terms that are broader by WordNet ("lizard", "animal"). Terms are the names of all names.json and
objects.json of the annotations, the 1,000 classes of ImageNet, and what is broader than these and known to everybody.
The file also says which photographs were named what, and which words of phrases and captions mean which term.
"""

import json
import re
from collections import Counter
from pathlib import Path

import click
import inflect

from fcln.vocabulary import words_of
from scripts.data.wordnet import Synset, WordNet

# What everything is: says nothing of a photograph.
_TOO_BROAD = frozenset(
    {
        "entity",
        "physical_entity",
        "object",
        "physical_object",
        "thing",
        "whole",
        "unit",
        "matter",
        "substance",
        "artifact",
        "artefact",
        "living_thing",
        "organism",
        "being",
        "causal_agent",
        "cause",
        "instrumentality",
        "device",
        "mechanism",
        "equipment",
        "article",
        "part",
        "component",
        "portion",
        "physical_thing",
        "material",
        "stuff",
        "construction",
        "structure",
        "creation",
        "product",
        "commodity",
        "covering",
        "surface",
        "process",
        "psychological_feature",
        "abstraction",
        "attribute",
        "state",
        "group",
        "grouping",
        "relation",
        "communication",
        "measure",
        "chordate",
        "vertebrate",
        "craniate",
        "placental",
        "eutherian",
        "natural_object",
        "location",
        "region",
        "area",
        "point",
        "foodstuff",
        "nutriment",
        "food_product",
        "implement",
        "system",
        "assembly",
        "way",
        "passage",
        "chordamate",
        "conveyance",
        "transport",
    }
)
# A word's first sense that one can see is taken, but where people who name things in photographs mean another one: the
# first of which this word is broader, or the same.
_MEANT = {"plant": "flora", "glass": "container", "tap": "plumbing_fixture", "table": "furniture", "iron": "appliance",
          "jersey": "garment", "bow": "weapon", "counter": "table", "range": "mountain", "throw": "bedclothes",
          "frame": "framework", "church": "building", "stool": "seat", "mouse": "rodent", "mug": "container",
          "oak": "tree"}  # fmt: skip
_PHYSICAL = frozenset({"physical_entity", "food", "body_of_water", "geological_formation", "location", "atmosphere"})
_WEATHER = frozenset({"snow", "sky", "rain", "fog", "cloud", "ice", "fire", "light", "night"})
_MIN_PHOTOS = 5  # a broader term is kept if so many photographs show a kind of it
_KNOWN = 1500  # and if a list of English words has each of its words so often
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


class Terms:
    """Collects terms; a synset and a name are each one term."""

    def __init__(self, wordnet: WordNet):
        self.wordnet = wordnet
        self.names: list[str] = []
        self.broader_names: list[list[str]] = []
        self._index: dict[str, int] = {}

    def add(self, name: str, synset: Synset | None = None) -> int:
        """The index of a term of this name ("wine glass"), made if there is none. synset: what it means, if known."""
        name = self.singular(name)
        if name not in self._index:
            self._index[name] = len(self.names)
            self.names.append(name)
            synset = synset or self.meaning(name)
            self.broader_names.append(self._broader(name, synset) if synset else self._head(name))
        return self._index[name]

    def singular(self, name: str) -> str:
        """ "flowers" -> "flower"; names that WordNet has as they are ("people", "glasses") stay."""
        lemmas = [lemma for kind, lemma in self.wordnet.lemmas(name.replace(" ", "_")) if kind == "n"]
        return name if not lemmas or name.replace(" ", "_") in lemmas else lemmas[0].replace("_", " ")

    def is_noun(self, name: str) -> bool:
        """Whether WordNet has it: what shops call their goods ("10-piece coffee", "black-brown") it has not."""
        return any(kind == "n" for kind, _ in self.wordnet.lemmas(name.replace(" ", "_")))

    def meaning(self, name: str) -> Synset | None:
        """What a name means: the first sense that is a thing one can see; None if WordNet has none."""
        lemmas = [lemma for kind, lemma in self.wordnet.lemmas(name.replace(" ", "_")) if kind == "n"]
        for lemma in lemmas:
            meant = {_MEANT[lemma]} if lemma in _MEANT else _PHYSICAL
            for sense in self.wordnet.senses("n", lemma)[: 20 if lemma in _MEANT else 4]:
                around = {*sense.words, *(w for s in self._chain(sense) for w in s.words)}
                if lemma in _WEATHER or meant & around:
                    return sense
        return None

    def _head(self, name: str) -> list[str]:
        """Of a name that WordNet lacks ("pendant lamp"): its last word, and what is broader than that."""
        words = name.split()
        if len(words) < 2:
            return []
        head = words[-1]
        synset = self.meaning(head)
        if synset is None:
            return []
        lemmas = [lemma for kind, lemma in self.wordnet.lemmas(head) if kind == "n"]
        own = (lemmas or [head])[-1].replace("_", " ")
        return list(dict.fromkeys([own, *self._broader(head, synset)]))

    def _chain(self, synset: Synset) -> list[Synset]:
        found, open_ = [], [synset]
        while open_:
            one = open_.pop()
            for above in self.wordnet.broader(one):
                if above not in found:
                    found.append(above)
                    open_.append(above)
        return found

    def _broader(self, name: str, synset: Synset) -> list[str]:
        """Words for all that is broader than a synset, its own other words first."""
        own = [word for word in synset.words if word.replace("_", " ") != name]
        words = own[:2]
        for above in self._chain(synset):
            if not _TOO_BROAD & set(above.words):
                words += above.words[:2]  # the words that mean this most often come first
        return list(dict.fromkeys(word.replace("_", " ") for word in words))


_ENGLISH = inflect.engine()
# What follows these says more of the thing and stays as it is in the plural: "chest of 4 drawers".
_AFTER = frozenset({"of", "with", "w", "for", "to", "in", "on", "and", "without"})
_SPELT = re.compile("[aefhilmnorsx]-")  # "an f-16"


def forms(name: str) -> list[str]:
    """The phrases that ask for a thing: with its article, bare, in the plural."""
    words = name.split()
    end = next((place for place, word in enumerate(words) if place and word in _AFTER), len(words))
    head, rest = words[:end], words[end:]
    if head[-1] in _MASS | _PLURAL or (head[-1] not in _SAME and _is_plural(head[-1])):
        return [name, f"some {name}", name]
    article = f"an {name}" if _SPELT.match(name) else _ENGLISH.a(name)
    plural = name if head[-1] in _SAME else " ".join([_ENGLISH.plural_noun(" ".join(head)), *rest])
    return [article, name, plural]


def _is_plural(word: str) -> bool:
    """Whether it looks like one: "drawers", but not "glass", "gas", "bus" or "cactus"."""
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return False
    one = _ENGLISH.singular_noun(word)
    return one is not False and _ENGLISH.plural_noun(one) == word


# One or several.
_SAME = frozenset({"pyrenees", "malinois", "triceratops", "patas", "flandres", "delicious", "children's"})
_MASS = frozenset(
    {
        "snow",
        "water",
        "grass",
        "sand",
        "ice",
        "sky",
        "food",
        "fruit",
        "rice",
        "pasta",
        "milk",
        "juice",
        "furniture",
        "people",
        "clothing",
        "bread",
        "meat",
        "coffee",
        "tea",
        "sugar",
        "cereal",
        "honey",
        "jam",
        "corn",
        "flour",
        "candy",
        "chocolate",
        "oil",
        "vinegar",
        "spices",
        "cutlery",
        "jewelry",
        "jewellery",
        "wool",
        "fabric",
        "lighting",
        "dining",
        "laundry",
        "outside",
        "wood",
        "stone",
        "biryani",
        "smoke",
        "fog",
        "fire",
        "cheese",
        "butter",
        "yoghurt",
        "cream",
        "beans",
        "nuts",
        "chips",
        "kitchenware",
        "tableware",
        "crockery",
        "glassware",
        "silverware",
        "footwear",
        "underwear",
        "equipment",
        "art",
        "sea",
        "ocean",
        "vegetation",
        "foliage",
        "rain",
        "mud",
        "hair",
        "fur",
        "toast",
        "soup",
        "salad",
        "lettuce",
        "celery",
        "broccoli",
        "spinach",
        "ginger",
        "garlic",
        "cabinetry",
        "asparagus",
    }
)
_PLURAL = frozenset(
    {
        "trousers",
        "jeans",
        "sunglasses",
        "scissors",
        "binoculars",
        "goggles",
        "clothes",
        "shorts",
        "pyjamas",
        "stairs",
        "glasses",
    }
)


@click.command(help=__doc__)
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--wordnet", type=_FOLDER, required=True, help="Folder of data.noun and so on (Debian: wordnet-base).")
@click.option(
    "--annotations", type=_FOLDER, required=True, multiple=True, help="Folders with names.json, objects.json."
)
def main(out: Path, wordnet: Path, annotations: tuple[Path, ...]) -> None:
    from spellchecker import SpellChecker
    from torchvision.models import ResNet50_Weights

    english = SpellChecker().word_frequency
    net = WordNet(wordnet)
    terms = Terms(net)
    images: dict[int, list[int]] = {}
    shown: Counter[str] = Counter()
    detected: set[str] = set()  # what a detector names is known to everybody
    for folder in annotations:
        for entry in _read(folder / "names.json"):
            found = []
            for number, name in enumerate(entry["names"]):
                for one in split_name(name):
                    synset = net.synset("n", entry["wnid"][1:]) if number == 0 and entry.get("wnid") else None
                    found.append(terms.add(one, synset))
            images[entry["image_id"]] = list(dict.fromkeys(found))
            shown.update({terms.names[t] for t in found} | {b for t in found for b in terms.broader_names[t]})
        for entry in _read(folder / "objects.json"):
            for thing in entry["objects"]:
                detected.add(terms.names[terms.add(thing["name"].lower())])
    classes = []
    for category in ResNet50_Weights.IMAGENET1K_V1.meta["categories"]:
        classes.append(terms.add(split_name(category)[0]))
    direct = len(terms.names)
    for name, count in sorted(shown.items()):  # broader terms that people use
        if count >= _MIN_PHOTOS and all(english.dictionary.get(w, 0) > _KNOWN for w in name.split()) and len(name) > 2:
            terms.add(name)
    index = {name: number for number, name in enumerate(terms.names)}
    rows = [
        {"name": name, "forms": forms(name), "broader": sorted({index[b] for b in broader if b in index and b != name})}
        for name, broader in zip(terms.names, terms.broader_names)
    ]
    lexicon: dict[str, int] = {}
    for name, number in index.items():
        for form in (name, forms(name)[-1]):
            lexicon.setdefault(" ".join(words_of(form)), number)
    for name, number in index.items():  # a name that WordNet has means itself, not another one's plural
        if any(kind == "n" and lemma.replace("_", " ") == name for kind, lemma in net.lemmas(name.replace(" ", "_"))):
            lexicon[" ".join(words_of(name))] = number
    out.parent.mkdir(parents=True, exist_ok=True)
    said = [name for name in terms.names[:direct] if name in detected or terms.is_noun(name)]
    names = list(dict.fromkeys(forms(name)[0] for name in said))
    document = {
        "terms": rows,
        "direct": direct,
        "names": names,
        "lexicon": lexicon,
        "images": images,
        "classes": classes,
    }
    out.write_text(json.dumps(document))
    click.echo(f"{out}: {len(rows)} terms, {len(images)} photographs named")


def split_name(name: str) -> list[str]:
    """'cup or mug' -> ['cup', 'mug']; shops' additions after a comma and brackets go."""
    name = " ".join(name.lower().replace("_", " ").split("(")[0].split(",")[0].split())
    return [" ".join(words) for part in name.split(" or ") if (words := part.replace("+", " ").split())]


def _read(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


if __name__ == "__main__":
    main()

"""What phrases begin with, as a tree: what is the same for several of them need be computed once only."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fcln.vocabulary import START


@dataclass
class Prefix:
    """What some phrases begin with, as a node of the tree of all beginnings."""

    word: int  # the id of its last word; START's is the root's
    phrases: list[int] = field(default_factory=list)  # indices of those that end here
    children: dict[int, "Prefix"] = field(default_factory=dict)  # by the next word's id


def prefix_tree(phrases: Sequence[Sequence[int]]) -> Prefix:
    """The root of the tree of Q phrases, given as word ids; their indices are 0 to Q - 1 in the order given."""
    root = Prefix(START)
    for index, phrase in enumerate(phrases):
        prefix = root
        for word in phrase:
            prefix = prefix.children.setdefault(word, Prefix(word))
        prefix.phrases.append(index)
    return root

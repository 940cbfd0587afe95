"""Words that say nothing of what a photograph shows: of English, and of languages that people ask in by mistake."""

from collections.abc import Sequence

_FUNCTION_TEXT = """
    a an the this that these those some any each every all both either neither no none such other another i me my
    mine we us our ours you your yours he him his she her hers it its they them their theirs who whom whose which
    what there here where when how of in on at by with without to from into onto over under above below behind
    beside between among near through across along around against about after before during until up down off out
    inside outside toward towards upon and or but nor so as than if because while not is are was were be been being
    am do does did doing has have had having can could will would shall should may might must s
"""
FUNCTION_WORDS = frozenset(_FUNCTION_TEXT.split())

# Those that English has not. German, French, Spanish, Italian, Portuguese, Dutch.
_FOREIGN_FUNCTION_TEXT = """
    auf dem der das des ein eine einen einem einer und mit im zum zur vom bei aus nach ist sind nicht oder un une le
    la les du sur dans avec et est sont sous chez el los las una unas unos del por sobre bajo il gli di della dello
    dei sul sulla nel nella che um uma nas nos em com dos het een naast voor
"""
FOREIGN_FUNCTION_WORDS = frozenset(_FOREIGN_FUNCTION_TEXT.split())


def content_words(words: Sequence[str]) -> list[str]:
    """Those of some words in lower case that name or tell something; numbers do."""
    return [word for word in words if word not in FUNCTION_WORDS]

"""How many photographs of a collection are scored for a query."""

# Photographs proposed for a query; every hit is one of them. Of the first ten places of 100 queries among 1,000
# photographs as many are those of `--exact` (scripts.evaluate.shortlist; processor time of the whole search):
#
#                   10      50      100     200 photographs
#   one phrase      98.6 %  100 %   100 %   100 %
#   four phrases    71.5 %  97.6 %  99.9 %  100 %
#   four, time      109 ms  127 ms  151 ms  173 ms (two cores without AVX-512, all their work added up)
SHORTLIST_PHOTOS = 200

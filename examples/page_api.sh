#!/bin/sh
# Asking `search serve` with curl. Start it first, in another terminal: search serve
#
#     sh examples/page_api.sh [ADDRESS]
set -eu
page=${1:-http://127.0.0.1:8420}

# The photographs that answer, where the list stops by itself; with &k=10, the ten best.
curl -sS --get "$page/api/search" --data-urlencode "q=dog on a couch" --data-urlencode "not=a person"

# What the collection holds, and what the network wrote about it (that is counted first: see "counted").
curl -sS "$page/api/collection"
curl -sS "$page/api/collection/words?limit=5"

# One photograph with all its regions, as a small upright JPEG, and as the file that it is.
curl -sS "$page/api/photos/1"
curl -sS "$page/api/photos/1/thumbnail/512" --output thumbnail.jpg
curl -sS "$page/api/photos/1/original" --output original

# Photographs like what is in a box of it: x, y, width, height in pixels of the upright photograph.
curl -sS "$page/api/photos/1/like?box=10,10,200,150&k=5"

# Where in a photograph that is in no collection is a dog? (The first time the network has to be loaded.)
curl -sS "$page/api/detect?q=a+dog" --data-binary @original --header "Content-Type: application/octet-stream"

# Several photographs as an archive, their regions as COCO.
curl -sS "$page/api/photos/zip" --data "photo=1&photo=2" --output photographs.zip
curl -sS "$page/api/photos/export?form=coco" --data "photo=1&photo=2" --output regions.coco.json

"""`search serve` as a program: the real command over a real collection, asked over HTTP."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from helpers.page_world import ROOT, PageServer, add_photos, draw, drawn

PHOTOS = {
    "a/dog.jpg": drawn("a dog", "a couch", taken="2019-06-23T14:05:06", make="Canon", model="Canon EOS 5D"),
    "a/dogs.jpg": drawn("a dog", "a black dog", "grass", size=(480, 320), taken="2021-01-02T03:04:05"),
    "b/cat.jpg": drawn("a cat", "a couch", size=(240, 320), latitude=48.5, longitude=9.05, keywords=("pets",)),
    "b/car.jpg": drawn("a red car", "a street"),
}


class World:
    def __init__(self, folder: Path):
        self.home, self.photos, self.collection = folder / "home", folder / "photos", folder / "collection"
        self.home.mkdir()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("page"))
    add_photos(world.collection, world.photos, PHOTOS, {"broken.jpg": "the file is empty"})
    return world


@pytest.fixture(scope="module")
def server(world):
    with PageServer(world.collection, world.home) as server:
        yield server


def names(document):
    return [Path(hit["path"]).name for hit in document["hits"]]


def id_of(server, name):
    (photo_id,) = [p["photo_id"] for p in server.get("/api/photos")["photos"] if Path(p["path"]).name == name]
    return photo_id


def until(right, look):
    """Look until it is right: the server reads the collection again no more often than its time allows."""
    deadline = time.monotonic() + 300
    while not right(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def command(*arguments, world):
    run = [sys.executable, "-m", "search", *arguments, "--collection", str(world.collection)]
    return json.loads(subprocess.run(run, cwd=ROOT, capture_output=True, check=True).stdout)


def test_search_is_the_document_of_the_command(server, world):
    document = server.get("/api/search", q="dog on couch", k=3)
    expected = command("query", "dog on couch", "-k", "3", "--json", world=world)
    for hit, same in zip(document["hits"], expected["hits"], strict=True):
        assert {name: hit[name] for name in same} == same
        assert set(hit) - set(same) <= {"photo_id", "version", "taken", "camera"}
    assert {k: document[k] for k in expected if k != "hits"} == {k: v for k, v in expected.items() if k != "hits"}
    assert names(document)[0] == "dog.jpg"
    assert document["reading"]["things"] == ["a dog", "a couch"]


def test_the_first_hits_of_a_list_that_stops_by_itself(server):
    whole = server.get("/api/search", q="a couch")
    first = server.get("/api/search", q="a couch", limit=1)
    assert first["hits"] == whole["hits"][:1]
    assert first["count"] == whole["count"] == len(whole["hits"]) and first["next"] == whole["next"]


def test_the_version_stands_in_the_address(server):
    assert server.get("/api/v1/search", q="cat", k=1)["hits"] == server.get("/api/search", q="cat", k=1)["hits"]
    paths = server.get("/api/openapi.json")["paths"]
    assert "/api/v1/search" in paths and all(path.startswith("/api/v1/") for path in paths)


def test_how_a_question_is_read(server):
    read = server.get("/api/read", q="two dogs left of a cat without a person")
    assert (read["things"], read["counts"], read["without"]) == (["a dog", "a cat"], {"a dog": "2"}, ["a person"])
    assert read["relations"] == [
        {"subject": "a dog", "relation": "left of", "object": "a cat", "text": "a dog left of a cat"}
    ]
    assert server.get("/api/read", q="dog behind a tree")["untold"] == ["behind"]
    found = server.get("/api/search", q="a dog", where="a dog left of a couch", k=1)
    assert names(found) == ["dog.jpg"] and found["reading"]["relations"][0]["text"] == "a dog left of a couch"


def test_what_is_not_wanted_is_left_out(server):
    asked = server.get("/api/search", q="a couch", **{"not": "a cat"})
    assert "cat.jpg" not in names(asked)
    assert asked["reading"]["without"] == ["a cat"]
    assert "cat.jpg" in [Path(photo["path"]).name for photo in asked["excluded"]]


def test_like_a_region_and_like_a_box(server):
    hit = server.get("/api/search", q="a dog", k=1)["hits"][0]
    region = next(region for region in hit["regions"] if region["phrase"] == "a dog")
    like = server.get(f"/api/regions/{region['region_id']}/like", k=2)
    others = {"dog.jpg", "dogs.jpg"} - {Path(hit["path"]).name}
    assert names(like)[0] in others and Path(hit["path"]).name not in names(like)
    assert like["like"]["photo_id"] == hit["photo_id"]
    photo = server.get(f"/api/photos/{id_of(server, 'cat.jpg')}")
    cat = next(region for region in photo["regions"] if region["phrase"] == "a cat")
    box = ",".join(map(str, cat["box"]))
    like = server.get(f"/api/photos/{photo['photo_id']}/like", box=box, k=1)
    assert [region["phrase"] for region in like["like"]["regions"]] == ["a cat"]
    couch = next(region for region in photo["regions"] if region["phrase"] == "a couch")
    like = server.get(f"/api/photos/{photo['photo_id']}/like", box=",".join(map(str, couch["box"])), k=1)
    assert names(like) == ["dog.jpg"]
    assert like["hits"][0]["regions"][0]["phrase"] == "a couch"
    # With a phrase beside it, and nothing of the other kind.
    both = server.get(f"/api/regions/{couch['region_id']}/like", q="a red car", k=3)
    assert names(both)[0] in ("dog.jpg", "car.jpg") and both["query"][1:] == ["a red car"]
    filtered = server.get(f"/api/regions/{couch['region_id']}/like", camera="canon", k=3)
    assert names(filtered) == ["dog.jpg"]


def test_a_photo_says_all_that_is_known(server, world):
    photo = server.get(f"/api/photos/{id_of(server, 'dog.jpg')}")
    assert photo["path"] == str(world.photos / "a/dog.jpg")
    assert (photo["width"], photo["height"], photo["present"]) == (320, 240, True)
    assert (photo["taken"], photo["camera"]) == ("2019-06-23T14:05:06", "Canon EOS 5D")
    assert [region["phrase"] for region in photo["regions"]] == ["a dog", "a couch"]
    assert photo["regions"][0]["box"] == [4.0, 48.0, 152.0, 168.0]
    assert all(region["sure"] == (region["confidence"] >= 0.03) for region in photo["regions"])
    photo = server.get(f"/api/photos/{id_of(server, 'cat.jpg')}")
    assert (photo["latitude"], photo["longitude"], photo["keywords"]) == (48.5, 9.05, ["pets"])


def test_the_collection_says_what_is_in_it(server, world):
    document = server.get("/api/collection")
    assert (document["photographs"], document["regions"]) == (4, 9)
    assert [root["path"] for root in document["roots"]] == [str(world.photos)]
    assert server.get("/api/collection/errors") == [
        {"path": str(world.photos / "broken.jpg"), "reason": "the file is empty", "described": False}
    ]


def test_words_are_counted_by_noun(server):
    words = server.get("/api/collection/words")
    while not words["counted"]:
        words = server.get("/api/collection/words")
    nouns = {noun["noun"]: noun for noun in words["nouns"]}
    assert nouns["dog"]["phrases"] == [
        {"phrase": "a dog", "photographs": 2},
        {"phrase": "a black dog", "photographs": 1},
    ]
    assert nouns["couch"]["photographs"] == 2
    assert [found["phrase"] for found in server.get("/api/suggest", q="do")] == ["a dog", "a black dog"]
    assert [found["phrase"] for found in server.get("/api/suggest", q="bl d")] == ["a black dog"]
    assert server.get("/api/suggest", q="zebra") == []


def test_thumbnails_are_upright_small_and_bare(tmp_path):
    world = World(tmp_path)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Secret Camera"
    draw(world.photos / "turned.jpg", drawn("a dog", size=(600, 400)), exif=exif)
    add_photos(world.collection, world.photos, {"turned.jpg": drawn("a dog", size=(400, 600))})
    with PageServer(world.collection, world.home) as server:
        (photo,) = server.get("/api/photos")["photos"]
        address = f"/api/photos/{photo['photo_id']}/thumbnail/256"
        reply = server.ask(address, {"v": photo["version"]})
        assert reply.headers["content-type"] == "image/jpeg" and "immutable" in reply.headers["cache-control"]
        image = Image.open(io.BytesIO(reply.body))
        assert image.size == (171, 256) and not image.getexif() and b"Secret" not in reply.body
        again = server.ask(address, headers={"if-none-match": reply.headers["etag"]})
        assert (again.status, again.body) == (304, b"")
        kept = list((tmp_path / "home").rglob("*.jpg"))
        assert [path.read_bytes() for path in kept] == [reply.body]
        # Out of the cache, though the file is gone; in another size there is nothing to show.
        (world.photos / "turned.jpg").unlink()
        assert server.ask(address).body == reply.body
        gone = server.ask(f"/api/photos/{photo['photo_id']}/thumbnail/512")
        assert gone.status == 410 and "not there any more" in gone.document["error"]
        assert server.ask(f"/api/photos/{photo['photo_id']}/original").status == 410
        assert server.get(f"/api/photos/{photo['photo_id']}")["present"] is False
        assert server.ask(f"/api/photos/{photo['photo_id']}/thumbnail/300").status == 404


def test_a_changed_file_never_stands_for_what_was_described(tmp_path):
    world = World(tmp_path)
    add_photos(world.collection, world.photos, {"a.jpg": drawn("a dog")})
    draw(world.photos / "a.jpg", drawn("a cat"))
    with PageServer(world.collection, world.home) as server:
        (photo,) = server.get("/api/photos")["photos"]
        reply = server.ask(f"/api/photos/{photo['photo_id']}/thumbnail/256", {"v": photo["version"]})
        assert (reply.status, reply.headers["cache-control"]) == (200, "no-store")
        assert not list((tmp_path / "home").rglob("*.jpg"))


def test_an_original_is_given_out_only_while_it_is_a_photograph(tmp_path):
    world = World(tmp_path)
    add_photos(
        world.collection, world.photos, {"a b.jpg": drawn("a dog"), "c.jpg": drawn("a cat"), "d.jpg": drawn("a car")}
    )
    secret = tmp_path / "secret.txt"
    secret.write_text("a password")
    with PageServer(world.collection, world.home) as server:
        first, second, third = (f"/api/photos/{id_of(server, name)}/original" for name in ("a b.jpg", "c.jpg", "d.jpg"))
        reply = server.ask(first)
        assert reply.body == (world.photos / "a b.jpg").read_bytes()
        assert reply.headers["content-type"] == "image/jpeg"
        assert reply.headers["content-disposition"] == "inline; filename*=UTF-8''a%20b.jpg"
        assert server.ask(first, {"download": "1"}).headers["content-disposition"].startswith("attachment")
        (world.photos / "c.jpg").unlink()
        (world.photos / "c.jpg").symlink_to(secret)
        (world.photos / "d.jpg").unlink()
        os.mkfifo(world.photos / "d.jpg")
        for address in (second, third):
            reply = server.ask(address)
            assert reply.status == 410 and b"password" not in reply.body


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/api/search", 400, "q: Field required"),
        ("/api/search?q=", 400, "no word"),
        ("/api/search?q=dog&k=0", 400, "greater than or equal to 1"),
        ("/api/search?q=dog&k=1000000", 400, "less than or equal"),
        ("/api/search?q=" + "a" * 501, 400, "at most 500"),
        ("/api/search?q=" + "+".join(["dog"] * 100), 400, "at most 50 words"),
        ("/api/search?q=" + "&q=".join(["dog"] * 17), 400, "at most 16"),
        ("/api/search?q=" + "&q=".join(["x" * 400] * 30), 414, "too long"),
        ("/api/search?q=xqzzy+qwvvx", 400, "English"),
        ("/api/search?q=dog&under=", 400, "path of a folder"),
        ("/api/search?q=dog&under=%00", 400, "path of a folder"),
        ("/api/photos/999", 404, "no described photograph 999"),
        ("/api/photos/-1", 400, "greater than or equal to 0"),
        ("/api/photos/99999999999999999999999", 400, "photo_id"),
        ("/api/photos/..%2f..%2fetc%2fpasswd", 404, "nothing"),
        ("/api/photos/999/thumbnail/256", 404, "no described photograph"),
        ("/api/photos/999/original", 404, "no described photograph"),
        ("/api/regions/999/like", 404, "no region 999"),
        ("/api/photos/1/like?box=1,2,3", 400, "x,y,width,height"),
        ("/api/photos/1/like?box=nan,0,10,10", 400, "x,y,width,height"),
        ("/api/nothing", 404, "nothing at this address"),
        ("/static/../app.py", 404, "nothing"),
        ("/static/%2e%2e/app.py", 404, "nothing"),
        ("/static/..%2fapp.py", 404, "nothing"),
    ],
)
def test_what_cannot_be_answered_is_said_in_a_sentence(server, path, status, words):
    reply = server.ask(path)
    assert reply.status == status, reply.body
    assert words in reply.document["error"] and reply.document["error"].endswith((".", "?"))


@pytest.mark.parametrize("path", ["/", "/search?q=dog", "/photo/1", "/collection", "/collection/words", "/api-docs"])
def test_addresses_of_views_are_the_page(server, path):
    reply = server.ask(path)
    assert reply.status == 200 and reply.headers["content-type"].startswith("text/html")
    policy = reply.headers["content-security-policy"]
    assert "script-src 'self';" in policy and "unsafe" not in policy and "default-src 'none'" in policy
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_others_may_not_ask(server):
    own = f"127.0.0.1:{server.port}"
    assert server.ask("/api/collection", headers={"host": f"localhost:{server.port}"}).status == 200
    for host in ("evil.example", f"evil.example:{server.port}", "", "127.0.0.1.evil.example", "10.0.0.1"):
        assert server.ask("/api/collection", headers={"host": host}).status == 421, host
    assert server.ask("/api/collection", headers={"origin": f"http://{own}"}).status == 200
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", "file://", "http://[", f"ftp://{own}", ""):
        assert server.ask("/api/collection", headers={"origin": origin}).status == 403, origin
    for site in ("cross-site", "same-site"):
        image = {"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}
        assert server.ask("/api/photos/1/thumbnail/256", headers=image).status == 403
        assert server.ask("/api/photos/1/original", headers={**image, "sec-fetch-mode": "navigate"}).status == 403
        assert server.ask("/static/index.html", headers=image).status == 403
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert server.ask("/search?q=dog", headers=link).status == 200
    assert (
        server.ask("/api/photos/zip", method="POST", body=b"photo=1", headers={"origin": "http://evil.example"}).status
        == 403
    )


def test_the_token_opens_and_nothing_else_does(world, tmp_path):
    with PageServer(world.collection, tmp_path, "--host", "0.0.0.0", "--token", "correct-horse-42") as server:
        assert server.address.endswith("/?token=correct-horse-42")
        for path in ("/", "/api/collection", "/static/index.html", "/api/openapi.json"):
            assert server.ask(path).status == 401
        assert server.ask("/", {"token": "correct-horse-43"}).status == 401
        assert server.ask("/api/collection", headers={"authorization": "Bearer wrong"}).status == 401
        assert server.ask("/api/collection", headers={"cookie": "densecap-search=wrong"}).status == 401
        assert server.ask("/api/collection", headers={"authorization": "Bearer correct-horse-42"}).status == 200
        signed_in = server.ask("//evil.example/search", {"q": "dog", "token": "correct-horse-42"})
        assert (signed_in.status, signed_in.headers["location"]) == (303, "/evil.example/search?q=dog")
        cookie = signed_in.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
        assert server.ask("/api/collection", headers={"cookie": cookie.partition(";")[0]}).status == 200
        # By any number of this computer, by no foreign name.
        known = {"authorization": "Bearer correct-horse-42"}
        assert server.ask("/api/collection", headers={**known, "host": "192.168.1.5:80"}).status == 200
        assert server.ask("/api/collection", headers={**known, "host": "evil.example"}).status == 421


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "--token"),
        (["--host", "no.such.host.invalid", "--token", "correct-horse-42"], "no address of this computer"),
        (["--token", "a b"], "at least 8 letters"),
    ],
)
def test_a_server_that_cannot_start_says_why(world, arguments, words):
    run = [sys.executable, "-m", "search", "serve", "--port", "0", "--collection", str(world.collection), *arguments]
    result = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2 and words in result.stderr and "Traceback" not in result.stderr


def test_a_port_that_is_taken_is_said(server, world):
    run = [sys.executable, "-m", "search", "serve", "--port", str(server.port), "--collection", str(world.collection)]
    result = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2 and "--port 0" in result.stderr and "Traceback" not in result.stderr


def test_a_collection_that_is_not_there_yet_and_new_commits_are_seen(tmp_path):
    world = World(tmp_path)
    with PageServer(world.collection, world.home) as server:
        document = server.get("/api/collection")
        assert document["exists"] is False and "indexer build" in document["advice"]
        assert server.ask("/api/search", {"q": "dog"}).status == 404
        add_photos(world.collection, world.photos, {"a.jpg": drawn("a dog")})
        assert server.get("/api/collection")["photographs"] == 1
        assert names(server.get("/api/search", q="a cat", k=1)) == ["a.jpg"]
        add_photos(world.collection, world.photos, {"b.jpg": drawn("a cat")})
        until(["b.jpg"].__eq__, lambda: names(server.get("/api/search", q="a cat", k=1)))
        assert server.get("/api/collection")["photographs"] == 2
        # Another collection in its place.
        world.collection.rename(tmp_path / "old")
        assert server.get("/api/collection")["exists"] is False
        add_photos(world.collection, world.photos, {"c.jpg": drawn("a car")})
        assert names(server.get("/api/search", q="a cat", k=5)) == ["c.jpg"]


def test_questions_are_answered_while_a_writer_commits(tmp_path):
    world = World(tmp_path)
    add_photos(world.collection, world.photos, {"0.jpg": drawn("a cat")})
    with PageServer(world.collection, world.home) as server:
        done = threading.Event()

        def write():
            try:
                for i in range(1, 15):
                    add_photos(world.collection, world.photos, {f"{i}.jpg": drawn("a dog", size=(320 + i, 240))})
            finally:
                done.set()

        writer = threading.Thread(target=write)
        writer.start()
        counts = []
        while not done.is_set():
            document = server.get("/api/search", q="a dog", k=100)
            assert all(hit["regions"] for hit in document["hits"])
            counts.append(len(document["hits"]))
        writer.join()
        assert counts == sorted(counts)
        until((15).__eq__, lambda: len(server.get("/api/search", q="a dog", k=100)["hits"]))


def test_many_questions_at_once_are_all_answered_right(server):
    questions = ["a dog", "a cat", "a red car", "a black dog"]
    expected = {question: names(server.get("/api/search", q=question)) for question in questions}

    def ask(i):
        question = questions[i % len(questions)]
        return names(server.get("/api/search", q=question)) == expected[question]

    with ThreadPoolExecutor(50) as pool:
        assert all(pool.map(ask, range(100)))


def test_the_server_holds_no_torch(server):
    maps = Path(f"/proc/{server.process_id}/maps")
    if not maps.exists():
        pytest.skip("this system does not tell which libraries a process has")
    server.get("/api/search", q="dog")
    assert "torch" not in maps.read_text()


def test_a_zip_holds_the_files_and_names_what_is_gone(tmp_path):
    world = World(tmp_path)
    photos = {"a/x.jpg": drawn("a dog"), "b/x.jpg": drawn("a cat"), "gone.jpg": drawn("a car")}
    add_photos(world.collection, world.photos, photos)
    (world.photos / "gone.jpg").unlink()
    with PageServer(world.collection, world.home) as server:
        ids = [photo["photo_id"] for photo in server.get("/api/photos")["photos"]][::-1]
        reply = server.ask("/api/photos/zip", method="POST", body="&".join(f"photo={i}" for i in ids).encode())
        archive = zipfile.ZipFile(io.BytesIO(reply.body))
        assert archive.testzip() is None
        assert archive.namelist() == ["x.jpg", "x (2).jpg", "missing.txt"]
        assert archive.read("x (2).jpg") == (world.photos / "b/x.jpg").read_bytes()
        assert b"gone.jpg" in archive.read("missing.txt")
        for body, status in ((b"", 400), (b"photo=x", 400), (b"photo=999", 404), (b"photo=1" * 700_000, 413)):
            assert server.ask("/api/photos/zip", method="POST", body=body).status == status


def test_regions_are_exported(server, world):
    photo_id = id_of(server, "cat.jpg")
    cat, couch = server.get(f"/api/photos/{photo_id}")["regions"]
    answering = f"photo={photo_id}&region={couch['region_id']}+0.75+a+sofa"
    coco = server.ask("/api/photos/export", {"form": "coco"}, method="POST", body=answering.encode()).document
    assert coco["categories"] == [{"id": 1, "name": "a sofa", "supercategory": ""}]
    assert [image["file_name"] for image in coco["images"]] == [str(world.photos / "b/cat.jpg")]
    (annotation,) = coco["annotations"]
    assert (annotation["bbox"], annotation["score"], annotation["caption"]) == (couch["box"], 0.75, "a couch")
    everything = server.ask("/api/photos/export", {"form": "csv"}, method="POST", body=f"photo={photo_id}".encode())
    lines = everything.body.decode().splitlines()
    assert lines[0].startswith("path,width,height,region_id,x,y,")
    assert [line.split(",")[3] for line in lines[1:]] == [str(cat["region_id"]), str(couch["region_id"])]
    paths = server.ask("/api/photos/export", {"form": "paths"}, method="POST", body=f"photo={photo_id}".encode())
    assert paths.body == os.fsencode(world.photos / "b/cat.jpg") + b"\n"
    assert server.ask("/api/photos/export", {"form": "paths"}, method="POST", body=b"photo=1&region=1").status == 400


def test_duplicates_are_groups_of_one_content(tmp_path):
    world = World(tmp_path)
    add_photos(
        world.collection,
        world.photos,
        {name: drawn("a dog") for name in ("a.jpg", "b.jpg")} | {"c.jpg": drawn("a cat")},
    )
    with PageServer(world.collection, world.home) as server:
        (group,) = server.get("/api/collection/duplicates")
        assert [Path(photo["path"]).name for photo in group] == ["a.jpg", "b.jpg"]
        (hit,) = [hit for hit in server.get("/api/search", q="a dog")["hits"] if Path(hit["path"]).name == "a.jpg"]
        assert hit["copies"] == [str(world.photos / "b.jpg")]
        photo = server.get(f"/api/photos/{hit['photo_id']}")
        assert [copy["path"] for copy in photo["copies"]] == [str(world.photos / "b.jpg")]


def test_a_name_that_is_no_text_comes_through(tmp_path):
    world = World(tmp_path)
    name = os.fsdecode(b"caf\xe9.jpg")
    add_photos(world.collection, world.photos, {name: drawn("a dog")})
    with PageServer(world.collection, world.home) as server:
        (photo,) = server.get("/api/photos")["photos"]
        assert os.fsencode(photo["path"]).endswith(b"caf\xe9.jpg")
        assert server.ask(f"/api/photos/{photo['photo_id']}/thumbnail/256").status == 200
        original = server.ask(f"/api/photos/{photo['photo_id']}/original")
        assert original.status == 200 and "caf%E9.jpg" in original.headers["content-disposition"]


def test_photos_come_newest_first_page_by_page(server):
    everything = server.get("/api/photos")["photos"]
    assert [Path(photo["path"]).name for photo in everything] == ["car.jpg", "cat.jpg", "dogs.jpg", "dog.jpg"]
    first = server.get("/api/photos", limit=3)["photos"]
    rest = server.get("/api/photos", limit=3, before=first[-1]["photo_id"])["photos"]
    assert first + rest == everything


def test_hostile_uploads_are_refused_before_the_network_starts_for_nothing(server):
    assert server.ask("/api/like", method="POST", body=b"").status == 400
    reply = server.ask("/api/like", method="POST", headers={"content-length": "100000000"}, body=b"x")
    assert reply.status == 413 and "64 MB" in reply.document["error"]
    assert server.ask("/api/detect", {"q": ""}, method="POST", body=b"x").status == 400
    assert server.ask("/api/detect", method="POST", body=b"x").status == 400


def test_photographs_from_outside_are_looked_at(tmp_path, tiny_checkpoint):
    """By a small network of its own, in another process."""
    world = World(tmp_path)
    draw(world.photos / "a.jpg", drawn("a dog"))
    build = [sys.executable, "-m", "indexer", "build", str(world.photos), "--weights", str(tiny_checkpoint)]
    subprocess.run([*build, "--collection", str(world.collection), "-q"], cwd=ROOT, check=True, capture_output=True)
    with PageServer(world.collection, world.home, "--weights", str(tiny_checkpoint), "--device", "cpu") as server:
        content = (world.photos / "a.jpg").read_bytes()
        like = server.ask("/api/like", method="POST", body=content)
        assert like.status == 200, like.body
        assert names(like.document) == ["a.jpg"] and like.document["like"]["regions"]
        boxed = server.ask("/api/like", {"box": "10,10,100,100"}, method="POST", body=content)
        assert boxed.status == 200 and len(boxed.document["like"]["regions"]) == 1
        outside = server.ask("/api/like", {"box": "1000,10,100,100"}, method="POST", body=content)
        assert outside.status == 422 and "outside" in outside.document["error"]
        for hostile in (b"GIF8" + b"\0" * 100, b"%PDF-1.4", content[:200], os.urandom(1000)):
            reply = server.ask("/api/like", method="POST", body=hostile)
            assert reply.status == 422 and reply.document["error"].startswith("The photograph cannot be used: ")
        assert server.ask("/api/like", method="POST", body=content).document == like.document


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_examples_for_programs_run(tmp_path, tiny_checkpoint):
    world = World(tmp_path)
    for name in ("a", "b"):
        draw(world.photos / f"{name}.jpg", drawn("a dog" if name == "a" else "a cat", size=(400, 300)))
    build = [sys.executable, "-m", "indexer", "build", str(world.photos), "--weights", str(tiny_checkpoint)]
    subprocess.run([*build, "--collection", str(world.collection), "-q"], cwd=ROOT, check=True, capture_output=True)
    with PageServer(world.collection, world.home, "--weights", str(tiny_checkpoint), "--device", "cpu") as server:
        page = f"http://127.0.0.1:{server.port}"
        run = {"cwd": tmp_path, "capture_output": True, "text": True}
        curl = subprocess.run(["sh", str(ROOT / "examples/page_api.sh"), page], **run)
        # The tiny network holds no confidence: nothing can be left out or detected. All else is answered.
        errors = re.findall(r'\{"error": "([^"]*)"\}', curl.stdout)
        assert curl.returncode == 0 and len(errors) == 2, curl.stdout
        assert all("hold no confidence" in error for error in errors)
        with Image.open(tmp_path / "thumbnail.jpg") as thumbnail:
            assert thumbnail.size == (400, 300)
        assert (tmp_path / "original").read_bytes() == (world.photos / "a.jpg").read_bytes()
        with zipfile.ZipFile(tmp_path / "photographs.zip") as archive:
            assert len(archive.namelist()) == 2
        assert len(json.loads((tmp_path / "regions.coco.json").read_text())["images"]) == 2
        python = subprocess.run([sys.executable, str(ROOT / "examples/page_api.py"), "a dog", page], **run)
        assert python.returncode == 0 and "a.jpg" in python.stdout, python.stderr


def test_it_ends_when_it_is_told_to(world, tmp_path):
    with PageServer(world.collection, tmp_path) as server:
        server.get("/api/collection")
        os.kill(server.process_id, signal.SIGINT)
        assert "Traceback" not in server.stop()

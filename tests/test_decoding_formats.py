"""Which formats are opened, with and without the packages that decode some of them, and what is counted only."""

import sys
from types import SimpleNamespace

import pytest

from decoding.formats import (
    EXTRAS,
    HEIC,
    JPEG_XL,
    OTHER_KINDS,
    RAW,
    SUFFIXES,
    _installed,
    left_out_kind,
    photo_suffixes,
    pillow_formats,
)

BY_ITSELF = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "JPEG2000")


@pytest.fixture(autouse=True)
def asked_anew():
    _installed.cache_clear()
    yield
    _installed.cache_clear()


@pytest.fixture
def without_packages(monkeypatch):
    for extra in EXTRAS:
        monkeypatch.setitem(sys.modules, extra.module, None)  # importing it fails


def test_without_its_package_heic_is_not_opened(without_packages):
    assert not HEIC.installed()
    assert pillow_formats() == BY_ITSELF
    assert photo_suffixes() == SUFFIXES


def test_with_its_package_heic_is_opened_by_a_decoder_registered_once(without_packages, monkeypatch):
    registered = []
    package = SimpleNamespace(register_heif_opener=lambda: registered.append("HEIF"))
    monkeypatch.setitem(sys.modules, "pillow_heif", package)
    assert HEIC.installed()
    assert pillow_formats() == (*BY_ITSELF, "HEIF")
    assert pillow_formats()[-1] == "HEIF"
    assert registered == ["HEIF"]
    assert photo_suffixes() == SUFFIXES | HEIC.suffixes


def test_other_packages_need_no_more_than_to_be_there(without_packages, monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "pillow_jxl", SimpleNamespace())
    assert RAW.installed() and JPEG_XL.installed()
    assert pillow_formats() == (*BY_ITSELF, "JXL")
    assert photo_suffixes() >= {".jxl", ".nef", ".cr3", ".dng", ".jpg"}


def test_every_suffix_has_one_meaning():
    kinds = [SUFFIXES, *(extra.suffixes for extra in EXTRAS), frozenset(OTHER_KINDS)]
    assert sum(len(kind) for kind in kinds) == len(frozenset().union(*kinds))
    assert all(suffix == suffix.lower() and suffix[0] == "." for kind in kinds for suffix in kind)


def test_what_is_left_out_has_a_name():
    assert left_out_kind(".heic") == "HEIC photographs"
    assert left_out_kind(".nef") == "camera raw photographs"
    assert left_out_kind(".jxl") == "JPEG XL photographs"
    assert left_out_kind(".mov") == "videos"
    assert left_out_kind(".psd") == "Photoshop documents"
    assert left_out_kind(".txt") is None

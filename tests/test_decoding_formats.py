"""Which formats are opened, with and without the decoder of HEIC."""

import sys
from types import SimpleNamespace

import pytest

from decoding.formats import heic_supported, pillow_formats


@pytest.fixture(autouse=True)
def asked_anew():
    heic_supported.cache_clear()
    yield
    heic_supported.cache_clear()


def test_without_its_package_heic_is_not_opened(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # importing it fails
    assert not heic_supported()
    assert pillow_formats() == ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP")


def test_with_its_package_heic_is_opened_by_a_decoder_registered_once(monkeypatch):
    registered = []
    package = SimpleNamespace(register_heif_opener=lambda: registered.append("HEIF"))
    monkeypatch.setitem(sys.modules, "pillow_heif", package)
    assert heic_supported()
    assert pillow_formats() == ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "HEIF")
    assert pillow_formats()[-1] == "HEIF"
    assert registered == ["HEIF"]

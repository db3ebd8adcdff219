"""When an image counts as changed, what a build sees of the host, and how layers are named and found."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferfleet_local import imagebuild, imageload, images
from inferfleet_local.errors import ClusterError, MissingError
from inferfleet_local.image import GIB, IMAGES, PAUSE, Image

CHECKOUT = Path(__file__).resolve().parents[2]
REFERENCE = "docker.io/inferfleet/tiny:dev"
IMAGE = Image("tiny", "deploy/images/tiny", peak_bytes=GIB)
OPERATOR = Image("operator", ".", peak_bytes=GIB)


def checkout_with(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    files = {"deploy/images/tiny/Dockerfile": "FROM scratch\n", "deploy/images/tiny/a.txt": "a"}
    return checkout_with(tmp_path, files)


def test_the_same_content_in_another_place_has_the_same_key(
    tiny: Path, tmp_path_factory: pytest.TempPathFactory
):
    other = tmp_path_factory.mktemp("other")
    checkout_with(
        other, {str(it.relative_to(tiny)): it.read_text() for it in tiny.rglob("*") if it.is_file()}
    )
    assert images.image_key(IMAGE, other) == images.image_key(IMAGE, tiny)


@pytest.mark.parametrize(
    ("change", "matters"),
    [
        (lambda it: (it / "deploy/images/tiny/a.txt").write_text("b"), True),
        (lambda it: (it / "deploy/images/tiny/b.txt").write_text(""), True),
        (lambda it: (it / "deploy/images/tiny/a.txt").rename(it / "deploy/images/tiny/c.txt"), True),
        (lambda it: (it / "deploy/images/tiny/a.txt").chmod(0o755), True),
        (lambda it: (it / "deploy/images/tiny/Dockerfile").write_text("FROM other\n"), True),
        (lambda it: (it / "deploy/images/tiny/a.txt").touch(), False),
        (lambda it: (it / "README.md").write_text("not in the context"), False),
        (lambda it: checkout_with(it, {"deploy/images/tiny/__pycache__/a.pyc": "x"}), False),
    ],
)
def test_the_key_changes_with_what_goes_into_the_image_and_with_nothing_else(
    change: Callable[[Path], object], matters: bool, tiny: Path
):
    before = images.image_key(IMAGE, tiny)
    change(tiny)
    assert (images.image_key(IMAGE, tiny) != before) is matters


def test_an_ignore_file_decides_what_an_image_of_the_whole_checkout_depends_on(tmp_path: Path):
    files = {
        OPERATOR.dockerfile: "FROM scratch\n",
        OPERATOR.ignorefile: "# a comment\n*\n!uv.lock\n!operator/src\n**/__pycache__\n",
        "uv.lock": "",
        "operator/src/inferfleet/plan.py": "",
        "tests/test_plan.py": "",
    }
    found = {str(it.relative_to(tmp_path)) for it in images.inputs(OPERATOR, checkout_with(tmp_path, files))}
    assert found == {OPERATOR.dockerfile, "uv.lock", "operator/src/inferfleet/plan.py"}


@pytest.mark.parametrize("image", IMAGES.values(), ids=lambda image: image.name)
def test_each_image_of_the_checkout_has_the_inputs_that_its_dockerfile_copies(image: Image):
    dockerfile = (CHECKOUT / image.dockerfile).read_text()
    found = [path.relative_to(CHECKOUT / image.context) for path in images.inputs(image, CHECKOUT)]
    for line in dockerfile.splitlines():
        words = line.split()
        if words[:1] == ["COPY"] and not words[1].startswith("--from") and not image.program:
            assert all(any(path.is_relative_to(source) for path in found) for source in words[1:-1]), line


def test_an_unknown_image_is_refused_with_the_known_ones(tmp_path: Path):
    with pytest.raises(ClusterError, match=r"no image \['vllm'\].*engine-cpu.*operator"):
        images.ensure(["vllm"], checkout=CHECKOUT, cache=tmp_path, log=tmp_path / "log", say=print)


def test_an_image_that_is_not_built_is_not_loaded(tmp_path: Path):
    with pytest.raises(ClusterError, match="image pause is not built"):
        images.load([], [], checkout=CHECKOUT, cache=tmp_path, log=tmp_path / "log", say=print)


def test_nothing_is_built_when_every_layout_is_there(tmp_path: Path):
    said: list[str] = []
    wanted = [IMAGES["operator"], PAUSE]
    checkout = checkout_with(tmp_path, {image.dockerfile: "FROM scratch\n" for image in wanted})
    layouts = {image.name: images.layout_of(image, checkout, tmp_path / "cache") for image in wanted}
    for layout in layouts.values():
        layout.mkdir(parents=True)
    log = tmp_path / "log"
    built = images.ensure(["operator"], checkout=checkout, cache=tmp_path / "cache", log=log, say=said.append)
    assert (built, said) == (layouts, [])


def test_a_disk_that_is_too_small_is_refused_with_what_is_missing():
    with pytest.raises(MissingError, match=r"missing: 0\.5 GiB of disk to build tiny \(0\.5 GiB free"):
        images.check_space([IMAGE], GIB // 2)
    images.check_space([IMAGE], GIB)


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        ([], []),
        (["etc/ssl/certs/x"], ["--volume={root}/etc/ssl/certs:/etc/ssl/certs:ro"]),
        (["etc/pip.conf"], ["--volume={root}/etc/pip.conf:/etc/pip.conf:ro"]),
        (
            ["etc/pip.conf", "home/.config/pip/pip.conf"],
            ["--volume={root}/home/.config/pip/pip.conf:/etc/pip.conf:ro"],
        ),
        (["home/.config/uv/uv.toml"], ["--volume={root}/home/.config/uv/uv.toml:/etc/uv/uv.toml:ro"]),
    ],
)
def test_build_steps_see_what_the_host_has_and_nothing_that_it_lacks(
    present: list[str], expected: list[str], tmp_path: Path
):
    checkout_with(tmp_path, dict.fromkeys(present, ""))
    assert imagebuild.mounts(tmp_path / "home", root=tmp_path) == [
        it.format(root=tmp_path) for it in expected
    ]


def put(layout: Path, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    (layout / "blobs/sha256").mkdir(parents=True, exist_ok=True)
    (layout / "blobs/sha256" / digest).write_bytes(content)
    return f"sha256:{digest}"


def layout_with(folder: Path, layers: list[bytes]) -> Path:
    digests = [put(folder, layer) for layer in layers]
    config = put(folder, json.dumps({"rootfs": {"diff_ids": digests}}).encode())
    manifest = {"config": {"digest": config}, "layers": [{"digest": digest} for digest in digests]}
    index = {"manifests": [{"digest": put(folder, json.dumps(manifest).encode())}]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder


def test_a_sealed_layout_names_its_image_and_holds_nothing_of_earlier_ones(tmp_path: Path):
    layout = layout_with(tmp_path, [b"base", b"sources"])
    stale = put(layout, b"the sources before")
    imagebuild.seal(layout, REFERENCE)
    manifest = imageload.read_manifest(layout)
    assert not imageload.blob(layout, stale).exists()
    assert all(imageload.blob(layout, digest).exists() for digest in manifest.blobs)
    with tarfile.open(layout / imageload.RECORD) as archive:
        names = archive.getnames()
        index = archive.extractfile("index.json")
        assert index is not None
        assert json.load(index)["manifests"][0]["annotations"][imageload.IMAGE_NAME] == REFERENCE
    assert sorted(names) == sorted(["oci-layout", "index.json", f"blobs/{manifest.digest.replace(':', '/')}"])


def test_a_new_build_starts_from_the_blobs_of_the_last_without_copying_them(tmp_path: Path):
    old = layout_with(tmp_path / "old", [b"base"])
    imagebuild.link_blobs([old], tmp_path / "new")
    digest = imageload.read_manifest(old).layers[0]
    assert imageload.blob(tmp_path / "new", digest).samefile(imageload.blob(old, digest))


def test_the_newest_layout_is_the_last_and_drafts_are_none(tmp_path: Path):
    for name in ("operator-0123456789abcdef", "operator-draft", "engine-cpu-0123456789abcdef"):
        (tmp_path / name).mkdir()
    assert [it.name for it in imagebuild.layouts(tmp_path, "operator")] == ["operator-0123456789abcdef"]


def test_a_snapshot_is_named_by_its_layer_and_all_below():
    # the two-layer example of the OCI image specification's "Layer ChainID", spelt out
    first, second = "sha256:aa", "sha256:bb"
    expected = "sha256:" + hashlib.sha256(b"sha256:aa sha256:bb").hexdigest()
    assert imageload.chain_ids([first, second]) == (first, expected)


@given(
    st.lists(st.binary(max_size=4).map(lambda raw: f"sha256:{hashlib.sha256(raw).hexdigest()}"), max_size=6)
)
def test_images_that_begin_alike_share_snapshots_up_to_where_they_differ(diff_ids: list[str]):
    longer = imageload.chain_ids([*diff_ids, "sha256:more"])
    assert longer[:-1] == imageload.chain_ids(diff_ids)
    assert longer[-1] not in longer[:-1]


@pytest.mark.parametrize(
    ("mount", "folder"),
    [
        ({"Type": "bind", "Source": "/s/3/fs", "Options": ["ro", "rbind"]}, "/s/3/fs"),
        (
            {"Type": "overlay", "Source": "overlay", "Options": ["index=off", "lowerdir=/s/5/fs:/s/4/fs"]},
            "/s/5/fs",
        ),
        (
            {
                "Type": "overlay",
                "Source": "overlay",
                "Options": ["upperdir=/s/6/fs", "lowerdir=/s/5/fs:/s/4/fs"],
            },
            "/s/6/fs",
        ),
    ],
)
def test_a_snapshots_own_files_are_found_from_how_it_is_mounted(mount: dict[str, object], folder: str):
    assert imageload.own_folder([mount]) == Path(folder)


def test_a_link_is_made_once_and_refused_where_the_folder_takes_none(tmp_path: Path):
    source = tmp_path / "source"
    source.write_text("x")
    assert imageload.link(source, tmp_path / "deep/place")
    assert imageload.link(source, tmp_path / "deep/place")
    assert (tmp_path / "deep/place").samefile(source)
    assert not imageload.link(tmp_path / "absent", tmp_path / "other")

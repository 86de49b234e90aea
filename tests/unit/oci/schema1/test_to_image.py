"""An image from schema 1: the structure is skopeo's (tests/e2e), the bytes are always the same."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ConversionRefused, RefusalReason
from proxy.oci.layer import LayerFacts
from proxy.oci.manifest import MANIFEST_LIMIT, Image, Schema1, read_manifest
from proxy.oci.mediatype import GZIP_LAYER, TAR_LAYER, MediaType
from proxy.oci.reference import Digest
from proxy.oci.schema1.build import EMPTY_LAYER, EMPTY_LAYER_BYTES, from_image
from proxy.oci.schema1.to_image import layers_to_measure, to_image
from proxy.oci.schema1.verification import find_damage
from tests.kit import images, schema1
from tests.unit.oci.damage import values

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kit.images import Content
    from tests.kit.schema1 import Step

LAYERS: Final = schema1.two_layers()

words: Final = st.text('abcdefghijklmnopqrstuvwxyz <&>\u2028"\\\n', min_size=1, max_size=9)


def read(content: Content) -> Schema1:
    manifest = read_manifest(content.manifest, content.media_type)
    assert isinstance(manifest, Schema1)
    return manifest


def convert(content: Content) -> tuple[dict[str, Any], dict[str, Any]]:
    """The v2s2 manifest and the config."""
    manifest = read(content)
    here = {images.digest(blob): blob for blob in schema1.blobs_of(content)}
    facts = [schema1.facts_of(here[layer]) for layer in layers_to_measure(manifest, ())]
    made = to_image(manifest, facts)
    (config,) = made.blobs
    assert isinstance(made.manifest, Image)
    assert made.manifest.media_type == MediaType.V2S2
    assert made.manifest.config.digest == config.digest == Digest.of(config.raw)
    assert made.manifest.config.size == len(config.raw)
    assert to_image(manifest, facts[::-1]) == made
    return json.loads(made.manifest.raw), json.loads(config.raw)


def changed(change: Callable[[list[Step], list[bytes]], object]) -> Content:
    """The image of an old docker with other steps, or layers; both newest first."""
    content = schema1.old_docker(LAYERS, signed=False)
    steps, blobs = schema1.steps_of(content), schema1.blobs_of(content)
    change(steps, blobs)
    return schema1.of_steps(steps, blobs)


def newest(**members: object) -> Content:
    """The same with other members of the newest step."""
    return changed(lambda steps, _: steps[0].update(members))


def half_a_character() -> Content:
    """The escape stands in the manifest, not in the step."""
    content = schema1.of_steps(['{"id":"HALF"}'], [b"x"])
    return replace(content, manifest=content.manifest.replace(b"HALF", rb"\ud800"))


def refusal(content: Content) -> ConversionRefused:
    with pytest.raises(ConversionRefused) as caught:
        layers_to_measure(read(content), ())
    with pytest.raises(ConversionRefused):
        to_image(read(content), ())
    return caught.value


entries = st.fixed_dictionaries(
    {"created": st.datetimes().map(lambda time: time.isoformat(timespec="seconds") + "Z")},
    optional={
        "author": words,
        "comment": words,
        "created_by": words,
        "empty_layer": st.just(value=True),
    },
)


# Of members that mean nothing to anybody.
unknown: Final = st.dictionaries(words.map("x-{}".format), values)


@given(history=st.lists(entries, min_size=1, max_size=8), members=unknown)
def test_there_and_back(history: list[dict[str, Any]], members: dict[str, object]) -> None:
    """What schema 1 keeps of an image comes back: all but what the newest history entry says."""
    layers = [
        Digest.of(f"layer {number}".encode())
        for number, entry in enumerate(history)
        if not entry.get("empty_layer")
    ]
    diff_ids = [Digest.of(layer.encode()) for layer in layers]
    own = {**members, "created": "2020-01-02T03:04:05Z", "author": "me", "os": "linux"}
    own |= {"architecture": "arm", "container_config": {"Cmd": ["a", "b"]}}
    rootfs = {"type": "layers", "diff_ids": diff_ids}
    config = json.dumps({**own, "rootfs": rootfs, "history": history}).encode()
    manifest = from_image(config, layers, name="a", tag="b")
    assert isinstance(manifest, Schema1)
    facts = [
        LayerFacts(layer, 10, diff_id, 20, is_gzip=True)
        for layer, diff_id in zip(layers, diff_ids, strict=True)
    ]
    made = to_image(manifest, facts)
    after = json.loads(made.blobs[0].raw)
    assert [layer["digest"] for layer in json.loads(made.manifest.raw)["layers"]] == layers
    newest_entry = {"created": own["created"], "author": "me", "created_by": "a b"}
    if history[-1].get("empty_layer"):
        newest_entry["empty_layer"] = True
    assert after.pop("rootfs") == rootfs
    assert after.pop("history") == [*history[:-1], newest_entry]
    assert after == own


def test_the_config_is_the_newest_step() -> None:
    """Without what only schema 1 has; its values as they are spelt, its keys sorted."""
    content = newest(
        id_="kept", layer_id="x", parent_id="y", number=1e5, Size=7, throwaway=False, **{"<&>": "é"}
    )
    manifest = read(content)
    here = {images.digest(blob): blob for blob in schema1.blobs_of(content)}
    facts = [schema1.facts_of(here[layer]) for layer in layers_to_measure(manifest, ())]
    (config,) = to_image(manifest, facts).blobs
    members = json.loads(config.raw)
    assert list(members) == sorted(members)
    assert members.keys() >= {"id_", "config", "container_config", "docker_version", "number"}
    assert not members.keys() & {"id", "layer_id", "parent", "parent_id", "Size", "throwaway"}
    assert b'"number":100000.0' in config.raw
    assert b'"\\u003c\\u0026\\u003e":"\\u00e9"' in config.raw


def test_the_history_is_oldest_first() -> None:
    manifest, config = convert(schema1.old_docker(LAYERS))
    assert [layer["digest"] for layer in manifest["layers"]] == [
        *map(images.digest, LAYERS),
        EMPTY_LAYER,
    ]
    assert [entry["created_by"][-5] for entry in config["history"]] == ["<", "<", "<"]
    assert config["history"][0] == {
        "created": schema1.CREATED,
        "author": "A. U. Thor <a@example.com>",
        "created_by": "/bin/sh -c #(nop) step 0 <&> é",
    }
    assert config["rootfs"]["diff_ids"][0] == images.digest(schema1.plain(LAYERS[0]))


def test_only_throwaway_steps_have_no_layer() -> None:
    """The empty layer without it, and `Size` 0 without it, are layers, as in docker and skopeo."""
    manifest, config = convert(newest(throwaway=True))
    assert [layer["digest"] for layer in manifest["layers"]] == list(map(images.digest, LAYERS))
    assert [entry.get("empty_layer") for entry in config["history"]] == [None, None, True]
    manifest, config = convert(newest(throwaway=False, Size=0))
    assert manifest["layers"][-1] == {
        "mediaType": GZIP_LAYER,
        "size": len(EMPTY_LAYER_BYTES),
        "digest": EMPTY_LAYER,
    }
    assert config["rootfs"]["diff_ids"][-1] == images.digest(bytes(1024))


def test_a_throwaway_layer_is_not_needed() -> None:
    """Whatever it is called; nobody fetches it."""
    content = changed(lambda steps, _: steps[1].update(throwaway=True))
    assert layers_to_measure(read(content), ()) == (Digest.of(LAYERS[0]),)


def test_what_is_known_need_not_be_measured() -> None:
    manifest = read(schema1.old_docker([*LAYERS, LAYERS[0]]))
    base, above = map(Digest.of, LAYERS)
    assert layers_to_measure(manifest, ()) == (base, above)
    assert layers_to_measure(manifest, [schema1.facts_of(LAYERS[0])]) == (above,)
    with pytest.raises(ConversionRefused, match=f"the size of its layer {above} is not known"):
        to_image(manifest, [schema1.facts_of(LAYERS[0])])


def test_plain_tar_is_called_so() -> None:
    manifest, _ = convert(schema1.old_docker([schema1.plain(LAYERS[0]), LAYERS[1]]))
    assert [layer["mediaType"] for layer in manifest["layers"]] == [
        TAR_LAYER,
        GZIP_LAYER,
        GZIP_LAYER,
    ]


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"os": "windows", "architecture": "arm"}, ("windows", "arm")),
        ({"os": None, "architecture": None}, ("linux", "amd64")),
        ({"os": "", "architecture": ""}, ("linux", "amd64")),
        ({"os": 5, "architecture": []}, ("linux", "amd64")),
    ],
)
def test_the_platform_is_always_said(members: dict[str, object], expected: tuple[str, str]) -> None:
    _, config = convert(newest(**members))
    assert (config["os"], config["architecture"]) == expected


def test_the_manifest_may_say_the_architecture() -> None:
    content = newest(architecture=None)
    arm = content.manifest.replace(b'"architecture": "amd64"', b'"architecture": "arm64"')
    manifest = read_manifest(arm, content.media_type)
    assert isinstance(manifest, Schema1)
    facts = [schema1.facts_of(layer) for layer in LAYERS]
    assert json.loads(to_image(manifest, facts).blobs[0].raw)["architecture"] == "arm64"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (None, None),
        ({"Cmd": None}, None),
        ({}, None),
        ({"Cmd": []}, None),
        ({"Cmd": ["a", "b c", ""]}, "a b c "),
        ({"cmd": ["folded"]}, "folded"),
    ],
)
def test_what_created_a_step(command: object, expected: str | None) -> None:
    _, config = convert(newest(container_config=command))
    assert config["history"][-1].get("created_by") == expected


@pytest.mark.parametrize(
    ("created", "expected"),
    [
        (None, "0001-01-01T00:00:00Z"),
        ("2015-01-02T03:04:05.120000000+00:00", "2015-01-02T03:04:05.12Z"),
    ],
)
def test_when_a_step_was_created(created: object, expected: str) -> None:
    """As Go prints it."""
    _, config = convert(newest(created=created))
    assert config["history"][-1]["created"] == expected


def test_of_neighbours_with_one_id_the_newer_goes_with_its_layer() -> None:
    manifest, config = convert(schema1.with_repeated_step(LAYERS))
    assert len(manifest["layers"]) == len(config["history"]) == 3
    assert manifest["layers"][0]["digest"] == images.digest(LAYERS[0])
    assert not any("the newer one goes" in str(entry) for entry in config["history"])


def test_the_newest_step_may_be_one_of_them() -> None:
    def repeat(steps: list[Step], blobs: list[bytes]) -> None:
        steps.insert(0, steps[0] | {"os": "plan9"})
        blobs.insert(0, b"x")

    assert convert(changed(repeat))[1]["os"] == "linux"


REFUSED: Final[dict[str, tuple[Content, str]]] = {
    "no history": (schema1.of_steps([], []), "it has no history"),
    "more layers": (changed(lambda _, blobs: blobs.append(b"x")), "has 3 steps, and it has 4"),
    "fewer layers": (changed(lambda _, blobs: blobs.pop()), "has 3 steps, and it has 2 layers"),
    "no JSON": (schema1.of_steps(["{"], [b"x"]), "is not a JSON object"),
    "an array": (schema1.of_steps(["[]"], [b"x"]), "is not a JSON object"),
    "deep": (schema1.of_steps(['{"a":' * 100_000], [b"x"]), "is nested too deeply"),
    "half a character": (half_a_character(), "surrogates not allowed"),
    "no id": (newest(id=None), "'' in its history is not an id of 64"),
    "another id": (newest(id="AB" * 32), "is not an id of 64 hexadecimal digits"),
    "a number as id": (newest(id=5), "'5' is not a string"),
    "a base with a parent": (
        changed(lambda steps, _: steps[-1].update(parent="ab" * 32)),
        "its base has a parent",
    ),
    "a broken link": (newest(parent="ab" * 32), "is below it"),
    "no parent": (newest(parent=None), "is missing, and"),
    "an id twice apart": (
        changed(lambda steps, _: steps[0].update(id=steps[2]["id"])),
        "occurs twice in its history",
    ),
    "a misspelt id": (newest(ID="ab" * 32), "twice or misspelt"),
    "a misspelt history": (newest(History=[{"empty_layer": True}]), "twice or misspelt"),
    "misspelt diff ids": (newest(rootFS={}), "twice or misspelt"),
    "a misspelt system": (newest(OS="windows"), "twice or misspelt"),
    "a misspelt architecture": (newest(Architecture="arm"), "twice or misspelt"),
    "throwaway": (newest(throwaway="true"), "is neither true nor false"),
    "no time": (newest(created=""), "is not an RFC 3339 time"),
    "a number as time": (newest(created=5), "is not a string"),
    "a text as command": (newest(container_config={"Cmd": "sh"}), "Expecting '['"),
    "a number as command": (newest(container_config={"Cmd": [5]}), "is not a string"),
    "a text as container": (newest(container_config="x"), "Expecting '{'"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_whole_chain_is_refused(kind: str) -> None:
    """Before anything of a layer is fetched."""
    content, sentence = REFUSED[kind]
    refused = refusal(content)
    assert sentence in str(refused)
    assert refused.reason is RefusalReason.HISTORY


OF_ANOTHER_TYPE: Final[dict[str, tuple[dict[str, object], str]]] = {
    "a config that is a text": ({"config": "sh"}, "config is not an object"),
    "a config that is a list": ({"config": []}, "config is not an object"),
    "the environment": ({"config": {"Env": "A=b"}}, "config.Env is not a list of strings"),
    "a variable": ({"config": {"Env": ["A=b", 5]}}, "config.Env is not a list of strings"),
    "in another letter case": ({"config": {"env": {}}}, "config.env is not a list of strings"),
    "a command": ({"config": {"Cmd": {"a": "b"}}}, "config.Cmd is not a list of strings"),
    "a label": ({"config": {"Labels": {"a": 1}}}, "config.Labels is not an object of strings"),
    "a port": ({"config": {"ExposedPorts": ["80"]}}, "config.ExposedPorts is not an object"),
    "a user": ({"config": {"User": 0}}, "config.User is not a string"),
    "a terminal": ({"config": {"Tty": "yes"}}, "config.Tty is not true or false"),
    "what made it": (
        {"container_config": {"Cmd": ["a"], "Volumes": 5}},
        "container_config.Volumes is not an object",
    ),
    "a version": ({"docker_version": 1.9}, "docker_version is not a string"),
    "features": ({"os.features": "win32k"}, "os.features is not a list of strings"),
}


@pytest.mark.parametrize("kind", OF_ANOTHER_TYPE)
def test_a_config_that_no_client_decodes_is_refused(kind: str) -> None:
    """As skopeo does."""
    members, sentence = OF_ANOTHER_TYPE[kind]
    refused = refusal(newest(**members))
    assert sentence in str(refused)
    assert refused.reason is RefusalReason.CONFIG


@pytest.mark.parametrize(
    "config",
    [
        None,
        {},
        {"Env": None, "Cmd": "sh", "Labels": None, "Entrypoint": ["a", None], "Volumes": {}},
        {"Memory": 2**80, "CpuShares": 1.5, "PortSpecs": "x", "Unknown": [5]},
    ],
)
def test_what_clients_decode_is_converted(config: object) -> None:
    """Null is no value, what nobody knows may be anything, and a command may be one text."""
    _, made = convert(newest(config=config))
    assert made["config"] == config


def test_only_the_newest_step_is_a_config() -> None:
    convert(changed(lambda steps, _: steps[1].update(config="sh", docker_version=5)))


def test_members_that_occur_twice_are_refused() -> None:
    """Parsers take the first, or the last."""
    twice = f'{{"id":"{"ab" * 32}","id":"{"cd" * 32}"}}'
    assert "twice or misspelt" in str(refusal(schema1.of_steps([twice], [b"x"])))


@pytest.mark.parametrize("entry", ["5", "{}", '{"v1Compatibility":5}', '{"V1Compatibility":"{}"}'])
def test_an_entry_without_compatibility_is_refused(entry: str) -> None:
    content = schema1.of_steps(["{}"], [b"x"])
    history = json.dumps(json.loads(content.manifest)["history"][0], indent=3)
    indented = history.replace("\n", "\n      ").encode()
    raw = content.manifest.replace(indented, entry.encode())
    assert raw != content.manifest
    manifest = read_manifest(raw, content.media_type)
    assert isinstance(manifest, Schema1)
    with pytest.raises(ConversionRefused):
        layers_to_measure(manifest, ())


def test_a_config_that_no_client_reads_is_refused() -> None:
    """Characters that Go escapes take six times as much room there."""
    content = newest(config={"Env": ["<" * (MANIFEST_LIMIT // 5)]})
    manifest = read(content)
    with pytest.raises(ConversionRefused, match="its config would be over") as caught:
        to_image(manifest, [schema1.facts_of(layer) for layer in LAYERS])
    assert caught.value.reason is RefusalReason.SIZE


@given(members=st.dictionaries(st.text(max_size=4), values, max_size=4))
def test_any_members_are_converted_or_refused(members: dict[str, object]) -> None:
    """To JSON, with the same values."""
    try:
        _, config = convert(newest(**members))
    except ConversionRefused:
        return
    ours = {"history", "id", "layer_id", "parent", "parent_id", "rootfs", "Size", "throwaway"}
    for key, value in members.items():
        if key not in ours | {"architecture", "os"}:
            assert config[key] == value


def test_signatures_are_checked_for_the_log_only() -> None:
    signed = read(schema1.old_docker(LAYERS))
    assert find_damage(signed) is None
    assert find_damage(read(schema1.old_docker(LAYERS, signed=False))) is None
    document = json.loads(signed.raw)
    value = document["signatures"][0]["signature"].encode()
    for other, sentence in (
        (value[:-6] + (b"AAAAAA" if value[-6:] != b"AAAAAA" else b"BBBBBB"), "is not that of"),
        (b"!" + value[1:], "cannot be read"),
        (b"AA", "is not that of"),
    ):
        damaged = read_manifest(signed.raw.replace(value, other), signed.media_type)
        assert isinstance(damaged, Schema1)
        assert damaged.digest == signed.digest
        assert sentence in str(find_damage(damaged))

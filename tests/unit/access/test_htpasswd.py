"""The htpasswd file: what is a line, and what is a right password."""

from __future__ import annotations

import bcrypt
import pytest
from argon2 import PasswordHasher, Type

from proxy.access.htpasswd import Htpasswd, line_for, matches

# Of "right", as cheap as they can be.
HASH = "$2b$04$.v1CstXZetlc9RB9CfyoEuEDzaruSAeqThWggr7SkzKgV75NYmKgS"
ARGON = (
    "$argon2id$v=19$m=8,t=1,p=1$JhsxcqwymfGw657KIRmaXg$nOR526812NKGu8Iap9sDJCXDu+axGPKXCz8RUcXtk+Q"
)


@pytest.mark.parametrize("hashed", [HASH, HASH.replace("$2b$", "$2y$"), ARGON])
def test_a_hash_fits_one_password(hashed: str) -> None:
    users = Htpasswd.parse(f"# users\n\nci:{hashed}\n")
    assert list(users.hashes) == ["ci"]
    assert matches(hashed, "right")
    for wrong in ("", "wrong", "right\0", "right" * 20, "\ud800", "ü" * 72):
        assert not matches(hashed, wrong)


def test_a_file_may_come_from_another_system() -> None:
    """With a byte order mark, and carriage returns."""
    users = Htpasswd.parse(f"\ufeffci:{HASH}\r\n\r\n# comment\r\nann:{ARGON}\r\n")
    assert users.hashes == {"ci": HASH, "ann": ARGON}


def test_bcrypt_does_not_cut_a_long_password() -> None:
    hashed = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode()
    assert matches(hashed, "x" * 72)
    assert not matches(hashed, "x" * 73)


@pytest.mark.parametrize(
    "line",
    [
        "ci",
        "ci:",
        "ci:secret",
        ":" + HASH,
        "ci:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
        "ci:$apr1$abc$def",
        "ci:" + HASH.replace("$04$", "$31$"),
        "ci:" + HASH.replace("$04$", "$03$"),
        "ci:" + HASH[:-1],
        "ci:$argon2id$v=19$m=8",
        "ci:" + ARGON.replace("m=8,", "m=99999999,"),
        "ci:" + HASH[:28] + "/" + HASH[29:],
        "ci:" + HASH[:-1] + "/",
        "ci:" + HASH + ":0:0",
        "ci:" + ARGON.replace("argon2id", "argon2x"),
        "ci:" + ARGON.replace("m=8,", "m=7,"),
        "ci:" + ARGON.replace("m=8,", "m=-8,"),
        "ci:" + ARGON.replace("t=1,", "t=0,"),
        "ci:" + ARGON.replace("t=1,", "t=200000,"),
        "ci:" + ARGON.replace("p=1$", "p=0$"),
        "ci:" + ARGON.replace("p=1$", "p=2$"),
        "ci:" + ARGON.replace("m=8,t=1,p=1$", "m=800,t=1,p=100$"),
        "ci:" + ARGON.replace("v=19", "v=18"),
        "ci:" + ARGON.replace("JhsxcqwymfGw657KIRmaXg", "YQ"),
        "ci:" + ARGON[:-1],
        "ci:" + ARGON[:-1] + "R",
        "ci:" + ARGON + "\u00e9",
        "ci:" + ARGON.replace("t=1", "t=\u0661"),
        "c\x07i:" + HASH,
        f"other:{HASH}\nother:{HASH}",
    ],
)
def test_a_bad_line_is_named_by_its_number_and_not_quoted(line: str) -> None:
    with pytest.raises(ValueError, match=r"line \d") as raised:
        Htpasswd.parse(f"first:{HASH}\n{line}\n")
    assert "secret" not in str(raised.value)
    assert HASH[10:] not in str(raised.value)


def test_a_fingerprint_changes_with_its_line_only() -> None:
    other = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
    before = Htpasswd.parse(f"ci:{HASH}\nann:{HASH}\n").fingerprints
    after = Htpasswd.parse(f"ann:{HASH}\nci:{other}\n").fingerprints
    assert before["ann"] == after["ann"]
    assert before["ci"] != after["ci"]
    assert before["ci"] != before["ann"]


def test_every_hash_that_is_taken_can_be_computed() -> None:
    """Those that the regular expressions let through are no surprise at the first login."""
    kinds = [
        bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode(),
        *(
            PasswordHasher(1, 8 * lanes, lanes, length, type=kind).hash("right")
            for kind in Type
            for lanes, length in ((1, 4), (2, 32), (16, 64))
        ),
        ARGON.replace("$v=19", "$v=16"),
        ARGON.replace("$v=19", ""),
    ]
    users = Htpasswd.parse("".join(f"user{n}:{hashed}\n" for n, hashed in enumerate(kinds)))
    right = [matches(hashed, "right") for hashed in users.hashes.values()]
    assert right == [True] * (len(kinds) - 2) + [False] * 2, "the last two are of another version"


def test_unknown_users_have_all_the_costs_that_known_ones_have() -> None:
    """Otherwise the time of a wrong login would show who is a user."""
    users = Htpasswd.parse(f"ci:{ARGON}\nann:{HASH}\nbob:{HASH}\n")
    drawn = [users.hash_for(f"nobody{number}") for number in range(300)]
    assert 50 < drawn.count(ARGON) < 150
    again = Htpasswd.parse(f"bob:{HASH}\nci:{ARGON}\nann:{HASH}\n")
    assert [again.hash_for(f"nobody{number}") for number in range(300)] == drawn


def test_an_unknown_user_costs_as_much_as_a_known_one() -> None:
    assert Htpasswd.parse(f"ci:{ARGON}\n").hash_for("nobody") == ARGON
    assert Htpasswd.parse("").hash_for("nobody").startswith("$2b$10$")


def test_a_line_that_we_write_can_be_read() -> None:
    user, _, hashed = line_for("ci", "right").partition(":")
    assert user == "ci"
    assert matches(Htpasswd.parse(f"ci:{hashed}").hashes["ci"], "right")
    for bad in (("", "x"), ("a:b", "x"), ("ci", ""), ("ci", "x" * 73)):
        with pytest.raises(ValueError, match=r"user|password"):
            line_for(*bad)

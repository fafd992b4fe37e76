"""`fulcrum keys` on a file: what it shows, and which key it ends."""

import json
from pathlib import Path

from services.chassis.key_file import KeyFile, id_of
from tests.wire.test_command import fulcrum


async def test_ids_are_whole_wherever_they_are_shown(tmp_path: Path) -> None:
    """In a pipe, whatever COLUMNS says, and as JSON, `keys list` shows whole ids; the first key makes the file."""
    path = tmp_path / "new" / "keys.json"
    tenant, name, ids = "[/a-long-tenant]", "ci" * 20, []
    for told in (f"made {path}, which holds", f"{path} holds its hash; servers that read"):
        made = await fulcrum("keys", "create", "--tenant", tenant, "--name", name, "--keys", str(path))
        assert told in made.err
        ids.append(id_of(made.out.strip()))
    listed = await fulcrum("keys", "list", "--keys", str(path), COLUMNS="80")
    assert [one for one in ids if f"{one} │ {tenant} │ {name}" in listed.out] == ids
    records = json.loads((await fulcrum("keys", "list", "--json", "--keys", str(path))).out)
    assert [(one["id"], one["tenant"], one["state"]) for one in records] == [(one, tenant, "active") for one in ids]
    assert not [one for one in records if "sha256" in one]


async def test_a_key_is_revoked_by_its_beginning(tmp_path: Path) -> None:
    """What one id alone begins with is enough; what several do is refused with their names, and so is too little."""
    path = tmp_path / "keys.json"
    file = KeyFile(path)
    first, second, third = (file.create("acme", "", False, None)[0].id for _ in range(3))
    twin = first[:6] + second[6:]
    path.write_text(path.read_text().replace(second, twin))
    several = await fulcrum("keys", "revoke", first[:6], "--keys", str(path))
    assert several.status == 1
    assert f"{first} of acme, {twin} of acme" in several.err
    for little in (third[:3], ""):
        refused = await fulcrum("keys", "revoke", little, "--keys", str(path))
        assert refused.status == 1
        assert "at least 4 characters that one begins with" in refused.err
    assert not [key for key in file.listed() if key.revoke_time]
    ended = await fulcrum("keys", "revoke", third[:8], "--keys", str(path))
    assert ended.out.startswith(f"{third} of acme ends")
    assert [key.id for key in file.listed() if key.revoke_time] == [third]

"""Bearer tokens that come and go while servers run."""

import grpc
import pytest

from processes import wait_until
from tokens import write_tokens

OLD, NEW, OTHER = "the-old-one-0123456", "the-new-one-0123456", "somebody-0123456789"


class Asked:
    """One cheap call of a service, with any token."""

    def __init__(self, workspace, socket, call):
        self.channel = grpc.insecure_channel(f"unix:{workspace.run_dir}/{socket}")
        self.call = call

    def code(self, token):
        try:
            self.call(self.channel, timeout=10, wait_for_ready=True, metadata=[("authorization", f"Bearer {token}")])
            return "OK"
        except grpc.RpcError as error:
            return error.code().name


def ask_replay(wire, channel, **how):
    return wire.replay_grpc.ReplayStub(channel).Info(wire.replay.InfoRequest(), **how)


def ask_learner(wire, channel, **how):
    return wire.parameters_grpc.ParametersStub(channel).Progress(wire.parameters.ProgressRequest(), **how)


@pytest.mark.parametrize("role, socket, ask, prefix", [
    ("replay_server", "replay.sock", ask_replay, "hindcast_replay"),
    ("learner", "parameters.sock", ask_learner, "hindcast_learner"),
])
def test_tokens_are_read_again_when_their_file_changes(workspace, wire, role, socket, ask, prefix):
    tokens = workspace.folder / "tokens"
    write_tokens(tokens, f"{OLD} admin\n{OTHER} admin\n")
    workspace.configure(**{role: {"tokens_file": str(tokens)}})
    process = workspace.start(role)
    asked = Asked(workspace, socket, lambda channel, **how: ask(wire, channel, **how))
    assert asked.code(OLD) == "OK" and asked.code(NEW) == "UNAUTHENTICATED"
    # One comes, one goes, one stays, and calls are answered all the time.
    write_tokens(tokens, f"{NEW} admin\n{OTHER} admin\n")
    wait_until(lambda: asked.code(NEW) == "OK", "the new token", alive=process)
    assert asked.code(OLD) == "UNAUTHENTICATED" and asked.code(OTHER) == "OK"
    # What cannot be used changes nothing, and says so.
    for n, broken in enumerate([f"{OLD} admin,fly\n", "", None, "rights"]):
        if broken is None:
            tokens.unlink()
        elif broken == "rights":
            write_tokens(tokens, f"{OLD} admin\n")
            tokens.chmod(0o644)
        else:
            write_tokens(tokens, broken)
        wait_until(lambda n=n: workspace.metrics(role).get(f"{prefix}_tokens_unusable_total", 0) >= n + 1, "the metric",
                   alive=process)
        assert asked.code(NEW) == asked.code(OTHER) == "OK" and asked.code(OLD) == "UNAUTHENTICATED"
    assert "the file of tokens has changed and cannot be used" in process.tail() and "role fly" in process.tail()
    # The rights alone were wrong.
    tokens.chmod(0o600)
    wait_until(lambda: asked.code(OLD) == "OK", "the old token", alive=process)
    assert asked.code(NEW) == "UNAUTHENTICATED"
    asked.channel.close()

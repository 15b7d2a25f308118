"""bench_replay: the parts that need a server of their own kind run to their end and show what the head promises."""

import json
import subprocess

from processes import BUILD, SLOW


def test_prioritized_under_mutual_tls(tmp_path):
    done = subprocess.run([BUILD / "bench" / "bench_replay", "--json", "--tls", "--only=prioritized", "--rounds=1",
                           "--seconds=0.1", f"--folder={tmp_path}"], text=True, capture_output=True,
                          timeout=120 * SLOW, check=False)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert list(shown) == ["prioritized_snippets", "prioritized_cpu", "ratio_prioritized_to_rpc_stream"]
    assert all(figure["value"] > 0 for figure in shown.values())
    assert list(tmp_path.iterdir()) == []

"""Times onnxruntime with one thread on one observation at a time, as a control loop calls it. Started by
compare_policy.py: policy_onnxruntime.py MODEL RATE_HZ SECONDS prints {"p50_us": .., "p99_us": .., "p999_us": ..}."""

import json
import sys
import time

import numpy as np
import onnxruntime


def main():
    model, rate_hz, seconds = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    size = session.get_inputs()[0].shape[1]
    inputs = [{"observation": rng.normal(size=(1, size)).astype(np.float32)} for _ in range(64)]
    outputs = ["action_physical"]
    times = []
    begin = time.perf_counter()
    while (now := time.perf_counter()) < begin + seconds:
        if rate_hz > 0:
            wait = begin + (len(times) + 1) / rate_hz - now
            time.sleep(max(wait, 0))
        before = time.perf_counter_ns()
        session.run(outputs, inputs[len(times) % 64])
        times.append(time.perf_counter_ns() - before)
    p50, p99, p999 = np.quantile(times, [0.5, 0.99, 0.999]) / 1000
    print(json.dumps({"p50_us": p50, "p99_us": p99, "p999_us": p999}))


if __name__ == "__main__":
    main()

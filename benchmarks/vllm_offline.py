"""vLLM's own offline `LLM.chat` on prompts, sampling and schema from a file: what the pipeline is measured against.

PYTHON_WITH_VLLM -m benchmarks.vllm_offline JOB.json      (started by benchmarks.vllm_throughput)

Imports nothing of Chainette: it runs in vLLM's own environment. Prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time


def main(job_file: str) -> None:
    with open(job_file, encoding="utf-8") as file:
        job = json.load(file)
    from vllm import LLM, SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    llm = LLM(**job["engine"])
    sampling = SamplingParams(**job["sampling"], structured_outputs=StructuredOutputsParams(json=job["schema"]))
    llm.chat(job["prompts"][:64], sampling, use_tqdm=False)
    rates = []
    for _ in range(job["rounds"]):
        began = time.perf_counter()
        answers = llm.chat(job["prompts"], sampling, use_tqdm=False)
        seconds = time.perf_counter() - began
        tokens = sum(len(answer.outputs[0].token_ids) for answer in answers)
        rates.append({"tokens": tokens, "seconds": seconds})
    print(json.dumps(rates), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])

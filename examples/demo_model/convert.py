"""Write trained weights as the GGUF file that ships with Chainette: matrices in q8_0, norms in f32.

    python -m examples.demo_model.convert --from /tmp/demo_model --to chainette/engine/demo.gguf

It owns the chat template. It knows no tasks.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
import torch

from . import tokens

# The schema text that Chainette adds to a system prompt says nothing to this model, so the template cuts it off.
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}"
    "<|system|>{{ message['content'].split('\n\nAnswer with one JSON object')[0] | trim }}"
    "{%- elif message['role'] == 'user' -%}<|user|>{{ message['content'] | trim }}"
    "{%- else -%}<|assistant|>{{ message['content'] | trim }}<|end|>"
    "{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"
)


def convert(folder: Path, target: Path) -> None:
    shape = json.loads((folder / "shape.json").read_text())
    kept = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    weights: dict[str, torch.Tensor] = torch.load(folder / "weights.pt", map_location="cpu")
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_name("Chainette demo model")
    writer.add_description("A closed little world for examples and tests; generated data, trained from scratch.")
    writer.add_license("MIT")
    writer.add_context_length(shape["context"])
    writer.add_embedding_length(shape["width"])
    writer.add_block_count(shape["layers"])
    writer.add_feed_forward_length(shape["hidden"])
    writer.add_head_count(shape["heads"])
    writer.add_head_count_kv(shape["heads"])
    writer.add_rope_dimension_count(shape["width"] // shape["heads"])
    writer.add_rope_freq_base(shape["rope_base"])
    writer.add_layer_norm_rms_eps(shape["norm_eps"])
    writer.add_vocab_size(shape["vocab"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    _add_tokenizer(writer, kept)
    for name, weight in weights.items():
        values = weight.float().numpy().astype(np.float32)
        if values.ndim == 1:
            writer.add_tensor(name, values)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: gguf.GGUFWriter, kept: dict[str, dict[str, int]]) -> None:
    ordered = sorted(kept["vocab"], key=kept["vocab"].__getitem__)
    special = gguf.TokenType.CONTROL
    writer.add_tokenizer_model("gpt2")
    # With `gpt-2` numbers are cut differently and come out broken.
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(ordered)
    writer.add_token_types([special if token in tokens.SPECIAL else gguf.TokenType.NORMAL for token in ordered])
    writer.add_token_merges([" ".join(merge) for merge in kept["merges"]])
    end = kept["vocab"][tokens.END]
    writer.add_bos_token_id(end)
    writer.add_eos_token_id(end)
    writer.add_pad_token_id(end)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="folder", type=Path, default=Path("/tmp/demo_model"))
    parser.add_argument("--to", dest="target", type=Path, default=Path("chainette/engine/demo.gguf"))
    chosen = parser.parse_args()
    convert(chosen.folder, chosen.target)
    print(f"{chosen.target}: {chosen.target.stat().st_size:,} bytes")

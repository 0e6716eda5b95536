"""Templates to messages. Knows the graph's names, nothing of engines or calls."""

from chainette.prompts.compiled import FORMAT_INSTRUCTION, CompiledPrompt, compile_prompts, format_instruction

__all__ = ["FORMAT_INSTRUCTION", "CompiledPrompt", "compile_prompts", "format_instruction"]

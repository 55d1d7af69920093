"""LoRA on the language model of a video model."""

from __future__ import annotations

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from rarft.models.families import vision_modules


def add_lora(model: PreTrainedModel, *, rank: int = 16, alpha: int | None = None, dropout: float = 0.0) -> PeftModel:
    """Wrap the language model's linear layers with LoRA; the vision tower and the embeddings stay as they are.

    Args:
        alpha: twice the rank by default.
    """
    frozen = {id(module) for part in vision_modules(model) for module in part.modules()}
    targets = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and id(module) not in frozen and "lm_head" not in name
    ]
    config = LoraConfig(
        r=rank, lora_alpha=alpha or 2 * rank, lora_dropout=dropout, target_modules=targets, task_type="CAUSAL_LM"
    )
    return get_peft_model(model, config)

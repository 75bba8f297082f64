"""Script for torchrun with two CPU processes: trains the tiny model with FSDP2, saves it and loads it again."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from speech_data import speech_rows
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from t5gemma_tts import T5GemmaTTSForConditionalGeneration, T5GemmaTTSProcessor
from t5gemma_tts.training.activation_checkpointing import enable_selective_checkpointing
from t5gemma_tts.training.dataset import SpeechCollator, SpeechDataset


def sharded(checkpoint: str):
    model = T5GemmaTTSForConditionalGeneration.from_pretrained(checkpoint).train()
    enable_selective_checkpointing(model)
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for stack in (model.get_encoder(), model.get_decoder()):
        for layer in stack.layers:
            fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model, torch.optim.AdamW(model.parameters(), lr=1e-2)


def step(model, optimizer, batch) -> float:
    loss = model(**batch, skip_logits=True, use_cache=False).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def main(checkpoint: str, folder: str) -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    model, optimizer = sharded(checkpoint)
    whole = sum(p.numel() for p in model.parameters())
    held = sum(p.to_local().numel() for p in model.parameters())
    assert held < 0.6 * whole, (held, whole)
    processor = T5GemmaTTSProcessor.from_pretrained(checkpoint)
    dataset = SpeechDataset([speech_rows(8)], processor.tokenizer, model.config)
    batch = SpeechCollator(model.config)([dataset[row] for row in range(rank, 8, 2)])
    for _ in range(2):
        step(model, optimizer, batch)
    weights, moments = get_state_dict(model, optimizer)
    dcp.save({"model": weights, "optimizer": moments}, checkpoint_id=Path(folder, "shards"))
    full = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if rank == 0:
        T5GemmaTTSForConditionalGeneration.from_pretrained(checkpoint).save_pretrained(
            Path(folder, "gathered"), state_dict=full
        )
    loss = step(model, optimizer, batch)
    # other weights and no moments, until the shards are read
    again, other_optimizer = sharded(checkpoint)
    weights, moments = get_state_dict(again, other_optimizer)
    dcp.load({"model": weights, "optimizer": moments}, checkpoint_id=Path(folder, "shards"))
    set_state_dict(again, other_optimizer, model_state_dict=weights, optim_state_dict=moments)
    assert step(again, other_optimizer, batch) == loss
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one.to_local(), other.to_local())
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])

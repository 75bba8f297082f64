"""The model class: attention kernels, dtypes, saving, loading, backbones, loss."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_generation import collate, mixed_samples
from tiny import tiny_backbone, tiny_config, tiny_model
from transformers import AutoModel, AutoModelForSeq2SeqLM, T5GemmaForConditionalGeneration

from t5gemma_tts import T5GemmaTTSForConditionalGeneration


def training_inputs(config, seed: int = 0) -> dict:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, config.codebook_size, (2, 20), generator=generator)
    labels[0, 6] = config.audio_separator_token_id
    labels[:, 15] = config.eos_token_id
    labels[0, 16:] = -100
    labels[1, 16:] = -100
    return {
        "input_ids": torch.randint(3, 100, (2, 9), generator=generator),
        "attention_mask": torch.tensor([[1] * 9, [1] * 5 + [0] * 4]),
        "labels": labels,
    }


def test_soft_capping_is_applied_or_an_error():
    plain = tiny_model()(**training_inputs(tiny_config())).logits
    config = tiny_config()
    for side in ("encoder", "decoder"):
        getattr(config.backbone, side).attn_logit_softcapping = 2.0
    capped_model = tiny_model(config)
    assert capped_model.config._attn_implementation == "eager"  # because sdpa does not support soft-capping
    capped = capped_model(**training_inputs(config)).logits
    assert (capped - plain).abs().max() > 0.1
    with pytest.raises(ValueError, match="`attn_logit_softcapping` is 2.0"):
        capped_model.set_attn_implementation("sdpa")
    config._attn_implementation = "sdpa"
    with pytest.raises(ValueError, match="`attn_logit_softcapping` is 2.0"):
        tiny_model(config)


@pytest.mark.slow
def test_flex_attention_applies_soft_capping():
    config = tiny_config()
    for side in ("encoder", "decoder"):
        getattr(config.backbone, side).attn_logit_softcapping = 2.0
    model = tiny_model(config)
    inputs = training_inputs(config)
    with torch.no_grad():
        eager = model(**inputs).logits
        model.set_attn_implementation("flex_attention")
        valid = inputs["labels"] != -100
        torch.testing.assert_close(model(**inputs).logits[valid], eager[valid], rtol=0, atol=1e-3)


def test_error_for_a_decoder_without_text():
    config = tiny_config()
    with pytest.raises(ValueError, match="`encoder_hidden_states` are required"):
        tiny_model(config).get_decoder()(input_ids=torch.tensor([[config.bos_token_id]]))


def test_output_fields():
    config = tiny_config()
    config._attn_implementation = "eager"
    model = tiny_model(config)
    inputs = training_inputs(config)
    outputs = model(**inputs, output_attentions=True, output_hidden_states=True)
    layers = config.backbone.decoder.num_hidden_layers
    assert outputs.logits.shape == (2, 20, config.codebook_size + 5)
    assert len(outputs.cross_attentions) == len(outputs.decoder_attentions) == layers
    assert len(outputs.encoder_attentions) == config.backbone.encoder.num_hidden_layers
    assert len(outputs.decoder_hidden_states) == layers + 1
    assert outputs.cross_attentions[0].shape == (2, 4, 20, 9)
    torch.testing.assert_close(outputs.cross_attentions[0].sum(-1), torch.ones(2, 4, 20))
    reused = model(
        encoder_outputs=(outputs.encoder_last_hidden_state,),
        attention_mask=inputs["attention_mask"],
        labels=inputs["labels"],
    )
    torch.testing.assert_close(reused.logits, outputs.logits)


def test_teacher_forcing_equals_generation():
    config = tiny_config(extra_cutoff_seconds=0.0)
    model = tiny_model(config)
    batch = collate(mixed_samples(config, count=2)[1:], config)
    num_frames = batch["num_frames"]
    output = model.generate(
        **batch, do_sample=False, output_logits=True, return_dict_in_generate=True, max_new_tokens=int(num_frames[0])
    )
    ids = torch.cat([batch["decoder_input_ids"], output.sequences[:, :-1]], dim=-1)
    # the sequence has exactly the planned number of tokens, so that positions agree
    if ids.shape[1] == batch["decoder_input_ids"].shape[1] + num_frames[0] - 1:
        ids = torch.cat([ids, output.sequences[:, -1:]], dim=-1)
    assert ids.shape[1] == batch["decoder_input_ids"].shape[1] + num_frames[0]
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], decoder_input_ids=ids).logits
    first = batch["decoder_input_ids"].shape[1] - 1
    torch.testing.assert_close(
        logits[:, first : first + len(output.logits)], torch.stack(output.logits, dim=1), rtol=0, atol=1e-4
    )


def test_save_and_load_keep_logits(tmp_path):
    config = tiny_config()
    model = tiny_model(config)
    inputs = training_inputs(config)
    expected = model(**inputs).logits
    model.save_pretrained(tmp_path)
    for auto_class in (AutoModel, AutoModelForSeq2SeqLM, T5GemmaTTSForConditionalGeneration):
        loaded = auto_class.from_pretrained(tmp_path)
        assert type(loaded) is T5GemmaTTSForConditionalGeneration
        torch.testing.assert_close(loaded(**inputs).logits, expected, rtol=0, atol=0)
    assert loaded.generation_config.top_k == 30 and loaded.generation_config.do_sample
    sharded = tmp_path / "sharded"
    model.save_pretrained(sharded, max_shard_size="100KB")
    assert len(list(sharded.glob("*.safetensors"))) > 1
    loaded = AutoModel.from_pretrained(sharded, device_map="cpu")
    torch.testing.assert_close(loaded(**inputs).logits, expected, rtol=0, atol=0)


@pytest.mark.parametrize("how", ["load", "cast"])
def test_bfloat16_keeps_positions_in_float32(tmp_path, how):
    config = tiny_config(progress_scale=2000.0)
    model = tiny_model(config)
    inputs = training_inputs(config)
    reference = model(**inputs).logits
    if how == "load":
        model.save_pretrained(tmp_path)
        model = AutoModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    else:
        model = model.to(torch.bfloat16)
    assert model.dtype == torch.bfloat16
    for stack in (model.get_encoder(), model.get_decoder()):
        assert stack.rotary_emb.inv_freq.dtype == torch.float32
        head_dim = stack.config.head_dim
        expected = 10000.0 ** (-torch.arange(0, head_dim, 2) / head_dim)
        torch.testing.assert_close(stack.rotary_emb.inv_freq, expected)
    logits = model(**inputs).logits
    assert logits.dtype == torch.bfloat16
    valid = inputs["labels"] != -100
    error = (logits.float() - reference)[valid].norm() / reference[valid].norm()
    assert error < 0.05
    sequences = model.generate(inputs["input_ids"], num_frames=[8, 9], do_sample=False, max_new_tokens=5)
    assert sequences.shape == (2, 5)


def test_error_for_incomplete_or_other_weights(tmp_path):
    model = tiny_model()
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    save_file({k: v for k, v in weights.items() if k != "audio_head.dense.bias"}, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="1 missing keys such as audio_head.dense.bias"):
        AutoModel.from_pretrained(tmp_path)
    save_file(weights | {"surplus.weight": torch.ones(2)}, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="1 unexpected keys such as surplus.weight"):
        AutoModel.from_pretrained(tmp_path)
    with pytest.raises(OSError):
        T5GemmaTTSForConditionalGeneration.from_pretrained(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(OSError, match="is not a checkpoint: it has no config.json"):
        T5GemmaTTSForConditionalGeneration.from_pretrained(tmp_path / "empty")


def test_from_backbone(tmp_path):
    torch.manual_seed(0)
    text_model = T5GemmaForConditionalGeneration(tiny_backbone(text_vocab_size=69)).eval()
    text_model.save_pretrained(tmp_path)
    # with equal vocabulary sizes, the text decoder's embedding must still not be used
    model = T5GemmaTTSForConditionalGeneration.from_backbone(
        tmp_path, config_kwargs={"codebook_size": 64, "text_separator_token_id": 68}
    )
    state, text_state = model.state_dict(), text_model.state_dict()
    for name, tensor in text_state.items():
        if name.startswith(("model.encoder.", "model.decoder.layers.", "model.decoder.norm.")):
            assert torch.equal(state[name], tensor), name
    assert not torch.equal(state["model.decoder.embed_tokens.weight"], text_state["model.decoder.embed_tokens.weight"])
    assert state["audio_head.out_proj.weight"].std() > 0.01
    assert model.config.backbone.decoder.attn_logit_softcapping is None
    model.save_pretrained(tmp_path / "saved")
    AutoModel.from_pretrained(tmp_path / "saved")
    capped = T5GemmaTTSForConditionalGeneration.from_backbone(
        tmp_path, config_kwargs={"codebook_size": 64, "text_separator_token_id": 68, "attn_logit_softcapping": 50.0}
    )
    assert capped.config.backbone.encoder.attn_logit_softcapping == 50.0
    (tmp_path / "model.safetensors").unlink()
    weights = {k: v for k, v in text_state.items() if "layers.1.mlp" not in k and "lm_head" not in k}
    save_file({k: v.clone() for k, v in weights.items()}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="is not a complete T5Gemma"):
        T5GemmaTTSForConditionalGeneration.from_backbone(
            tmp_path, config_kwargs={"codebook_size": 64, "text_separator_token_id": 68}
        )


def test_resizing_the_text_vocabulary_keeps_the_audio_head():
    model = tiny_model()
    head = model.audio_head.out_proj.weight.clone()
    model.resize_token_embeddings(140, mean_resizing=False)
    assert model.get_input_embeddings().num_embeddings == 140
    assert torch.equal(model.audio_head.out_proj.weight, head)

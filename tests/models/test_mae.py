"""The masked autoencoder: scores, masks, patches, reconstruction, and the use of the other modality."""

import math

import pytest
import torch
from timm.layers import PatchEmbed
from torch import Tensor

from lib.config.loader import load_config
from lib.losses.reconstruction import FLAT, is_flat, patch_targets, reconstruction_loss, token_loss
from lib.models import masking
from lib.models.backbone import center_tokens
from lib.models.build import build_model
from lib.models.mae import CMAE, from_patches, to_patches
from lib.models.masking import STRATEGIES, choose_masks, curriculum
from lib.models.network import network_inputs
from lib.models.vit import Variant, ViT
from lib.structures import Pair, Sample
from lib.train.build import RunInfo, build_task
from lib.train.optim import build_optimizer, build_scheduler
from lib.utils.misc import seed_step
from tests.samples import change_images, make_sample, random_sample

RATIOS = {"mask_ratio": 0.5, "other_ratio": 0.1, "template_ratio": 0.25}
MODELS = ("student", "teacher")


def make_task(model: str = "student", *overrides: str, total_steps: int = 8):
    config = {"student": "debug_pretrain", "teacher": "debug_teacher"}[model]
    seed_step(0)
    cfg = load_config("transcmd", config, ["TRAIN.STAGE=pretrain", *overrides])
    return build_task(cfg, RunInfo("transcmd", "output", total_steps))


def log_normal_scores(batch: int, cells: int) -> Tensor:
    return torch.randn(batch, cells, generator=torch.Generator().manual_seed(0)).exp()


# masks


@pytest.mark.parametrize(("cells", "template", "first", "second"), [(256, 64, 128, 13), (64, 16, 32, 3), (16, 4, 8, 1)])
@pytest.mark.parametrize("exponent", [0.0, 1.0])
def test_masks_hide_exact_counts_and_no_location_twice(cells, template, first, second, exponent):
    torch.manual_seed(0)
    mask = choose_masks(log_normal_scores(64, cells), template, exponent, **RATIOS).mask
    assert mask.shape == (64, 2, template + cells) and mask.dtype == torch.bool
    assert not (mask[:, 0] & mask[:, 1]).any()
    search, templates = mask[:, :, template:].sum(dim=2), mask[:, :, :template].sum(dim=2)
    assert {tuple(sorted(row)) for row in search.tolist()} == {(second, first)}
    assert {tuple(sorted(row)) for row in templates.tolist()} == {(0, template // 4)}
    assert torch.equal(search.argmax(dim=1), templates.argmax(dim=1))  # templates: only of the first modality
    assert 16 < search.argmax(dim=1).sum() < 48  # RGB of some samples, the auxiliary modality of others


@pytest.mark.parametrize(("exponent", "low", "high"), [(0.0, 0.48, 0.52), (0.5, 0.6, 0.75), (1.0, 0.78, 0.82)])
def test_overlap_with_the_best_locations_grows_with_the_exponent(exponent, low, high):
    torch.manual_seed(0)
    scores = log_normal_scores(400, 256)
    masks = choose_masks(scores, 64, exponent, **RATIOS)
    assert low < masks.overlap.mean() < high
    chosen = masks.mask[:, :, 64:].flatten(0, 1)
    chosen = chosen[chosen.sum(dim=1) == 128]
    best = scores >= scores.median(dim=1, keepdim=True).values
    torch.testing.assert_close((chosen & best).sum(dim=1) / 128, masks.overlap, atol=0.02, rtol=0)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_overlap_does_not_depend_on_the_scale_of_the_scores(scale):
    scores = log_normal_scores(400, 256) * scale
    torch.manual_seed(0)
    assert 0.75 < choose_masks(scores, 64, 1.0, **RATIOS).overlap.mean() < 0.85


@pytest.mark.parametrize(
    "scores",
    [
        torch.ones(400, 256),
        torch.ones(400, 256) + torch.linspace(0, 1e-6, 256),  # differences are only rounding errors
        torch.zeros(400, 256),
        torch.linspace(0, 1e-7, 256).expand(400, -1),  # below what counts
    ],
)
def test_equal_scores_give_a_random_choice(scores):
    torch.manual_seed(0)
    masks = choose_masks(scores, 64, 1.0, **RATIOS)
    assert 0.48 < masks.overlap.mean() < 0.52
    often = masks.mask[:, :, 64:].any(dim=1).float().mean(dim=0)
    assert often.min() > 0.35 and often.max() < 0.7  # 141 of 256 on average, everywhere


def test_locations_with_a_score_of_zero_do_not_hide_the_others():
    """The logarithm of zero is far from all others; the minimum score limits this."""
    scores = log_normal_scores(200, 256)
    scores[:, :3] = 0
    torch.manual_seed(0)
    assert choose_masks(scores, 64, 1.0, **RATIOS).overlap.mean() > 0.65


def test_curriculum_is_random_for_the_first_third_then_rises():
    values = [curriculum(step / 12) for step in range(13)]
    assert values[:5] == [0, 0, 0, 0, 0] and values[8:] == [1, 1, 1, 1, 1]
    assert values[5:8] == pytest.approx([0.25, 0.5, 0.75])


def test_strategies_combine_saliency_and_agreement():
    same, opposite = torch.randn(8), torch.randn(8)
    same = same - same.mean()
    tokens = (torch.stack([same, same, opposite])[None], torch.stack([same, -same, opposite])[None])
    saliency = (torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[2.0, 4.0, 6.0]]))
    joint = math.sqrt(1 / 1 * 2 / 4), math.sqrt(2 / 1 * 4 / 4), 0.0  # each saliency divided by its mean
    kappa = STRATEGIES["complementarity"](saliency, tokens)[0]
    assert kappa.tolist() == pytest.approx([0, 2 * joint[1], 0], abs=1e-5)
    assert STRATEGIES["redundancy"](saliency, tokens)[0].tolist() == pytest.approx([joint[0] ** 2, 0, 0], abs=1e-5)
    assert STRATEGIES["random"](saliency, tokens).tolist() == [[1, 1, 1]]


@pytest.mark.parametrize("name", STRATEGIES)
def test_strategies_give_finite_and_non_negative_scores(name):
    tokens = torch.randn(2, 16, 8)
    for saliency, pair in (
        ((torch.zeros(2, 16), torch.zeros(2, 16)), (tokens, tokens)),
        ((torch.rand(2, 16), torch.rand(2, 16)), (tokens, tokens)),  # the cosine rounds to more than 1
        ((torch.rand(2, 16), torch.rand(2, 16)), (tokens * 0, tokens)),
        ((torch.rand(2, 16), torch.rand(2, 16)), (tokens.bfloat16(), -tokens.half())),
    ):
        scores = STRATEGIES[name](saliency, pair)
        assert torch.isfinite(scores).all() and (scores >= 0).all()
        assert torch.isfinite(choose_masks(scores, 4, 1.0, **RATIOS).overlap).all()


# scores


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_attention_received_equals_its_definition(dtype):
    torch.manual_seed(0)
    vit = ViT(Variant(64, 2, 2), template_size=32, search_size=64, stride=16)
    block, tokens = vit.blocks[1], torch.randn(3, 20, 64)
    with torch.no_grad(), torch.autocast("cpu", dtype, enabled=dtype is not None):
        received = vit.attention_received(2, tokens, [1, 2])
    assert received.dtype == torch.float32
    with torch.no_grad():
        query, key, _ = block.attn.qkv(block.norm1(tokens)).chunk(3, dim=-1)
    expected = torch.zeros(3, 20)
    for b in range(3):
        for head in (slice(0, 32), slice(32, 64)):
            for i in (1, 2):
                weights = [math.exp(query[b, i, head] @ key[b, j, head] / math.sqrt(32)) for j in range(20)]
                expected[b] += torch.tensor(weights) / sum(weights) / 4  # mean over two heads and two queries
    torch.testing.assert_close(received, expected, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(received.sum(dim=1), torch.ones(3))


@pytest.mark.parametrize(
    ("grid", "expected"), [(8, [27, 28, 35, 36]), (4, [5, 6, 9, 10]), (2, [0, 1, 2, 3]), (5, [12])]
)
def test_center_tokens_are_those_around_the_middle(grid, expected):
    assert center_tokens(grid) == expected


@pytest.mark.parametrize("model", MODELS)
def test_scores_follow_their_formula(model):
    task = make_task(model)
    sample = random_sample(2)
    scores = task.mae.score(sample.template, sample.search, sample.modality)
    features = task.model.encode(sample.template, sample.search, sample.modality)[2]
    layer = {"student": 1, "teacher": 2}[model]  # the student's second block is joint
    assert task.mae.saliency_layer == layer
    saliency, tokens = [], []
    for stream, name in zip(task.model.streams, ("rgb", "aux"), strict=True):
        received = stream.attention_received(layer, features[f"block{layer - 1:02d}/{name}"], range(4))
        saliency.append(received[:, 4:] / received[:, 4:].mean(dim=1, keepdim=True))
        last = features[f"block02/{name}"][:, 4:]
        tokens.append((last - last.mean(dim=2, keepdim=True)) / last.std(dim=2, correction=0, keepdim=True))
    expected = (saliency[0] * saliency[1]).sqrt() * (1 - torch.cosine_similarity(*tokens, dim=2))
    torch.testing.assert_close(scores, expected.detach(), atol=1e-4, rtol=1e-3)


def test_the_saliency_of_each_modality_comes_from_its_own_stream():
    """The streams of a new teacher are copies; here they differ."""
    task, sample = make_task("teacher"), random_sample(2)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in task.mae.scorer.aux.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    seen = []
    for name in ("rgb", "aux"):
        stream = getattr(task.mae.scorer, name)
        layer, queries = task.mae.saliency_layer, center_tokens(stream.template_grid)
        features = task.mae.scorer.encode(sample.template, sample.search, sample.modality)[2]
        seen.append(stream.attention_received(layer, features[f"block{layer - 1:02d}/{name}"], queries)[:, 4:])
    found = []
    task.mae.strategy = lambda saliency, tokens: found.extend(saliency) or saliency[0]
    task.mae.score(sample.template, sample.search, sample.modality)
    for saliency, expected in zip(found, seen, strict=True):
        torch.testing.assert_close(saliency, expected.detach())


def test_scores_need_a_block_without_interaction():
    with pytest.raises(ValueError, match="INTERACTION_LAYERS contains all blocks"):
        make_task("student", "MODEL.BACKBONE.INTERACTION_LAYERS=[1,2]")


def test_scores_of_equal_modalities_give_a_random_choice():
    mae, sample = make_task().mae, random_sample(2)
    same = change_images(sample, lambda rgb, aux: (rgb, rgb))
    scores = mae.score(same.template, same.search, same.modality * 0)
    assert (scores < 1e-5).all()


# patches and loss


@pytest.mark.parametrize("stride", [4, 16])
def test_patches_are_assembled_to_the_same_image(stride):
    images = torch.rand(2, 2, 3, 32, 32)
    patches = to_patches(images, stride)
    assert patches.shape == (2, 2, (32 // stride) ** 2, 3 * stride**2)
    assert torch.equal(from_patches(patches, stride), images)


@pytest.mark.parametrize(("channel", "row", "column"), [(0, 0, 0), (1, 3, 5), (2, 15, 2)])
def test_patches_are_in_the_order_of_the_tokens(channel, row, column):
    """A patch embedding with a kernel that selects one pixel gives the value of this pixel in the patches."""
    embed = PatchEmbed(img_size=None, patch_size=16, in_chans=3, embed_dim=1)
    with torch.no_grad():
        embed.proj.weight.zero_()[0, channel, row, column] = 1
        embed.proj.bias.zero_()
        images = torch.rand(2, 3, 64, 64)
        tokens = embed(images)[..., 0]
    torch.testing.assert_close(tokens, to_patches(images, 16)[..., channel * 256 + row * 16 + column])


def test_patches_of_a_pair_are_in_the_order_of_their_tokens():
    mae, sample = make_task().mae, random_sample(2)
    patches = mae.patches(sample.template, sample.search)
    assert patches.shape == (2, 2, 20, 768) and patches.min() >= 0 and patches.max() <= 1
    assert torch.equal(from_patches(patches[1, 1, 4:], 16) * 255, sample.search.aux[1].float())
    assert torch.equal(from_patches(patches[0, 0, :4], 16) * 255, sample.template.rgb[0].float())


def pattern(amplitude: float) -> Tensor:
    """One patch of 2x2 pixels whose channels deviate by `amplitude` over space."""
    return 0.5 + amplitude * torch.tensor([1.0, -1.0, 1.0, -1.0]).repeat(3)


def test_patches_without_contrast_are_flat():
    colour = torch.tensor([0.0, 0.5, 1.0]).repeat_interleave(4)  # a flat depth: differs between channels only
    one_channel = torch.cat([pattern(0.1)[:4], torch.full((8,), 0.3)])
    patches = torch.stack([pattern(0.0), colour, pattern(FLAT * 0.9), pattern(FLAT * 1.1), one_channel])
    assert is_flat(patches).tolist() == [True, True, True, False, False]


def test_reconstruction_loss_equals_that_computed_by_hand():
    """Two patches of RGB are masked, one of them flat, and one of the auxiliary modality; others do not count."""
    patches = torch.stack([pattern(0.2), pattern(0.0), pattern(0.3)]).expand(1, 2, 3, 12).clone()
    mask = torch.tensor([[[True, True, False], [False, False, True]]])
    target = torch.tensor([1.0, -1.0, 1.0, -1.0]).repeat(3)
    prediction = torch.full((1, 2, 3, 12), 1e3)
    prediction[0, 0, 0], prediction[0, 1, 2] = target * 0.5, target + 0.1
    loss = reconstruction_loss(prediction, patches, mask)
    torch.testing.assert_close(loss, torch.tensor([[0.25, 0.01]]), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(patch_targets(patches)[0, 0, 0], target, atol=1e-3, rtol=1e-3)


def test_reconstruction_loss_without_masked_patches_is_zero():
    prediction = torch.randn(2, 2, 3, 12, requires_grad=True)
    flat = torch.full((2, 2, 3, 12), 0.4)
    loss = reconstruction_loss(prediction, flat, torch.ones(2, 2, 3, dtype=torch.bool)).sum(dim=1).mean()
    loss.backward()
    assert loss == 0 and (prediction.grad == 0).all()
    assert (reconstruction_loss(prediction, torch.rand(2, 2, 3, 12), torch.zeros(2, 2, 3, dtype=torch.bool)) == 0).all()


def test_reconstruction_loss_of_a_batch_is_the_mean_of_its_samples():
    task, sample = make_task(), random_sample(3)
    torch.manual_seed(3)
    result = task.mae(task.model, sample, 0.0)
    arguments = (result.prediction, result.patches, result.masks.mask)
    alone = [reconstruction_loss(*(argument[i : i + 1] for argument in arguments)).sum() for i in range(3)]
    torch.manual_seed(3)
    torch.testing.assert_close(task(sample, 0.0)[0]["reconstruction"], torch.stack(alone).mean())


# masking


@pytest.mark.parametrize("model", MODELS)
def test_masked_pixels_do_not_influence_the_tokens(model):
    task, sample = make_task(model).eval(), random_sample(2)
    vectors = task.mae.mask_vectors
    mask = choose_masks(torch.rand(2, 16), 4, 0.0, **RATIOS).mask
    hidden = mask[..., None].expand(-1, -1, -1, 768)
    noise = torch.randint(0, 256, hidden.shape)

    def repaint(sample: Sample) -> Sample:
        patches = torch.where(hidden, noise, (task.mae.patches(sample.template, sample.search) * 255).round())
        images = (from_patches(part, 16).to(torch.uint8) for part in (patches[:, :, :4], patches[:, :, 4:]))
        return sample._replace(**{k: Pair(*i.unbind(1)) for k, i in zip(("template", "search"), images, strict=True)})

    changed = repaint(sample)
    assert not torch.equal(changed.search.rgb, sample.search.rgb)
    encoded = [task.model.encode(s.template, s.search, s.modality, None, mask, vectors) for s in (sample, changed)]
    for before, after in zip(encoded[0][:2], encoded[1][:2], strict=True):
        assert torch.equal(before, after)
    plain = [task.model.encode(s.template, s.search, s.modality)[0] for s in (sample, changed)]
    assert not torch.allclose(*plain)


@pytest.mark.parametrize("model", MODELS)
def test_each_modality_has_its_mask_vector(model):
    task, sample = make_task(model).eval(), random_sample(4)  # one of each kind
    everything = torch.ones(4, 2, 20, dtype=torch.bool)
    features = task.model.encode(
        sample.template, sample.search, sample.modality, None, everything, task.mae.mask_vectors
    )[2]
    for m, name in enumerate(("rgb", "aux")):
        stream = task.model.streams[m]
        positions = torch.cat([stream.template_position, stream.search_position], dim=1)
        rows = sample.modality * m
        expected = (task.mae.mask_vectors + task.model.modality_embed)[rows][:, None] + positions
        torch.testing.assert_close(features[f"block00/{name}"], expected)


def test_prediction_of_a_modality_uses_its_own_output_layer():
    decoder = make_task().mae.decoder
    tokens, kinds = torch.randn(2, 2, 20, 64), torch.tensor([[0, 1], [0, 3]])
    with torch.no_grad():
        decoder.weight.zero_()
        decoder.bias.copy_(torch.arange(4.0)[:, None].expand(-1, 768))
    prediction = decoder(tokens, kinds)
    assert prediction.shape == (2, 2, 20, 768)
    assert torch.equal(prediction[..., 0, 0], kinds.float()) and (prediction.std(dim=(2, 3)) == 0).all()


def test_decoder_attends_to_the_tokens_of_its_own_modality_only():
    decoder = make_task().mae.decoder
    tokens, kinds = torch.randn(1, 2, 20, 64), torch.tensor([[0, 1]])
    changed = tokens.clone()
    changed[:, 1, 7] += 1
    before, after = decoder(tokens, kinds), decoder(changed, kinds)
    assert torch.equal(before[:, 0], after[:, 0]) and (before[:, 1] != after[:, 1]).any(dim=-1).all()


@pytest.mark.parametrize("model", MODELS)
def test_features_are_reconstructed_from_the_tokens_of_the_averaged_model(model):
    task, sample = make_task(model, "TRAIN.PRETRAIN.TARGET=features").eval(), random_sample(3)
    result = task.mae(task.model, sample, 1.0)
    features = task.mae.scorer.encode(*network_inputs(sample))[2]
    last = torch.stack([features["block02/rgb"], features["block02/aux"]], dim=1)
    torch.testing.assert_close(result.target, torch.nn.functional.layer_norm(last, (64,)), atol=1e-4, rtol=1e-3)
    assert result.prediction.shape == result.target.shape == (3, 2, 20, 64)
    mask = result.masks.mask
    cosine = torch.cosine_similarity(result.prediction, result.target, dim=-1)
    expected = torch.stack([1 - cosine[b][mask[b]].view(-1).mean() for b in range(3)])
    counts = mask.sum(dim=2)
    parts = token_loss(result.prediction, result.target, mask)
    torch.testing.assert_close((parts * counts).sum(dim=1) / counts.sum(dim=1), expected, atol=1e-5, rtol=1e-4)
    terms, _ = task(sample, 1.0)
    terms["reconstruction"].backward()
    assert task.mae.decoder.weight.grad.abs().sum() > 0
    assert task.mae.scorer.modality_embed.grad is None  # the target is no student
    assert not (token_loss(result.prediction, result.target, torch.zeros_like(mask)) != 0).any()


def test_sizes_of_the_published_decoders():
    """docs/method.md, CMAE: 0.82 M with the output layers of four modalities."""
    cfg = load_config("transcmd", "pretrain_tiny").TRAIN.PRETRAIN.DECODER
    model = build_model(load_config("transcmd", "debug", ["MODEL.BACKBONE.TYPE=vit_tiny"]))
    mae = CMAE(model, "random", 0.5, 0.1, 0.25, cfg.WIDTH, cfg.DEPTH, cfg.HEADS)
    assert sum(p.numel() for p in mae.decoder.parameters()) == 818_304


# training


def test_the_moving_average_follows_the_model():
    task = make_task()
    mae, scorer = task.mae, task.mae.scorer

    def distance() -> float:
        own = dict(task.model.named_parameters())
        return sum((own[name] - average).abs().sum().item() for name, average in scorer.named_parameters())

    with torch.no_grad():
        for parameter in task.model.parameters():
            parameter.add_(1)  # as loading weights after the copy was made
    mae.update_scorer(task.model)
    assert distance() == 0
    with torch.no_grad():
        for parameter in task.model.parameters():
            parameter.add_(1)
    start = distance()
    mae.update_scorer(task.model)
    assert distance() == pytest.approx(0.9 * start, rel=1e-3)
    mae.update_scorer(task.model)
    assert distance() == pytest.approx(0.9 * (10 / 11) * start, rel=1e-3)
    mae.updates.fill_(100_000)
    before = distance()
    mae.update_scorer(task.model)
    assert distance() == pytest.approx(0.999 * before, rel=1e-4)
    assert mae.updates == 100_001
    buffers = dict(task.model.named_buffers())
    assert all(torch.equal(value, buffers[name]) for name, value in scorer.named_buffers())


@pytest.mark.parametrize("model", MODELS)
def test_a_step_trains_the_encoder_and_nothing_else(model):
    task = make_task(model, "TRAIN.DROP_PATH_RATE=0.2", "TRAIN.WEIGHT_DECAY=0.1").train()
    assert not task.model.head.training and not task.model.fusion.training and not task.mae.scorer.training
    cfg = load_config("transcmd", "debug_pretrain")
    optimizer = build_optimizer(cfg, task)
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert not trained & {
        id(p) for part in (task.mae.scorer, task.model.head, task.model.fusion) for p in part.parameters()
    }
    before = {name: value.clone() for name, value in task.state_dict().items()}
    for step in range(2):
        optimizer.zero_grad()
        task(random_sample(seed=step), 0.5)[0]["reconstruction"].backward()
        optimizer.step()
    after = task.state_dict()
    still = ("model.head.", "model.fusion.", "mae.scorer.", "mae.updates")
    for name, value in after.items():
        assert torch.equal(value, before[name]) == name.startswith(still), name
    task.after_step()
    assert not torch.equal(task.state_dict()["mae.scorer.modality_embed"], before["mae.scorer.modality_embed"])
    assert all(name.startswith("mae.") for name in task.own_state())


def test_scores_come_from_the_unmasked_pair_without_dropping_blocks():
    task = make_task("student", "TRAIN.DROP_PATH_RATE=0.9").train()
    sample = random_sample(2)
    scores = [task.mae.score(sample.template, sample.search, sample.modality) for _ in range(2)]
    assert torch.equal(*scores) and not scores[0].requires_grad


def test_progress_sets_the_exponent(monkeypatch):
    seen, original = [], masking.choose_masks
    monkeypatch.setattr(
        "lib.models.mae.choose_masks",
        lambda scores, tokens, e, **kwargs: seen.append(e) or original(scores, tokens, e, **kwargs),
    )
    task, sample = make_task(), random_sample(2)
    for progress in (0.2, 0.5, 0.9):
        task(sample, progress)
    task.evaluate(sample)
    assert seen == pytest.approx([0, 0.5, 1, 1])


def test_evaluation_replaces_the_other_modality_by_that_of_another_sample():
    """The error of each modality is measured with the other modality of a different sample of the same kind."""
    task, sample = make_task().eval(), random_sample(3)._replace(modality=torch.full((3,), 2))
    with torch.no_grad():
        for parameter in task.mae.decoder.parameters():
            parameter.mul_(5)  # so that the output depends on the input
        torch.manual_seed(0)
        values = task.evaluate(sample)
        torch.manual_seed(0)
        result = task.mae(task.model, sample, 1.0)
        error = 0
        for m, order in enumerate(((0, 1), (1, 0))):  # samples whose RGB and auxiliary images replace those of sample 0
            mixed = [
                Pair(pair.rgb[order[0]][None], pair.aux[order[1]][None]) for pair in (sample.template, sample.search)
            ]
            mask = result.masks.mask[:1]
            prediction = task.mae.reconstruct(task.model, *mixed, sample.modality[:1], None, mask)
            error += reconstruction_loss(prediction, result.patches[:1], mask)[0, m]
    assert values["reconstruction"].shape == values["reconstruction_shuffled"].shape == (3,)
    torch.testing.assert_close(values["reconstruction_shuffled"][0], error, atol=1e-5, rtol=1e-5)
    assert (values["reconstruction_shuffled"] - values["reconstruction"]).abs().min() > 1e-3


def textured_pair(batch: int, size: int) -> Pair:
    """Each cell of RGB brightens in a direction of its own, which nothing around it tells; in the auxiliary images it
    darkens in the same direction."""
    angle = torch.rand(batch, size // 16, size // 16, 1, 1) * 2 * math.pi
    y, x = torch.meshgrid(torch.linspace(-1, 1, 16), torch.linspace(-1, 1, 16), indexing="ij")
    ramps = (angle.cos() * x + angle.sin() * y).permute(0, 1, 3, 2, 4).reshape(batch, 1, size, size)
    images = (128 + amplitude * ramps + 10 * torch.randn(batch, 3, size, size) for amplitude in (60, -40))
    return Pair(*(image.clamp(0, 255).to(torch.uint8) for image in images))


def textured_sample(batch: int) -> Sample:
    box = torch.full((batch, 4), 0.5)
    return make_sample(textured_pair(batch, 32), textured_pair(batch, 64), box, torch.arange(batch) % 3 + 1)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_a_trained_model_reconstructs_one_modality_from_the_other(model):
    """docs/method.md, CMAE: with the other modality shuffled the error must rise by more than 10 %."""
    steps = 400
    overrides = ["TRAIN.PRETRAIN.DECODER.WIDTH=64", "TRAIN.EPOCH=1"]
    task = make_task(model, *overrides, total_steps=steps).train()
    cfg = load_config("transcmd", "debug_pretrain", overrides)
    optimizer = build_optimizer(cfg, task)
    scheduler = build_scheduler(cfg, optimizer, steps)
    seed_step(9)
    held_out = textured_sample(96)
    for step in range(steps):
        seed_step(1, step)
        optimizer.zero_grad()
        task(textured_sample(32), step / steps)[0]["reconstruction"].backward()
        torch.nn.utils.clip_grad_norm_([p for p in task.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        scheduler.step()
        task.after_step()
    task.eval()
    with torch.no_grad():
        errors = {name: value.mean().item() for name, value in task.evaluate(held_out).items()}
    assert errors["reconstruction_shuffled"] > 1.1 * errors["reconstruction"], errors
